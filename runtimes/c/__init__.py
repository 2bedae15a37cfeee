"""The C that ships inside bundles: what surrounds the generated model.c. None of it needs a libc.

What to compile beside model.c, per kind of bundle:

* ``PROGRAM_SOURCES`` with ``LIBRARY_SOURCES``: the static program ``model`` (aarch64 or x86_64 Linux).
* ``LIBRARY_SOURCES``: ``libmodel.so``. Not ``libmodel.a``: a program that links it has a libc,
  whose memcpy is better.
* ``WASM_SOURCES``: ``model.wasm``.

``HEADERS`` are copied into every bundle, for readers of model.c and for programs that link it.
``model_info.h`` is the interface of generated code: model.c defines ``es_the_model``,
``model_run``, ``model_isa`` and ``model_use_isa``.

The flags were tried with clang 22 of ziglang 0.17.1. Without a libc nothing is built the first
time: a cold link takes 0.2 s. ``memory.c`` must be compiled with ``-fno-builtin``, or clang makes
its loops into calls of themselves. ``-g0``: zig writes debug information otherwise.
LOAD segments are aligned to 64 kB on aarch64 by default, so 16 kB pages are fine; the program is
not position-independent, which Linux and Android accept of a static one.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARY_SOURCES = (FOLDER / "memory.c",)
PROGRAM_SOURCES = (FOLDER / "main.c", FOLDER / "start.c")  # beside LIBRARY_SOURCES
WASM_SOURCES = (FOLDER / "memory.c",)
HEADERS = (FOLDER / "model_info.h",)

COMPILE_FLAGS = (
    "-std=c11", "-O2", "-g0", "-ffreestanding", "-fno-builtin", "-fno-asynchronous-unwind-tables",
    "-Wall", "-Wextra", "-Werror",
)  # fmt: skip
PROGRAM_LINK_FLAGS = ("-nostdlib", "-static", "-s")
LIBRARY_LINK_FLAGS = ("-nostdlib", "-shared", "-fPIC", "-s", "-Wl,--hash-style=both")
WASM_LINK_FLAGS = (
    "-nostdlib", "-Wl,--no-entry", "-Wl,--export=model_run", "-Wl,--export=__heap_base", "-s",
)  # fmt: skip
# What the wasm loaders expect exported: these two and `memory`, which the linker exports by itself.
WASM_EXPORTS = ("memory", "model_run", "__heap_base")
# -target for each triple of a bundle; the freestanding ones have no libc to build.
ZIG_TARGETS = {
    "aarch64-linux": "aarch64-linux-none",
    "x86_64-linux": "x86_64-linux-gnu.2.17",
    "wasm32": "wasm32-freestanding",
}
