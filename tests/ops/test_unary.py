"""Operators of one tensor against onnxruntime, and against NumPy in double precision at the extremes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import edgesparse as es
from tests.ops.many import Array, Cases, floats, integers

# NaN, infinities, zeros, subnormals, halves, the largest numbers
SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1.2e-38, 3.4e38, -3.4e38, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5,
     8388607.5, 8388609.0, -8388607.5, 16777217.0, 88.0, 89.5, -87.5, -103.0, -104.5, 20.0, 20.5, -20.0, 0.9999999,
     -0.49999997, 1e9, -1e9, 1e-7, -1e-7, 3.0],
    np.float32,
)  # fmt: skip


def sweep(seed: int) -> Array:
    """Special values and numbers of every size, a length that fits no vector."""
    sizes = 10.0 ** np.random.default_rng(seed).uniform(-6, 2, 1001)
    return np.concatenate([SPECIAL, sizes, -sizes, floats(997)]).astype(np.float32)


def test_against_double_precision(tmp_path: Path) -> None:
    erf = np.vectorize(__import__("math").erf, otypes=[np.float64])

    def elu(x: Array, a: float) -> Array:
        return np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x)

    selu = 1.05070102214813232421875, 1.67326319217681884765625
    cases, x = Cases(opset=20), sweep(1)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        for op, expect in {
            "Exp": np.exp(wide), "Log": np.log(wide), "Sqrt": np.sqrt(wide), "Abs": np.abs(x), "Neg": -x,
            "Sign": np.sign(x), "Reciprocal": 1 / wide, "Erf": erf(wide), "Floor": np.floor(x), "Ceil": np.ceil(x),
            "Round": np.round(x), "Sin": np.sin(wide), "Cos": np.cos(wide), "Softplus": np.logaddexp(wide, 0),
            "Softsign": wide / (1 + np.abs(wide)), "Elu": elu(wide, 1.0), "Selu": selu[0] * elu(wide, selu[1]),
            "Celu": elu(wide, 1.0), "ThresholdedRelu": np.where(x > 1, x, 0),
            "Mish": wide * np.tanh(np.logaddexp(wide, 0)),
        }.items():  # fmt: skip
            cases.add(op, x, expect=expect.astype(np.float32))
    # twice the rounding of a float; results below the smallest normal number may vanish
    cases.check(tmp_path, rtol=6e-7, atol=1.2e-38)


def test_sine_of_large_numbers(tmp_path: Path) -> None:
    cases = Cases()
    x = np.concatenate([10.0 ** np.random.default_rng(0).uniform(0, 38.4, 2000), [3.4028235e38, 2**20, 1048575.9]])
    x = np.concatenate([x, -x]).astype(np.float32)
    cases.add("Sin", x, expect=np.sin(x.astype(np.float64)).astype(np.float32))
    cases.add("Cos", x, expect=np.cos(x.astype(np.float64)).astype(np.float32))
    cases.check(tmp_path, rtol=2e-7)


def test_against_onnxruntime(tmp_path: Path) -> None:
    cases = Cases(opset=20)
    for shape in ((), (1,), (3,), (0,), (2, 0, 3), (2, 3, 5), (1, 7, 9, 2), (64,)):
        x = floats(*shape, scale=3)
        for op in ("Abs", "Neg", "Sign", "Exp", "Floor", "Ceil", "Round", "Sin", "Softplus", "Softsign", "Elu", "Mish"):
            cases.add(op, x)
        for op in ("Sqrt", "Log", "Reciprocal"):
            cases.add(op, np.abs(x) + np.float32(0.1))
    x = floats(3, 5, scale=2)
    cases.add("Elu", x, alpha=0.3)
    cases.add("Selu", x, alpha=1.2, gamma=0.7)
    cases.add("Celu", x, alpha=2.5)
    cases.add("ThresholdedRelu", x, alpha=0.4)
    cases.check(tmp_path, rtol=1e-6, atol=3e-7)  # onnxruntime's exp(x) - 1 loses the digits near 0


def test_whole_numbers_and_truth_values(tmp_path: Path) -> None:
    cases = Cases(opset=20)
    for dtype in (np.int64, np.int32):
        lowest = np.array([np.iinfo(dtype).min + 1, np.iinfo(dtype).max, 0, -1, 1], dtype)
        for x in (lowest, integers(3, 4, dtype=dtype), integers(0, 2, dtype=dtype)):
            for op in ("Abs", "Neg", "Sign"):
                cases.add(op, x)
    cases.add("Not", integers(3, 17, low=0, high=2, dtype=bool))
    cases.add("IsNaN", SPECIAL)
    cases.add("IsInf", SPECIAL)
    cases.add("IsInf", SPECIAL, detect_negative=0)
    cases.add("IsInf", SPECIAL, detect_positive=0)
    cases.check(tmp_path, rtol=0)


def test_the_smallest_whole_number_wraps(tmp_path: Path) -> None:
    cases, x = Cases(), np.array([np.iinfo(np.int64).min], np.int64)
    cases.add("Abs", x, expect=x)
    cases.add("Neg", x, expect=x)
    cases.check(tmp_path)


def test_celu_of_alpha_below_zero_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Celu", ["x"], ["y"], "strange", alpha=-1.0)], "g",
        [helper.make_tensor_value_info("x", 1, [3])], [helper.make_tensor_value_info("y", 1, [3])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(es.UnsupportedError, match="alpha -1"):
        es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
