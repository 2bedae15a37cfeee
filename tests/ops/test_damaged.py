"""Nodes whose parameters do not fit are refused with their name: no traceback, no kernel that reads elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.types import Array
from tests.tiny_models import f32, model, numbers

X = (1, 4, 6, 6)
_NAN, _INF = np.float32(np.nan), np.float32(np.inf)


def _ints(*values: int) -> Array:
    return np.array(values, np.int64)


def _scales(scale: float) -> list[Array | None]:
    return [None, np.array([1, 1, scale, scale], np.float32)]


# operator, shape of x, further inputs, attributes, opset, what the message says
DAMAGED: dict[str, tuple[str, tuple[int, ...], list[Array | None], dict[str, Any], int, str]] = {
    "reshape to more": ("Reshape", (2, 3), [_ints(3000, 5000)], {}, 17, "6 elements cannot take the shape"),
    "reshape to less": ("Reshape", (4, 2, 3), [_ints(1, 6)], {}, 17, "24 elements cannot take the shape"),
    "conv beyond": ("Conv", (1, 4, 1, 1), [numbers(2, 4, 3, 3)], {}, 17, "[1, 2, -1, -1]"),
    "conv of nothing": ("Conv", X, [np.zeros((0, 4, 3, 3), np.float32)], {}, 17, "hold nothing"),
    "transposed beyond": ("ConvTranspose", X, [numbers(4, 2, 3, 3)], {"pads": [9] * 4}, 17, "-10"),
    "pool of 2^40": ("MaxPool", X, [], {"kernel_shape": [2**40] * 2}, 17, "-"),
    "auto_pad": ("MaxPool", X, [], {"kernel_shape": [2, 2], "auto_pad": "FOO"}, 17, "FOO"),
    "auto_pad and pads": (
        "AveragePool", X, [], {"kernel_shape": [2, 2], "auto_pad": "VALID", "pads": [1] * 4}, 17, "besides auto_pad"
    ),
    "split": ("Split", (7,), [_ints(-2, 9)], {}, 17, "-2"),
    "instance norm": ("InstanceNormalization", X, [numbers(1), numbers(1)], {}, 17, "for 4 channels"),
    "group norm": ("GroupNormalization", X, [numbers(1), numbers(1)], {"num_groups": 2}, 21, "for 4 channels"),
    "batch norm": ("BatchNormalization", X, [numbers(3)] * 4, {}, 17, ""),
    "layer norm axis": ("LayerNormalization", X, [numbers(6)], {"axis": 9}, 17, "axis"),
    "lp norm axis": ("LpNormalization", X, [], {"axis": 9}, 17, "axis 9"),
    "rms norm axis": ("RMSNormalization", X, [numbers(6)], {"axis": 9}, 23, "axis"),
    "cumsum axis": ("CumSum", X, [np.array(9, np.int64)], {}, 17, "axis 9"),
    "gemm bias": ("Gemm", (2, 5), [numbers(5, 40), numbers(3)], {}, 17, "bias"),
    "gemm depth": ("Gemm", (2, 5), [numbers(6, 4)], {}, 17, ""),
    "transpose": ("Transpose", X, [], {"perm": [1, 0]}, 17, ""),
    "depth to space": ("DepthToSpace", X, [], {"blocksize": 3}, 17, "blocksize 3 does not divide"),
    "depth to space mode": ("DepthToSpace", X, [], {"blocksize": 2, "mode": "FOO"}, 17, "FOO"),
    "space to depth": ("SpaceToDepth", X, [], {"blocksize": 4}, 17, "blocksize 4 does not divide"),
    "gelu": ("Gelu", X, [], {"approximate": "foo"}, 20, "'foo'"),
    "slope": ("PRelu", X, [numbers(5)], {}, 17, ""),
    "slope that widens": ("PRelu", (6,), [numbers(2, 6)], {}, 17, "slope"),
    **{f"scale {s}": ("Resize", X, _scales(s), {}, 17, "scale") for s in (0, -1, _NAN, _INF)},
    "resize mode": ("Resize", X, _scales(2), {"coordinate_transformation_mode": "foo"}, 17, "foo"),
    "expand": ("Expand", X, [_ints(-2, 4, 6, 6)], {}, 17, "-2"),
    "pad of nothing": ("Pad", (0, 3), [_ints(1, 0, 0, 0)], {"mode": "edge"}, 17, "empty"),
    "pad too far": ("Pad", (1, 3), [_ints(0, 3, 0, 0)], {"mode": "reflect"}, 17, "reflection of 3"),
    "cropped away": ("Pad", (4, 3), [_ints(-3, 0, -3, 0)], {}, 17, ""),
    "squeeze": ("Squeeze", X, [_ints(1)], {}, 17, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_refused(tmp_path: Path, name: str) -> None:
    op, shape, inputs, attributes, opset, message = DAMAGED[name]
    names = ["x", *("" if value is None else f"w{i}" for i, value in enumerate(inputs))]
    weights = {f"w{i}": value for i, value in enumerate(inputs) if value is not None}
    count = 2 if op == "Split" else 1
    outputs = ["y", "z"][:count]
    proto = model([helper.make_node(op, names, outputs, "odd", **attributes)], [f32("x", *shape)], [], weights, opset)
    for output in outputs:
        proto.graph.output.append(onnx.ValueInfoProto(name=output))
        proto.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(es.EdgeSparseError) as caught:
        es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
    assert "odd" in str(caught.value) and message in str(caught.value), str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx"]
