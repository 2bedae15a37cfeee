"""Activations: as epilogues of other operators, and the ONNX operators that are nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erf

import numpy as np

from edgesparse.ops.arguments import choice, first, same_shape
from edgesparse.ops.operator import Contract, Lowering, Operator, register, spans
from edgesparse.types import Array, Attr, Node, TensorSpec

# The numbers of kernels_common/activation_f32.h, under the names that passes write into `es_act`.
ACTIVATIONS: Mapping[str, int] = {
    "none": 0, "relu": 1, "clip": 2, "leaky_relu": 3, "prelu": 4, "hard_swish": 5, "hard_sigmoid": 6,
    "silu": 7, "sigmoid": 8, "tanh": 9, "gelu": 10, "gelu_tanh": 11,
}  # fmt: skip
_NAMES = {v: k for k, v in ACTIVATIONS.items()}
ERF = np.vectorize(erf, otypes=[np.float64])


def epilogue(node: Node) -> tuple[int, float, float]:
    """(act, lo, hi) of the activation fused into ``node``; (0, 0, 0) when there is none."""
    name = node.attrs.get("es_act", "none")
    return ACTIVATIONS[name], float(node.attrs.get("es_lo", 0.0)), float(node.attrs.get("es_hi", 0.0))


def activate(x: Array, act: int, lo: float, hi: float, slope: Array | None = None) -> Array:
    """NumPy reference of every activation, in the precision of ``x``. ``slope`` replaces lo in PRelu."""
    name, y = _NAMES[act], x
    with np.errstate(over="ignore", invalid="ignore"):
        if name == "relu":
            y = np.where(x < 0, 0, x)
        if name == "clip":
            y = np.where(x < lo, lo, np.where(x > hi, hi, x))
        if name in ("leaky_relu", "prelu"):
            y = np.where(x < 0, x * (lo if slope is None else slope), x)
        if name == "hard_swish":
            y = x * np.clip(x / 6 + 0.5, 0, 1)
        if name == "hard_sigmoid":
            y = np.clip(x * lo + hi, 0, 1)
        if name == "silu":
            y = x / (1 + np.exp(-x))
        if name == "sigmoid":
            y = 1 / (1 + np.exp(-x))
        if name == "tanh":
            y = np.tanh(x)
        if name == "gelu":
            y = x * 0.5 * (1 + ERF(x / np.sqrt(2.0)))
        if name == "gelu_tanh":
            y = x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return np.asarray(y)


def lower(node: Node, out: Lowering) -> None:
    name, lo, hi = "none", 0.0, 0.0
    if node.op_type == "Activation":
        act, lo, hi = epilogue(node)
        name = _NAMES[act]
    elif node.op_type == "LeakyRelu":
        name, lo = "leaky_relu", float(node.attrs.get("alpha", 0.01))
    elif node.op_type == "HardSigmoid":
        name, lo, hi = "hard_sigmoid", float(node.attrs.get("alpha", 0.2)), float(node.attrs.get("beta", 0.5))
    elif node.op_type == "Gelu":
        name = {"none": "gelu", "tanh": "gelu_tanh"}[choice(node, "approximate", "none", ("none", "tanh"))]
    else:
        name = {"HardSwish": "hard_swish", "Sigmoid": "sigmoid", "Tanh": "tanh"}[node.op_type]
    call(node, out, name, first(node).name, node.outputs[0].name, lo, hi)


def call(node: Node, out: Lowering, name: str, x: str, y: str, lo: float = 0.0, hi: float = 0.0) -> None:
    """Emit ``y = name(x)``."""
    out.call(node, "activation", [x], [y], size=out.tensors[x].size, act=ACTIVATIONS[name], lo=lo, hi=hi)


def reference(inputs: Sequence[Array], attrs: Mapping[str, Attr], outputs: Sequence[TensorSpec]) -> list[Array]:
    y = activate(inputs[0].astype(np.float64), int(attrs["act"]), float(attrs["lo"]), float(attrs["hi"]))  # type: ignore[arg-type]
    return [y.reshape(outputs[0].shape).astype(np.float32)]


register(
    Contract("activation", ("x",), ("y",), reference, in_place=(0,), items=lambda a: spans(a["size"])),
    *(
        Operator(name, same_shape, lower, "f32 only", kernels=("activation",))
        for name in ("LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Gelu")
    ),
    Operator(
        "Activation",
        same_shape,
        lower,
        "internal: what fuse_activation makes",
        domain="edgesparse",
        kernels=("activation",),
    ),
)
