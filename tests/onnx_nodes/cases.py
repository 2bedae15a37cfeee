"""The cases: ONNX's node tests whose operators are all in `OPERATORS`, and what one of them came to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx.backend.test.loader import load_model_tests

from edgesparse.ops import OPERATORS
from edgesparse.types import Array

# Resize with align_corners and a scale that does not fit: ONNX aligns the corner of an output of fractional size, while
# onnxruntime and torch take the output as large as it is (https://github.com/onnx/onnx/issues/2462). So do we.
DISPUTED = (
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
)
PASSED, FAILED, CRASHED, UNSUPPORTED = "passed", "failed", "crashed", "unsupported"


@dataclass(frozen=True, slots=True)
class NodeCase:
    """``operator`` is what the case is named after; the expanded form of a function holds others."""

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: Mapping[str, object]
    expected: tuple[object, ...]
    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """``reason`` is empty for what passed. ``frozen``: it did so with all inputs but the first as weights."""

    case: str
    operator: str
    status: str
    reason: str = ""
    frozen: bool = False


@cache
def node_cases() -> Mapping[str, NodeCase]:
    """By name, in ONNX's order."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        tests = load_model_tests(kind="node")
    found = {}
    for test in tests:
        if test.model is None or not test.data_sets:
            continue
        operators = [("" if n.domain == "ai.onnx" else n.domain, n.op_type) for n in test.model.graph.node]
        if not all(o in OPERATORS for o in operators):
            continue
        arrays, expected = test.data_sets[0]
        inputs = {value.name: _tensor(array) for value, array in zip(test.model.graph.input, arrays, strict=True)}
        name = operators[0][1] if len(operators) == 1 else "expanded functions"
        wanted = tuple(map(_tensor, expected))
        if test.name in DISPUTED:
            session = onnxruntime.InferenceSession(test.model.SerializeToString(), providers=["CPUExecutionProvider"])
            wanted = tuple(session.run(None, inputs))
        found[test.name] = NodeCase(test.name, name, test.model, inputs, wanted, test.rtol, test.atol)
    return found


def _tensor(value: object) -> object:
    # some cases give NumPy scalars; sequences and optional values stay what they are
    return np.asarray(value) if isinstance(value, np.generic) else value


def freeze(model: onnx.ModelProto, inputs: Mapping[str, object]) -> onnx.ModelProto:
    """A copy of ``model`` with all inputs but the first as initializers.

    ONNX's cases give weights, shapes, axes and pads as inputs; in real models they are constants, and
    a compiler of static programs needs them to be.
    """
    frozen = onnx.ModelProto()
    frozen.CopyFrom(model)
    for value in model.graph.input[1:]:
        array = inputs[value.name]
        if isinstance(array, np.ndarray):
            frozen.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
            frozen.graph.input.remove(value)
    return frozen


def difference(case: NodeCase, outputs: Mapping[str, Array]) -> str:
    """Why ``outputs`` are not those of the case; empty when they are."""
    for value, wanted in zip(case.model.graph.output, case.expected, strict=True):
        got = outputs[value.name]
        if not isinstance(wanted, np.ndarray):
            return f"{value.name} is no tensor"
        if got.dtype != wanted.dtype or got.shape != wanted.shape:
            return f"{value.name} is {got.dtype} {list(got.shape)}, expected {wanted.dtype} {list(wanted.shape)}"
        close = np.isclose(got, wanted, case.rtol, case.atol, equal_nan=True)
        if not close.all():
            at = tuple(int(i) for i in np.argwhere(~close)[0])
            bad = int(np.count_nonzero(~close))
            return f"{bad} of {wanted.size} of {value.name} differ: {got[at]} at {list(at)}, expected {wanted[at]}"
    return ""
