"""FuseAttention: products, masks and caches in one operator; what has no cache stays, with the reason."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import pytest

from edgesparse.passes.fuse_attention import FuseAttention
from edgesparse.passes.match import refusal
from edgesparse.types import Array
from tests.passes.unfuse import check_same, ops, parse

F = np.float32
SEEN = np.tril(np.ones((5, 8), bool), 3)
GIVEN: dict[str, Array] = {
    "scale": np.array(0.25, F), "by": np.array(4, F), "root": np.array(0.5, F), "cap": np.array(1.5, F),
    "low": np.array(-np.inf, F), "zero": np.array(0, F), "lowest": np.array(np.finfo(F).min), "little": np.array(-3, F),
    "seen": SEEN, "hidden": ~SEEN, "mask": np.where(SEEN, F(0), F(-np.inf)),
    "at": np.array([2]), "at_one": np.array([1]), "wide": np.array([1, 2, 2, 8, 16]), "joined": np.array([1, 4, 8, 16]),
    "flat": np.array([-1, 8, 16]), "unflat": np.array([1, 4, 16, 8]), "wide_one": np.array([1, 2, 2, 8, 16]),
}  # fmt: skip
INPUTS = "float[1,4,5,16] q, float[1,2,5,16] k, float[1,2,5,16] v, float[1,2,3,16] pk, float[1,2,3,16] pv"
OUTPUTS = "float[1,4,5,16] y, float[1,2,8,16] ck, float[1,2,8,16] cv"
CACHE = "ck = Concat<axis = 2>(pk, k) cv = Concat<axis = -2>(pv, v) "
REPEAT = """
    uk = Unsqueeze(ck, at) ek = Expand(uk, wide) rk = Reshape(ek, joined)
    uv = Unsqueeze(cv, at) ev = Expand(uv, wide) rv = Reshape(ev, joined)
"""
TURN = "t = Transpose<perm = [0, 1, 3, 2]>(rk) "
END = " w = Softmax<axis = -1>(m) y = MatMul(w, rv)"


def model_of(body: str, opset: int = 18, inputs: str = INPUTS, outputs: str = OUTPUTS) -> ir.Model:
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    used = {name: array for name, array in GIVEN.items() if name in words}
    return parse(f"({inputs}) => ({outputs}) {{ {body} }}", opset, **used)


PRODUCT = f"{CACHE}{REPEAT}{TURN} p = MatMul(q, t) s = Mul(p, scale) "
FUSED = {
    "a mask that is added": f"{PRODUCT} m = Add(s, mask) {END}",
    "a mask that is added to": f"{PRODUCT} m = Add(mask, s) {END}",
    "chosen where seen": f"{PRODUCT} m = Where(seen, s, low) {END}",
    "chosen where hidden": f"{PRODUCT} n = Not(seen) m = Where(n, lowest, s) {END}",
    "no mask": f"{CACHE}{REPEAT}{TURN} p = MatMul(q, t) m = Div(p, by) {END}",
    "no scale": f"{CACHE}{REPEAT}{TURN} p = MatMul(q, t) m = Add(p, mask) {END}",
    "scales before": f"{CACHE}{REPEAT}{TURN} a = Mul(q, root) b = Mul(t, root) p = MatMul(a, b) m = Add(p, mask) {END}",
    "a scale before the turn": f"{CACHE}{REPEAT} b = Mul(rk, scale) t = Transpose<perm = [0, 1, 3, 2]>(b) "
    f"p = MatMul(q, t) m = Add(p, mask) {END}",
    "a soft cap": f"{PRODUCT} d = Div(s, cap) h = Tanh(d) c = Mul(h, cap) m = Add(c, mask) {END}",
    "turned in three": f"{CACHE}{REPEAT} f = Reshape(rk, flat) g = Transpose<perm = [0, 2, 1]>(f) "
    f"t = Reshape(g, unflat) p = MatMul(q, t) s = Mul(p, scale) m = Add(s, mask) {END}",
    "rows without keys": f"{PRODUCT} m = Add(s, mask) w = Softmax<axis = -1>(m) i = IsNaN(w) o = Where(i, zero, w) "
    "y = MatMul(o, rv)",
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_fuses(name: str) -> None:
    check_fused(model_of(FUSED[name]), leaves={"Not"} if "Not" in FUSED[name] else set())


def test_as_many_heads_with_keys() -> None:
    body = f"{CACHE} {TURN.replace('rk', 'ck')} p = MatMul(q, t) m = Add(p, mask) w = Softmax(m) y = MatMul(w, cv)"
    wide = (INPUTS.replace("[1,2", "[1,4"), OUTPUTS.replace("[1,2", "[1,4"))
    check_fused(model_of(body, 18, *wide))


@pytest.mark.parametrize("attributes", ["", "<scale = 0.3, softcap = 2.0>", "<is_causal = 1>"])
def test_an_operator_takes_up_its_past(attributes: str) -> None:
    """Causal without a past is from the upper left, so that one of ours with a mask is compared."""
    mask = "" if "causal" in attributes else ", seen"
    model = model_of(f"{CACHE}{REPEAT} y = Attention{attributes}(q, rk, rv{mask})", 23)
    if not mask:
        before = [node.attributes["is_causal"].as_int() for node in model.graph if node.op_type == "Attention"]
        FuseAttention()(model)
        assert [n.attributes["is_causal"].as_int() for n in model.graph if n.op_type == "Attention"] == before
    else:
        check_fused(model)


def check_fused(model: ir.Model, leaves: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    before = model.clone()
    assert FuseAttention()(model).modified
    common.RemoveUnusedNodesPass()(model)
    assert set(ops(model)) - leaves == {"Attention"}
    check_same(before, model)
    assert not FuseAttention()(model).modified


def test_joined_keys_stay_for_other_readers() -> None:
    """Their shape may be asked for before the operator, which comes last."""
    body = f"{PRODUCT} n = Shape(ck) m = Add(s, mask) {END}"
    model = model_of(body, outputs=f"{OUTPUTS}, int64[4] n")
    before = model.clone()
    assert FuseAttention()(model).modified
    common.RemoveUnusedNodesPass()(model)
    assert ops(model) == ["Concat", "Shape", "Attention"]
    check_same(before, model)


REFUSED = {
    "keys that are no output": (
        f"{PRODUCT} m = Add(s, mask) {END}", {"outputs": OUTPUTS.replace("float[1,2,8,16] ck, ", "")},
        "its keys are not a past from an input"),
    "values that are new alone": (
        f"{PRODUCT} m = Add(s, mask) w = Softmax(m) z = Concat<axis = 2>(pv, v) "
        "xv = Unsqueeze(z, at) xe = Expand(xv, wide) xr = Reshape(xe, joined) y = MatMul(w, xr)", {},
        "its values are not a past from an input"),
    "heads repeated as a whole": (
        f"{PRODUCT} m = Add(s, mask) {END}".replace("Unsqueeze(ck, at)", "Unsqueeze(ck, at_one)"), {},
        "its keys are not a past from an input"),
    "a mask that does not hide": (f"{PRODUCT} m = Where(seen, s, little) {END}", {}, None),
    "softmax over tokens": (f"{PRODUCT} m = Add(s, mask) {END}".replace("axis = -1>(m)", "axis = 2>(m)"), {}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    body, changes, reason = REFUSED[name]
    model = model_of(body, **changes)  # type: ignore[arg-type]
    before = ops(model)
    assert not FuseAttention()(model).modified
    assert ops(model) == before
    last = model.graph.outputs[0].producer()
    assert last is not None
    assert refusal(last) is None if reason is None else reason in str(refusal(last))
