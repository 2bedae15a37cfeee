"""Reductions, ArgMax, ArgMin and CumSum."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgesparse as es
from tests.ops.many import Array, Cases, floats, integers

ALL = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip


def axes(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_every_set_of_axes(tmp_path: Path, keepdims: int) -> None:
    cases, x = Cases(), floats(2, 3, 4, 5) + np.float32(3.5)
    for op in ALL:
        cases.add(op, x, keepdims=keepdims)
        for count in (1, 2, 3, 4):
            for chosen in combinations(range(4), count):
                signed = [a - 4 if a % 2 else a for a in chosen]
                cases.add(op, x, axes(*signed), constant=[1], keepdims=keepdims)
    cases.check(tmp_path, rtol=2e-6)


def test_shapes(tmp_path: Path) -> None:
    """Around every vector width, ones among the sizes, a scalar."""
    cases = Cases()
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()), ((1,), (0,)), ((5,), (0,)), ((1, 17, 33), (2,)), ((1, 17, 33), (1,)), ((1, 31, 7, 9), (2, 3)),
        ((3, 1, 65), (0, 1)), ((1, 1, 4), (0, 1)), ((2, 300), (1,)), ((300, 2), (0,)), ((200, 35), (0,)),
        ((4, 1000), (1,)),
    ]  # fmt: skip
    for op in ALL:
        for shape, over in shapes:
            # a product of a thousand numbers must stay a number
            x = floats(*shape) * np.float32(0.02) + np.float32(1) if op == "ReduceProd" else np.abs(floats(*shape)) + 1
            cases.add(op, x.astype(np.float32), *([axes(*over)] if over else []), constant=[1])
    cases.check(tmp_path, rtol=3e-6, atol=1e-6)


def test_empty_axes_may_mean_none(tmp_path: Path) -> None:
    cases, x = Cases(), np.abs(floats(3, 17)) + np.float32(0.5)
    for op in ALL:
        cases.add(op, x, axes(), constant=[1], noop_with_empty_axes=1)
        cases.add(op, x, axes(), constant=[1], noop_with_empty_axes=0)
        cases.add(op, x, noop_with_empty_axes=1)
    cases.check(tmp_path, rtol=2e-6, atol=1e-6, engine="onnx")


def test_nothing_to_reduce(tmp_path: Path) -> None:
    cases, x = Cases(opset=20), np.zeros((2, 0, 3), np.float32)
    for op, value in (
        ("ReduceSum", 0), ("ReduceMax", -np.inf), ("ReduceMin", np.inf), ("ReduceProd", 1), ("ReduceSumSquare", 0),
        ("ReduceL1", 0), ("ReduceL2", 0), ("ReduceLogSum", -np.inf), ("ReduceLogSumExp", -np.inf),
    ):  # fmt: skip
        cases.add(op, x, axes(1), constant=[1], expect=np.full((2, 1, 3), value, np.float32))
        cases.add(op, x, axes(0), constant=[1], expect=np.zeros((1, 0, 3), np.float32))
    cases.check(tmp_path)


def test_special_values(tmp_path: Path) -> None:
    inf, nan = np.inf, np.nan
    rows = np.array(
        [[1, inf, 2], [1, -inf, 2], [inf, -inf, 0], [nan, 1, 2], [1, 2, nan], [3e38, 3e38, 0], [-1, -inf, -2],
         [-inf, -inf, -inf], [100, 200, 300], [-100, -200, -300], [1e-40, 1e-40, 0]],
        np.float32,
    )  # fmt: skip
    long = np.concatenate([rows, np.zeros((len(rows), 70), np.float32)], axis=1)
    cases = Cases()
    with np.errstate(all="ignore"):
        for x in (rows, long, np.ascontiguousarray(long.T), np.repeat(rows.T, 8, axis=1)):
            axis = 1 if x.shape[0] == len(rows) else 0
            wide = x.astype(np.float64)
            top = np.where(np.isfinite(wide.max(axis)), wide.max(axis), 0)
            for op, expect in (
                ("ReduceSum", wide.sum(axis)), ("ReduceMax", x.max(axis)), ("ReduceMin", x.min(axis)),
                ("ReduceL1", np.abs(wide).sum(axis)),
                ("ReduceLogSumExp", np.log(np.exp(wide - np.expand_dims(top, axis)).sum(axis)) + top),
            ):  # fmt: skip
                cases.add(op, x, axes(axis), constant=[1], keepdims=0, expect=expect.astype(np.float32))
    cases.check(tmp_path, rtol=1e-6, atol=1e-42)


def test_long_sums_stay_exact(tmp_path: Path) -> None:
    """A million times 0.1 plus one: added one by one in floats, the error is in the third digit."""
    x = np.full(1_000_000, 0.1, np.float32)
    x[::1000] = 1
    cases = Cases()
    for shape, over in (((1, 1_000_000), 1), ((1_000_000, 1), 0), ((50_000, 20), 0)):
        whole = x.reshape(shape)
        for op, wide in (("ReduceSum", whole.astype(np.float64)), ("ReduceSumSquare", whole.astype(np.float64) ** 2)):
            expect = wide.sum(axis=over, keepdims=True).astype(np.float32)
            cases.add(op, whole, axes(over), constant=[1], expect=expect)
        mean = whole.astype(np.float64).mean(axis=over, keepdims=True).astype(np.float32)
        cases.add("ReduceMean", whole, axes(over), constant=[1], expect=mean)
    cases.check(tmp_path, rtol=5e-7)


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_whole_numbers(tmp_path: Path, dtype: Any) -> None:
    cases = Cases()
    for shape in ((2, 3, 4), (5, 33), (70, 3)):
        x = integers(*shape, dtype=dtype, low=-4, high=5)
        for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceL1"):
            for axis in range(len(shape)):
                y = x * x if op == "ReduceSumSquare" else np.abs(x) if op == "ReduceL1" else x
                numpy: Any = {"ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod}.get(op, np.sum)
                expect = np.asarray(numpy(y, axis=axis)).astype(dtype)
                cases.add(op, x, axes(axis), constant=[1], keepdims=0, expect=expect)
        total = x.sum(axis=0)
        cases.add("ReduceMean", x, axes(0), constant=[1], keepdims=0, expect=np.trunc(total / len(x)).astype(dtype))
    cases.check(tmp_path)


def test_small_types(tmp_path: Path) -> None:
    cases = Cases(opset=20)
    kinds: tuple[tuple[Any, int, int], ...] = ((np.bool_, 0, 1), (np.int8, -128, 127), (np.uint8, 0, 255))
    for dtype, low, high in kinds:
        x = integers(3, 4, 5, low=0, high=2 if dtype is np.bool_ else 120, dtype=dtype)
        for op, numpy in (("ReduceMax", np.max), ("ReduceMin", np.min)):
            for axis in range(3):
                cases.add(op, x, axes(axis), constant=[1], expect=np.asarray(numpy(x, axis=axis, keepdims=True)))
        for op, end in (("ReduceMax", low), ("ReduceMin", high)):
            cases.add(op, x[:, :0], axes(1), constant=[1], expect=np.full((3, 1, 5), end, dtype))
    cases.check(tmp_path)


def test_attributes_of_old_opsets(tmp_path: Path) -> None:
    cases, x = Cases(opset=11), floats(3, 4, 5)
    cases.add("ReduceSum", x, axes=[-1], keepdims=0)
    cases.add("ReduceMean", x, axes=[0, 2])
    cases.add("ReduceMax", x)
    cases.check(tmp_path, rtol=1e-6, atol=1e-6)


def test_positions(tmp_path: Path) -> None:
    cases = Cases(opset=13)
    for dtype in (np.float32, np.int64, np.int32):
        for shape in ((7,), (3, 4, 5), (1, 19, 40), (2, 33)):
            x = integers(*shape, low=-2, high=3, dtype=dtype)  # few values: most are there more than once
            for op in ("ArgMax", "ArgMin"):
                for axis in range(len(shape)):
                    cases.add(op, x, axis=axis - len(shape) * (axis % 2), keepdims=axis % 2)
                    cases.add(op, x, axis=axis, select_last_index=1)
    x = np.array([[1, np.nan, 3, np.nan], [np.inf, 2, np.inf, -np.inf], [-0.0, 0.0, -0.0, 0.0]], np.float32)
    for array in (x, np.repeat(x.T, 20, axis=1)):
        axis = 1 if array is x else 0
        last = array.shape[axis] - 1
        for op, numpy in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
            cases.add(op, array, axis=axis, keepdims=0, expect=numpy(array, axis=axis))
            other = last - numpy(np.flip(array, axis), axis=axis)
            cases.add(op, array, axis=axis, keepdims=0, select_last_index=1, expect=other)
    cases.check(tmp_path)


def test_running_sums(tmp_path: Path) -> None:
    cases = Cases(opset=14)
    for dtype in (np.float32, np.int64, np.int32):
        for shape in ((5,), (3, 4, 5), (0, 2)):
            x = floats(*shape) if dtype is np.float32 else integers(*shape, dtype=dtype)
            for axis in range(len(shape)):
                for exclusive in (0, 1):
                    for reverse in (0, 1):
                        place = np.array(axis - len(shape) * reverse, np.int64)
                        cases.add("CumSum", x, place, constant=[1], exclusive=exclusive, reverse=reverse)
    cases.check(tmp_path, rtol=1e-6, atol=1e-6)


def test_refused(tmp_path: Path) -> None:
    """Axes that only the run knows, and roots of whole numbers."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["a"], "late"),
        helper.make_node("ReduceL2", ["n"], ["b"], "root"),
    ]
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]),
        helper.make_tensor_value_info("n", TensorProto.INT64, [2, 3]),
        helper.make_tensor_value_info("axes", TensorProto.INT64, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 3]),
        helper.make_tensor_value_info("b", TensorProto.INT64, [1, 1]),
    ]
    graph = helper.make_graph(nodes, "g", ports, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(es.UnsupportedError) as caught:
        es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
    assert "its input axes ('axes') is computed at run time and must be a constant" in str(caught.value)
    assert "ReduceL2 of i64" in str(caught.value)
