"""MergeLayouts: chains of Reshape and Transpose become one Transpose, or none."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.merge_layouts import MergeLayouts
from tests.passes.unfuse import check_same, ops, parse


def chain(before: str, body: str, after: str) -> ir.Model:
    """``h = Neg(x)``, the chain from ``h`` to ``g``, ``y = Exp(g)``; ``sNxM`` is a shape."""
    names = {word.rstrip(")") for word in body.replace(",", " ").split() if word.startswith("s") and word[1].isdigit()}
    shapes = {name: np.array([int(d) for d in name[1:].split("x")]) for name in names}
    return parse(f"(float[{before}] x) => (float[{after}] y) {{ h = Neg(x) {body} y = Exp(g) }}", 17, **shapes)


MERGED = {
    "inverse pair": ("2,3,4", "a = Transpose<perm=[2,0,1]>(h) g = Transpose<perm=[1,2,0]>(a)", "2,3,4", []),
    "two": ("2,3,4", "a = Transpose<perm=[1,0,2]>(h) g = Transpose<perm=[2,1,0]>(a)", "4,2,3", ["Transpose"]),
    "moves nothing": ("1,5,1,3", "g = Transpose<perm=[2,1,0,3]>(h)", "1,5,1,3", []),
    "of size one": ("1,5,1,3", "g = Transpose<perm=[1,2,0,3]>(h)", "5,1,1,3", ["Reshape"]),
    "flat pixels": (
        "1,8,1,1", "a = Transpose<perm=[0,2,3,1]>(h) g = Reshape(a, s1x8)", "1,8", ["Reshape"]
    ),
    "reshapes": ("2,3,4", "a = Reshape(h, s6x4) g = Reshape(a, s2x12)", "2,12", ["Reshape"]),
    "there and back": ("2,3,4", "a = Reshape(h, s6x4) g = Reshape(a, s2x3x4)", "2,3,4", []),
    "through a reshape": (
        "1,4,2,3",
        "a = Reshape(h, s1x4x6) b = Transpose<perm=[0,2,1]>(a) c = Reshape(b, s1x2x3x4) "
        "g = Transpose<perm=[0,3,1,2]>(c)",
        "1,4,2,3", [],
    ),
    # what the query of attention goes through: (1, HD, 1, M) -> (1, M, HD) -> (1, M, H, D) -> (1, H, M, D)
    "heads": (
        "1,6,1,5",
        "a = Transpose<perm=[0,2,3,1]>(h) b = Reshape(a, s1x5x6) c = Reshape(b, s1x5x2x3) "
        "g = Transpose<perm=[0,2,1,3]>(c)",
        "1,2,5,3", ["Reshape", "Transpose"],
    ),
    # and the key: it stays where it is
    "keys": (
        "1,6,1,5", "a = Transpose<perm=[0,2,3,1]>(h) b = Reshape(a, s1x5x2x3) g = Transpose<perm=[0,2,3,1]>(b)",
        "1,2,3,5", ["Reshape"],
    ),
    "back from heads": (
        "1,2,5,3",
        "a = Transpose<perm=[0,2,1,3]>(h) b = Reshape(a, s1x5x6) c = Reshape(b, s1x1x5x6) "
        "g = Transpose<perm=[0,3,1,2]>(c)",
        "1,6,1,5", ["Transpose", "Reshape"],
    ),
    "flatten": ("2,3,4", "a = Flatten<axis=1>(h) g = Flatten<axis=0>(a)", "1,24", ["Reshape"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_merges(name: str) -> None:
    before_shape, body, after_shape, expected = MERGED[name]
    model = chain(before_shape, body, after_shape)
    before = model.clone()
    assert MergeLayouts()(model).modified
    assert ops(model) == ["Neg", *expected, "Exp"]
    check_same(before, model, tolerance=0)
    assert not MergeLayouts()(model).modified


STAYS = {
    "one transpose": ("2,3,4", "g = Transpose<perm=[0,2,1]>(h)", "2,4,3"),
    "one reshape": ("2,3,4", "g = Reshape(h, s6x4)", "6,4"),
    "dimensions cut across": (
        "2,3", "a = Transpose(h) b = Reshape(a, s2x3) g = Transpose(b)", "3,2",
    ),
    "a reshape between reshapes of others": ("4,6", "a = Reshape(h, s3x8) g = Transpose(a)", "8,3"),
}  # fmt: skip


@pytest.mark.parametrize("name", STAYS)
def test_refuses(name: str) -> None:
    model = chain(*STAYS[name])
    before = ops(model)
    assert not MergeLayouts()(model).modified
    assert ops(model) == before


def test_outputs_and_other_readers_stay() -> None:
    text = """(float[2,3,4] x) => (float[4,2,3] a, float[2,3,4] y, float[4,2,3] z) {
        a = Transpose<perm = [2,0,1]>(x) z = Exp(a) g = Transpose<perm = [1,2,0]>(a) y = Neg(g) }"""
    model = parse(text)
    before = model.clone()
    assert MergeLayouts()(model).modified
    assert ops(model) == ["Transpose", "Exp", "Neg"]
    check_same(before, model, tolerance=0)


def test_input_straight_to_output() -> None:
    text = "(float[2,3] x) => (float[2,3] y) { a = Transpose(x) y = Transpose(a) }"
    model = parse(text)
    before = model.clone()
    assert MergeLayouts()(model).modified
    assert ops(model) == ["Identity"]
    check_same(before, model, tolerance=0)
    assert not MergeLayouts()(model).modified


def test_symbolic_shapes_stay() -> None:
    text = "(float[N,3] x) => (float[N,3] y) { a = Transpose(x) g = Transpose(a) y = Neg(g) }"
    assert not MergeLayouts()(parse(text)).modified


@pytest.mark.parametrize("seed", range(60))
def test_random_chains(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dims = [int(d) for d in rng.choice([1, 2, 3, 4, 6], rng.integers(2, 5))]
    first, body, name = ",".join(map(str, dims)), "", "h"
    shapes = {}
    for step in range(int(rng.integers(1, 7))):
        if rng.integers(2):
            perm = rng.permutation(len(dims))
            body += f" t{step} = Transpose<perm = [{','.join(map(str, perm))}]>({name})"
            dims = [dims[p] for p in perm]
        else:
            dims = _regrouped(rng, dims)
            shapes[f"s{step}"] = np.array(dims)
            body += f" t{step} = Reshape({name}, s{step})"
        name = f"t{step}"
    text = f"(float[{first}] x) => (float[{','.join(map(str, dims))}] y) {{ h = Neg(x){body} y = Exp({name}) }}"
    model = parse(text, 17, **shapes)
    before = model.clone()
    transposes = ops(model).count("Transpose")
    changed = MergeLayouts()(model).modified
    assert ops(model).count("Transpose") <= transposes
    assert changed or ops(model) == ops(before)
    check_same(before, model, tolerance=0)
    assert not MergeLayouts()(model).modified


def _regrouped(rng: np.random.Generator, dims: list[int]) -> list[int]:
    """Another shape with as many elements: neighbours multiplied, or a dimension split."""
    new = list(dims)
    at = int(rng.integers(len(new)))
    if len(new) > 2 and at + 1 < len(new) and rng.integers(2):
        new[at : at + 2] = [new[at] * new[at + 1]]
    else:
        divisors = [d for d in range(1, new[at] + 1) if new[at] % d == 0]
        d = int(rng.choice(divisors))
        new[at : at + 1] = [d, new[at] // d]
    return new
