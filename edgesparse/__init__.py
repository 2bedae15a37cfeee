"""Compiles sparse neural networks to small, fast programs for phones, boards and browsers.

    import edgesparse as es

    model = es.load("model.onnx", shapes={"input_1": (1, 49, 10, 1)})
    es.sparsify(model, pattern="block:4x1", sparsity=0.7)
    bundle = es.compile(model, device="host", out="model.edge")
    with es.open(bundle) as session:
        outputs = session.run({"input_1": x})

Everything is imported on first use: ``import edgesparse`` itself needs nothing else.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgesparse.version import __version__

if TYPE_CHECKING:
    from edgesparse.compile import compile_model as compile
    from edgesparse.devices import known_devices, load_device
    from edgesparse.errors import EdgeSparseError, GateError, InputError, RuntimeFailure, UnsupportedError
    from edgesparse.evaluate import evaluate
    from edgesparse.explain import explain
    from edgesparse.frontend import export
    from edgesparse.importer import load, save
    from edgesparse.runtimes import open
    from edgesparse.sparsify import sparsify
    from edgesparse.sparsity.recover import recover
    from edgesparse.sparsity.torch_masks import Gradual, torch_masks
    from edgesparse.tune import tune

_WHERE = {
    "EdgeSparseError": "errors",
    "GateError": "errors",
    "Gradual": "sparsity.torch_masks",
    "InputError": "errors",
    "RuntimeFailure": "errors",
    "UnsupportedError": "errors",
    "compile": "compile:compile_model",
    "evaluate": "evaluate",
    "explain": "explain",
    "export": "frontend",
    "known_devices": "devices",
    "load": "importer",
    "load_device": "devices",
    "open": "runtimes",
    "recover": "sparsity.recover",
    "save": "importer",
    "sparsify": "sparsify",
    "torch_masks": "sparsity.torch_masks",
    "tune": "tune",
}
"""Public name -> module (or ``module:name there``); by name, so that nothing here is imported early."""

__all__ = [
    "EdgeSparseError",
    "GateError",
    "Gradual",
    "InputError",
    "RuntimeFailure",
    "UnsupportedError",
    "__version__",
    "compile",
    "evaluate",
    "explain",
    "export",
    "known_devices",
    "load",
    "load_device",
    "open",
    "recover",
    "save",
    "sparsify",
    "torch_masks",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'edgesparse' has no attribute '{name}'")
    module, _, there = _WHERE[name].partition(":")
    value = getattr(importlib.import_module(f"edgesparse.{module}"), there or name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Importing the module ``edgesparse.compile`` must not put it in the place of the function ``compile``."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
