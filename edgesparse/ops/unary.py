"""Element-wise operators of one tensor that are no activation of a layer: Abs, Exp, Floor, Sin, Elu, Not, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.ops.activation import ERF
from edgesparse.ops.arguments import first, same_shape, where
from edgesparse.ops.operator import Contract, Lowering, Operator, Unsupported, register, spans
from edgesparse.types import Array, Attr, Node, TensorSpec

# The numbers of kernels_common/unary_f32.c; the first three are those of unary.h, too.
UNARY = {
    "Abs": 0, "Neg": 1, "Sign": 2, "Exp": 3, "Log": 4, "Sqrt": 5, "Reciprocal": 6, "Erf": 7, "Floor": 8, "Ceil": 9,
    "Round": 10, "Sin": 11, "Cos": 12, "Softplus": 13, "Softsign": 14, "Elu": 15, "Selu": 16, "Celu": 17,
    "ThresholdedRelu": 18, "Mish": 19,
}  # fmt: skip
_INTEGER = ("Abs", "Neg", "Sign")
# (alpha, gamma) where a node does not say
_DEFAULTS = {
    "Elu": (1.0, 0.0), "Selu": (1.67326319217681884765625, 1.05070102214813232421875), "Celu": (1.0, 0.0),
    "ThresholdedRelu": (1.0, 0.0),
}  # fmt: skip


def lower(node: Node, out: Lowering) -> None:
    x = first(node)
    alpha, gamma = _DEFAULTS.get(node.op_type, (0.0, 0.0))
    a, b = float(node.attrs.get("alpha", alpha)), float(node.attrs.get("gamma", gamma))
    if node.op_type == "Celu" and a <= 0:
        raise Unsupported(f"alpha {a:g}", where=where(node), hint="use an alpha above 0")
    out.call(node, "unary", [x.name], [node.outputs[0].name], size=x.size, kind=UNARY[node.op_type], a=a, b=b)


def _shrink(x: Array, a: float) -> Array:
    """a (exp(x / a) - 1) below 0."""
    return np.where(x < 0, a * np.expm1(np.minimum(x, 0) / a), x)


def _functions(a: float, b: float) -> dict[str, Callable[[Array], Any]]:
    return {
        "Abs": np.abs, "Neg": np.negative, "Sign": np.sign, "Exp": np.exp, "Log": np.log, "Sqrt": np.sqrt,
        "Reciprocal": lambda x: 1 / x, "Erf": ERF, "Floor": np.floor, "Ceil": np.ceil, "Round": np.round,
        "Sin": np.sin, "Cos": np.cos, "Softplus": lambda x: np.logaddexp(x, 0.0),
        "Softsign": lambda x: x / (1 + np.abs(x)), "Elu": lambda x: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x),
        "Selu": lambda x: b * np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x), "Celu": lambda x: _shrink(x, a),
        "ThresholdedRelu": lambda x: np.where(x > a, x, 0), "Mish": lambda x: x * np.tanh(np.logaddexp(x, 0.0)),
    }  # fmt: skip


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    x, p = inputs[0], dict[str, Any](attrs)
    wide = x.astype(np.float64) if x.dtype == np.float32 else x
    # a kernel sees the floats that C has for a and b
    function = _functions(float(np.float32(p["a"])), float(np.float32(p["b"])))[list(UNARY)[p["kind"]]]
    with np.errstate(all="ignore"):
        return [np.asarray(function(wide)).astype(x.dtype).reshape(outputs[0].shape)]


def lower_not(node: Node, out: Lowering) -> None:
    x = first(node)
    out.call(node, "not", [x.name], [node.outputs[0].name], size=x.size)


def reference_not(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    return [(inputs[0] == 0).reshape(outputs[0].shape)]


def lower_classify(node: Node, out: Lowering) -> None:
    x = first(node)
    infinite = node.op_type == "IsInf"
    out.call(
        node, "classify", [x.name], [node.outputs[0].name], size=x.size, nan=int(not infinite),
        positive=int(infinite and node.attrs.get("detect_positive", 1)),
        negative=int(infinite and node.attrs.get("detect_negative", 1)),
    )  # fmt: skip


def reference_classify(
    inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]
) -> list[Array]:
    x = inputs[0]
    found = np.isnan(x) & (attrs["nan"] != 0)
    found |= (np.isposinf(x) & (attrs["positive"] != 0)) | (np.isneginf(x) & (attrs["negative"] != 0))
    return [found.reshape(outputs[0].shape)]


register(
    Contract("unary", ("x",), ("y",), reference, in_place=(0,), items=lambda a: spans(a["size"])),
    Contract("not", ("x",), ("y",), reference_not, in_place=(0,)),
    Contract("classify", ("x",), ("y",), reference_classify),
    *(
        Operator(name, same_shape, lower, "f32, i64, i32" if name in _INTEGER else "f32 only", kernels=("unary",))
        for name in UNARY
    ),
    Operator("Not", same_shape, lower_not, kernels=("not",)),
    *(Operator(name, same_shape, lower_classify, "f32 only", kernels=("classify",)) for name in ("IsNaN", "IsInf")),
)
