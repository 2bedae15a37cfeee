"""What runs a bundle. Importable as ``edgesparse.runtimes`` only (see edgesparse/ and setup.py).

One file per runtime, found by its name. A runtime is a module with

* ``KINDS``: the kinds of bundle it runs;
* ``open(bundle: Path, manifest: Manifest, *, <options>) -> Session``;
* ``TARGET``, where it runs on one of several devices: the option that is given behind a colon (``adb:SERIAL``).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, read_manifest

if __name__ != "edgesparse.runtimes":
    raise ImportError("import edgesparse.runtimes instead of runtimes")

from edgesparse.runtimes.session import Session

__all__ = ["Session", "known", "open"]

_KINDS = re.compile(r"^KINDS = ", re.MULTILINE)
FOR_TESTS = ("null",)  # computes nothing: not offered to anybody
COMPILE = {
    "shared": "edgesparse compile MODEL.onnx --device host -o NAME.edge",
    "executable": "edgesparse compile MODEL.onnx --device rpi5 -o NAME.edge",
    "wasm": "edgesparse compile MODEL.onnx --device browser -o NAME.edge",
}


def known() -> list[str]:
    """Names of the runtimes: the files of this folder that have ``KINDS``, told without importing them."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if _KINDS.search(path.read_text("utf-8")))


def open(
    bundle: Path | str, runtime: str = "auto", *, on_push: Callable[[int, int, str], None] | None = None, **options: Any
) -> Session:
    """Open the bundle folder with the runtime of that name, or the usual one for its kind.

    ``adb:SERIAL`` and ``ssh:USER@HOST[:PORT]`` say on which device. ``on_push(bytes, bytes in all, what)`` is told how
    far the copying to it is; the other runtimes copy nothing.

    Raises:
        InputError: not a bundle, no such runtime or option, or a bundle this runtime cannot run.
        RuntimeFailure: the engine is missing, or a file of the bundle is damaged.
    """
    bundle = Path(bundle)
    manifest = read_manifest(bundle)
    name, colon, target = (_usual(manifest) if runtime == "auto" else runtime).partition(":")
    if name not in known():
        offered = [n for n in known() if n not in FOR_TESTS]
        raise InputError(f"there is no runtime '{name}'", hint=f"runtimes: auto, {', '.join(offered)}")
    module = importlib.import_module(f"{__name__}.{name}")
    if manifest.kind not in module.KINDS:
        raise InputError(
            f"the runtime {name} cannot run a bundle of kind {manifest.kind} (compiled for {manifest.device})",
            where=str(bundle),
            hint=f"{COMPILE[module.KINDS[0]]} makes one, or run this with the runtime {_usual(manifest)}",
        )  # fmt: skip
    if colon:
        option = getattr(module, "TARGET", "")
        if not option or not target or option in options:
            hint = f"give one device, as in {name}:{option.upper()}" if option else f"its name is {name}"
            raise InputError(f"'{runtime}' is not how a runtime is named", hint=hint)
        options[option] = target
    _check_options(module, name, options)
    if on_push is not None and hasattr(module, "TARGET"):
        options["on_push"] = on_push
    session: Session = module.open(bundle, manifest, **options)
    return session


def _usual(manifest: Manifest) -> str:
    if manifest.kind == "wasm":
        return "wasmtime" if importlib.util.find_spec("wasmtime") else "node"
    return {"shared": "local", "executable": "qemu"}[manifest.kind]


def _check_options(module: ModuleType, name: str, options: dict[str, Any]) -> None:
    accepted = [p.name for p in inspect.signature(module.open).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in accepted:
            raise InputError(
                f"the runtime {name} has no option '{option}'", hint=f"its options: {', '.join(accepted) or 'none'}"
            )
