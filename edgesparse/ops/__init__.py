"""The operators: one file each. ``OPERATORS`` by (domain, ONNX name), ``CONTRACTS`` by C call."""

from __future__ import annotations

import importlib
import pkgutil

from edgesparse.ops.operator import CONTRACTS, OPERATORS, Contract, Lowering, Operator, Unsupported

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["CONTRACTS", "OPERATORS", "Contract", "Lowering", "Operator", "Unsupported"]
