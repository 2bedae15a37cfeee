"""The C that ships inside bundles: what surrounds the generated model.c. None of it needs a libc.

What `edgesparse.build` compiles beside model.c and dispatch.c, per kind of bundle:

* ``LIBRARY_SOURCES``: for ``libmodel.so`` and ``libmodel.a``. The functions are hidden and called by our own
  objects only; in a program that links ``libmodel.a`` they may stand in for those of its libc.
* ``HWCAP_SOURCES``, beside these for arm64 where there are several instruction sets to choose from.
* ``PROGRAM_SOURCES``, beside these: the static program ``model`` (aarch64 or x86_64 Linux); ``GENERATE_SOURCES``: that
  of a language model, whose model.c is tables for the loop in decoder.h: it needs ``DECODER_HEADERS``, too.
* ``WASM_SOURCES``: modules for one thread, with -DES_ONE_THREAD; ``WASM_THREADS_SOURCES``: those for several.

``model_info.h`` is the interface of generated code: dispatch.c defines ``es_the_model``, ``model_run``,
``model_calls``, ``model_part``, ``model_isa`` and ``model_use_isa``, pool.c the threads. ``HEADERS`` are what
generated code includes; they are copied into every bundle.

``memory.c`` needs ``-ffreestanding`` (or ``-fno-builtin``), or clang makes its loops into calls of themselves.
The program is not position-independent, which Linux and Android accept of a static one.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
HEADERS = ("model_info.h", "isa.h", "parts.h", "pool.h", "bands.h")
LIBRARY_SOURCES = (FOLDER / "memory.c", FOLDER / "pool.c")
HWCAP_SOURCES = (FOLDER / "hwcap.c",)
PROGRAM_SOURCES = (FOLDER / "main.c", FOLDER / "start.c")  # beside LIBRARY_SOURCES
GENERATE_SOURCES = (FOLDER / "generate.c", FOLDER / "start.c")
DECODER_HEADERS = ("decoder.h", "linear.h", "rotation.h", "sample.h")
WASM_SOURCES = (FOLDER / "memory.c",)
WASM_THREADS_SOURCES = (FOLDER / "memory.c", FOLDER / "pool_wasm.c")
