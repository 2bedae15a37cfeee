"""FuseRotary: pairs that turn, however they are sliced and put together; other arithmetic stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest

from edgesparse.passes.fuse_rotary import FuseRotary
from edgesparse.passes.match import refusal
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

INTEGERS: dict[str, Array] = {
    "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "four": np.array([4]), "end": np.array([2**62]),
    "axis": np.array([3]), "last": np.array([-1]), "flat": np.array([1, 2, 5, 8]), "paired": np.array([1, 2, 5, 4, 2]),
    "n0": np.array(0), "n1": np.array(1), "flat_last": np.array([1, 5, 2, 8]),
}  # fmt: skip
ANGLES = np.random.default_rng(4).uniform(-3, 3, (1, 1, 5, 4)).astype(np.float32)
HEADS = np.random.default_rng(4).uniform(-3, 3, (1, 2, 5, 4)).astype(np.float32)
TABLES: dict[str, Array] = {
    "c": np.cos(ANGLES), "s": np.sin(ANGLES),
    "cc": np.tile(np.cos(ANGLES), 2), "ss": np.tile(np.sin(ANGLES), 2),
    "c_flat": np.cos(ANGLES)[0, 0], "s_flat": np.sin(ANGLES)[0, 0],
    "c_tokens": np.cos(ANGLES).swapaxes(1, 2), "s_tokens": np.sin(ANGLES).swapaxes(1, 2),
    "c_heads": np.cos(HEADS), "s_heads": np.sin(HEADS),
    "cx": np.concatenate([np.cos(ANGLES), np.cos(2 * ANGLES)], -1), "sx": np.tile(np.sin(ANGLES), 2),
}  # fmt: skip
HALVES = "a = Slice(x, zero, four, axis) b = Slice(x, four, end, axis)"
EVEN_ODD = "a = Slice(x, zero, end, axis, two) b = Slice(x, one, end, axis, two)"
TURNED = "ac = Mul(a, {c}) bs = Mul(b, {s}) p = Sub(ac, bs) bc = Mul({c}, b) as = Mul(a, {s}) q = Add({order})"
STACK = "u = Unsqueeze(p, last) v = Unsqueeze(q, last) t = Concat<axis = -1>(u, v) y = Reshape(t, {flat})"


def turned(c: str = "c", s: str = "s", order: str = "bc, as") -> str:
    return TURNED.format(c=c, s=s, order=order)


def model_of(body: str, inputs: str = "float[1,2,5,8] x", output: str = "float[1,2,5,8] y") -> ir.Model:
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    used = {name: array for name, array in {**INTEGERS, **TABLES}.items() if name in words}
    return parse(f"({inputs}) => ({output}) {{ {body} }}", 18, **used)


JOIN = "y = Concat<axis = -1>(p, q)"
ROTATE_HALF = f"{HALVES} n = Neg(b) r = Concat<axis = 3>(n, a) xc = Mul(x, {{c}}) rs = Mul(r, {{s}}) y = Add({{order}})"
FUSED = {
    "rotate_half": (ROTATE_HALF.format(c="cc", s="ss", order="xc, rs"), 0),
    "rotate_half, the sine first": (ROTATE_HALF.format(c="cc", s="ss", order="rs, xc"), 0),
    "rotate_half, doubled in the graph": (
        "k = Concat<axis = -1>(c, c) l = Concat<axis = -1>(s, s) "
        + ROTATE_HALF.format(c="k", s="l", order="xc, rs"), 0),
    "halves, joined": (f"{HALVES} {turned()} {JOIN}", 0),
    "halves by Split": (f"a, b = Split<axis = 3, num_outputs = 2>(x) {turned(order='as, bc')} {JOIN}", 0),
    "tables without heads": (f"{HALVES} {turned('c_flat', 's_flat')} {JOIN}", 0),
    "neighbours by steps": (f"{EVEN_ODD} {turned()} {STACK.format(flat='flat')}", 1),
    "neighbours by pairs": (
        f"z = Reshape(x, paired) a = Gather<axis = 4>(z, n0) b = Gather<axis = 4>(z, n1) {turned()} "
        f"{STACK.format(flat='flat')}", 1),
    "neighbours by Split": (
        "z = Reshape(x, paired) d, e = Split<axis = -1, num_outputs = 2>(z) a = Squeeze(d, last) b = Squeeze(e, last) "
        f"{turned()} {STACK.format(flat='flat')}", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_fuses(name: str) -> None:
    body, interleaved = FUSED[name]
    check_fused(model_of(body), interleaved)


def test_heads_behind_tokens() -> None:
    body = f"{EVEN_ODD} {turned('c_tokens', 's_tokens')} {STACK.format(flat='flat_last')}"
    model = model_of(body, "float[1,5,2,8] x", "float[1,5,2,8] y")
    check_fused(model, 1)
    assert ops(model).count("Transpose") == 2


def check_fused(model: ir.Model, interleaved: int) -> None:
    before = model.clone()
    assert FuseRotary()(model).modified
    common.RemoveUnusedNodesPass()(model)
    assert set(ops(model)) <= {"RotaryEmbedding", "Slice", "Squeeze", "Unsqueeze", "Concat", "Transpose"}
    (node,) = [n for n in model.graph if n.op_type == "RotaryEmbedding"]
    assert node.attributes["interleaved"].as_int() == interleaved
    check_same(before, model)
    assert not FuseRotary()(model).modified


REFUSED = {
    "the other way round": (ROTATE_HALF.replace("Neg(b)", "Neg(a)").replace("(n, a)", "(b, n)"), ("cc", "ss"), None),
    "halves that differ": (ROTATE_HALF, ("cx", "sx"), "angles that are not the same for both entries of a pair"),
    "angles that differ by head": (f"{HALVES} {TURNED} {JOIN}", ("c_heads", "s_heads"), "angles that differ by head"),
    "a sum for the difference": (f"{HALVES} {TURNED} {JOIN}".replace("Sub", "Add"), ("c", "s"), None),
    "the same half twice": (f"{HALVES} {TURNED} {JOIN}".replace("b = Slice(x, four, end", "b = Slice(x, zero, four"),
                            ("c", "s"), None),
    "neighbours, joined": (f"{EVEN_ODD} {TURNED} {JOIN}", ("c", "s"), None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    body, (c, s), reason = REFUSED[name]
    order = "xc, rs" if "xc" in body else "bc, as"
    model = model_of(body.format(c=c, s=s, order=order))
    before = ops(model)
    assert not FuseRotary()(model).modified
    assert ops(model) == before
    last = model.graph.outputs[0].producer()
    assert last is not None
    assert refusal(last) is None if reason is None else reason in str(refusal(last))
