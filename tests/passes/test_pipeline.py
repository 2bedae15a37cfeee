"""The pipeline as a whole: every pass is in it, it settles, and it keeps numbers over all opsets."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse import passes
from edgesparse.passes.decoders import CANONICAL
from edgesparse.passes.pipeline import OPTIMISE, SIMPLIFY, optimise, simplify
from tests.conftest import PROJECT
from tests.passes.unfuse import check_same, ops, parse

ELSEWHERE = {"Prune", "RearrangeChannels"}  # run by sparsify
RNG = np.random.default_rng(2)


def _passes() -> dict[str, str]:
    """Pass class -> module, of every file in passes/."""
    found = {}
    for info in pkgutil.iter_modules(passes.__path__):
        module = importlib.import_module(f"edgesparse.passes.{info.name}")
        for name, thing in inspect.getmembers(module, inspect.isclass):
            if issubclass(thing, ir.passes.PassBase) and thing.__module__ == module.__name__:
                found[name] = info.name
    return found


def test_every_pass_is_in_the_pipeline() -> None:
    listed = {getattr(factory, "__name__", "") for factory in (*SIMPLIFY, *OPTIMISE, *CANONICAL)}
    assert set(_passes()) - ELSEWHERE <= listed


@pytest.mark.parametrize("name", sorted(set(_passes()) - ELSEWHERE))
def test_every_pass_is_tested_under_its_name(name: str) -> None:
    assert (PROJECT / "tests" / "passes" / f"test_{_passes()[name]}.py").is_file()


def network(opset: int) -> ir.Model:
    """tf2onnx's way to write Conv, BatchNormalization, Relu and a residual, NHWC outside."""
    body = """
        t = Transpose<perm = [0, 3, 1, 2]>(x) c = Conv(t, w, b) n = BatchNormalization(c, s, s2, m, v)
        u = Transpose<perm = [0, 2, 3, 1]>(n) r = Relu(u) d = Transpose<perm = [0, 3, 1, 2]>(r)
        e = Conv<pads = [1, 1, 1, 1]>(d, k) f = Transpose<perm = [0, 2, 3, 1]>(e) g = Add(f, q) h = Add(g, r)
        i = Identity(h) y = Relu(i)
    """
    arrays = {
        "w": (4, 3, 1, 1), "b": (4,), "s": (4,), "s2": (4,), "m": (4,), "v": (4,), "k": (4, 4, 3, 3), "q": (4,)
    }  # fmt: skip
    weights = {k: RNG.standard_normal(s).astype(np.float32) for k, s in arrays.items()}
    weights["v"] = np.abs(weights["v"]) + np.float32(0.5)
    return parse(f"(float[1,6,5,3] x) => (float[1,6,5,4] y) {{ {body} }}", opset, **weights)


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 17, 18, 20])
def test_pipeline_keeps_numbers(opset: int) -> None:
    model = network(opset)
    before = model.clone()
    assert simplify(model).modified
    check_same(before, model, tolerance=1e-5)
    assert ops(model).count("Transpose") == 2
    assert "BatchNormalization" not in ops(model)
    assert optimise(model).modified
    check_same(before, model, tolerance=1e-5)
    assert ops(model) == ["Transpose", "Conv", "Conv", "Transpose"]


def test_a_second_run_changes_nothing() -> None:
    model = network(17)
    simplify(model)
    optimise(model)
    again = simplify(model)
    assert not again.modified, again.ran
    again = optimise(model)
    assert not again.modified, again.ran
