"""Products of two activations: MatMul and Gemm of any operands against NumPy in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgesparse as es
from edgesparse.ops import OPERATORS, Lowering
from edgesparse.ops.operator import CONTRACTS
from edgesparse.types import Array, Node, TensorSpec
from tests.ops.many import Cases, floats, integers


def add(cases: Cases, a: tuple[int, ...], b: tuple[int, ...], constant: tuple[int, ...] = ()) -> None:
    x, y = floats(*a, seed=1), floats(*b, seed=2)
    expect = np.asarray(x.astype(np.float64) @ y.astype(np.float64)).astype(np.float32)
    cases.add("MatMul", x, y, constant=constant, expect=expect)


def test_shapes(tmp_path: Path) -> None:
    """Vectors, matrices around every tile, batches that are broadcast, nothing at all."""
    cases = Cases()
    for a, b in (
        ((5,), (5,)), ((5,), (5, 7)), ((3, 5), (5,)), ((3, 5), (5, 1)), ((1, 1), (1, 1)), ((4, 130), (130,)),
        ((2, 3, 5), (5,)), ((5,), (2, 5, 3)), ((2, 3, 5), (5, 4)), ((3, 5), (2, 5, 4)), ((2, 1, 3, 5), (4, 5, 2)),
        ((2, 3, 4, 5), (2, 3, 5, 6)), ((2, 1, 4, 5), (1, 3, 5, 6)), ((4, 64), (64, 1)),
        ((2, 1, 2, 3, 4), (3, 1, 4, 2)),
        ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((0, 2, 3), (3, 4)),
    ):  # fmt: skip
        add(cases, a, b)
    for m in (1, 2, 4, 5, 7, 8):
        for n in (1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 64, 65, 130):
            add(cases, (m, 9), (9, n))
    cases.check(tmp_path, rtol=1e-5, atol=2e-6)


def test_constant_operands(tmp_path: Path) -> None:
    """Those that are no fully connected layer: on the left, in batches, a vector."""
    cases = Cases()
    add(cases, (3, 5), (5, 7), (0,))
    add(cases, (2, 3, 5), (2, 5, 7), (1,))
    add(cases, (2, 3, 5), (1, 5, 7), (0,))
    add(cases, (5,), (5,), (1,))
    add(cases, (2, 5), (5,), (1,))
    add(cases, (5,), (5, 3), (1,))
    cases.check(tmp_path, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("constant", [(), (0,), (1, 2)])
def test_gemm(tmp_path: Path, constant: tuple[int, ...]) -> None:
    cases = Cases()
    for m, n, k in ((3, 17, 5), (6, 1, 33)):
        for trans_a in (0, 1):
            for trans_b in (0, 1):
                a = floats(*((k, m) if trans_a else (m, k)), seed=1)
                b = floats(*((n, k) if trans_b else (k, n)), seed=2)
                product = (a.T if trans_a else a).astype(np.float64) @ (b.T if trans_b else b)
                attrs: dict[str, Any] = {"transA": trans_a, "transB": trans_b}
                for bias in (None, (), (1,), (n,), (m, 1), (1, n), (m, n)):
                    c = None if bias is None else floats(*bias, seed=3)
                    own = [i for i in constant if i < 2 + (c is not None)]
                    inputs = (a, b) if c is None else (a, b, c)
                    for alpha, beta in ((1.0, 1.0), (-0.5, 2.5), (2.0, 0.0)):
                        expect = (alpha * product + (0 if c is None else beta * c)).astype(np.float32)
                        cases.add("Gemm", *inputs, constant=own, expect=expect, alpha=alpha, beta=beta, **attrs)
    cases.check(tmp_path, rtol=1e-5, atol=3e-6)


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_batch(tmp_path: Path, data: st.DataObject) -> None:
    cases, size = Cases(), st.integers(1, 20)
    for _ in range(10):
        m, n, k = data.draw(size), data.draw(size), data.draw(st.integers(0, 40))
        full = data.draw(st.lists(st.integers(1, 3), max_size=3))
        left, right = ([d if data.draw(st.booleans()) else 1 for d in full] for _ in range(2))
        add(cases, (*left, m, k), (*right[data.draw(st.integers(0, len(right))) :], k, n))
    cases.check(tmp_path, rtol=1e-5, atol=3e-6)


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    cases = Cases()
    cases.add("MatMul", integers(2, 3), integers(3, 2))
    with pytest.raises(es.UnsupportedError, match="a product of i64"):
        cases.compile(tmp_path)


@pytest.mark.parametrize("bias", [False, True])
def test_epilogue(bias: bool) -> None:
    """The attributes that fuse_activation sets: min(max(a b + c, -1), 1)."""
    a, b, c = floats(3, 5), floats(5, 4, seed=1), floats(4, seed=2)
    specs = [TensorSpec(n, x.shape, "f32") for n, x in zip("abc", (a, b, c), strict=True)]
    inputs = tuple(specs if bias else specs[:2])
    node = Node(
        "n", "Gemm", "", 18, inputs, (TensorSpec("y", (3, 4), "f32"),), {"es_act": "clip", "es_lo": -1.0, "es_hi": 1.0},
        {},
    )  # fmt: skip
    out = Lowering({s.name: s for s in (*inputs, *node.outputs)})
    OPERATORS[("", "Gemm")].lower(node, out)
    values: dict[str, Array] = {"a": a, "b": b, "c": c}
    for call in out.calls:
        arrays, outputs = [values[n] for n in call.inputs], [out.tensors[n] for n in call.outputs]
        values.update(zip(call.outputs, CONTRACTS[call.op].reference(arrays, call.attrs, outputs), strict=True))
    expect = np.clip(a.astype(np.float64) @ b + (c if bias else 0), -1, 1)
    np.testing.assert_allclose(values["y"], expect, rtol=1e-6)
