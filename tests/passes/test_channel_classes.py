"""Channel classes: what is tied, what is pinned, what a permutation would touch, on small graphs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.passes.channel_classes import ChannelClasses, channel_classes
from edgesparse.types import Array, Shape
from tests.passes.unfuse import parse

RNG = np.random.default_rng(5)


def graph(body: str, output: str, **shapes: Shape | Array) -> ir.Model:
    """``x`` (1,3,6,6) in, ``y`` out; arrays are taken as they are, of shapes there are random ones."""
    weights = {
        n: s if isinstance(s, np.ndarray) else RNG.standard_normal(s).astype(np.float32) for n, s in shapes.items()
    }
    return parse(f"(float[1,3,6,6] x) => (float[{output}] y) {{ {body} }}", 17, **weights)


def classes(found: ChannelClasses) -> list[list[str]]:
    """The constants of every free class, each with its axis (and the elements of a channel, if several)."""
    result = []
    for number in found.free():
        members = found.of(number)
        result.append(
            sorted(
                f"{m.value.name}:{m.layout.axis}" + (f"x{m.layout.inner}" if m.layout.inner > 1 else "")
                for m in members
            )
        )
    return result


HEAD = "g = GlobalAveragePool(last) f = Flatten(g) y = Gemm(f, fc)"
FC = {"fc": (4, 2)}

TIED: dict[str, tuple[str, dict[str, Shape], list[list[str]]]] = {
    "conv, bias, activation": (
        f"a = Conv(x, w, b) last = Relu(a) {HEAD}", {"w": (4, 3, 1, 1), "b": (4,), **FC}, [["b:0", "fc:0", "w:0"]]
    ),
    "batch normalization and slopes": (
        f"a = Conv(x, w) n = BatchNormalization(a, s, t, m, v) last = PRelu(n, p) {HEAD}",
        {"w": (4, 3, 1, 1), "s": (4,), "t": (4,), "m": (4,), "v": (4,), "p": (4, 1, 1), **FC},
        [["fc:0", "m:0", "p:0", "s:0", "t:0", "v:0", "w:0"]],
    ),
    "arithmetic for each channel": (
        f"a = Conv(x, w) c = Mul(a, k) d = Sub(k2, c) e = Div(d, one) last = Add(e, row) {HEAD}",
        {"w": (4, 3, 1, 1), "k": (1, 4, 1, 1), "k2": (4, 1, 1), "one": (1,), "row": (6,), **FC},
        [["fc:0", "k2:0", "k:1", "w:0"]],
    ),
    "depthwise ties its input and output": (
        f"a = Conv(x, w) last = Conv<group = 4>(a, d, e) {HEAD}",
        {"w": (4, 3, 1, 1), "d": (4, 1, 3, 3), "e": (4,), **FC}, [["d:0", "e:0", "fc:0", "w:0"]],
    ),
    "depthwise, two outputs of each channel": (
        "a = Conv(x, w) d = Conv<group = 2>(a, k) g = GlobalAveragePool(d) f = Flatten(g) y = Gemm(f, fc)",
        {"w": (2, 3, 1, 1), "k": (4, 1, 3, 3), **FC}, [["fc:0x2", "k:0x2", "w:0"]],
    ),
    "residual": (
        f"a = Conv(x, w) r = Relu(a) c = Conv(r, v) last = Add(c, a) {HEAD}",
        {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), **FC}, [["fc:0", "v:0", "v:1", "w:0"]],
    ),
    "squeeze and excitation": (
        f"a = Conv(x, w) m = GlobalAveragePool(a) c = Conv(m, v) s = Sigmoid(c) last = Mul(a, s) {HEAD}",
        {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), **FC}, [["fc:0", "v:0", "v:1", "w:0"]],
    ),
    "concat: side by side": (
        f"a = Conv(x, w) c = Conv(x, v) last = Concat<axis = 1>(a, c) {HEAD}",
        {"w": (3, 3, 1, 1), "v": (2, 3, 1, 1), "fc": (5, 2)}, [["fc:0", "w:0"], ["fc:0", "v:0"]],
    ),
    "concat with an input of the model": (
        f"a = Conv(x, w) last = Concat<axis = 1>(x, a) {HEAD}", {"w": (3, 3, 1, 1), "fc": (6, 2)}, [["fc:0", "w:0"]]
    ),
    "split: each half by itself": (
        f"a = Conv(x, w, b) p, q = Split<axis = 1>(a) r = Relu(p) last = Concat<axis = 1>(q, r) {HEAD}",
        {"w": (4, 3, 1, 1), "b": (4,), **FC}, [["b:0", "fc:0", "w:0"], ["b:0", "fc:0", "w:0"]],
    ),
    "flatten: blocks": (
        "a = Conv(x, w) p = MaxPool<kernel_shape = [3, 3], strides = [3, 3]>(a) f = Flatten(p) y = Gemm(f, fc)",
        {"w": (4, 3, 1, 1), "fc": (16, 2)}, [["fc:0x4", "w:0"]],
    ),
    "transposed": (
        """a = Conv(x, w) t = Transpose<perm = [0, 2, 3, 1]>(a) m = MatMul(t, u) n = Add(m, b) s = Relu(n)
        y = MatMul(s, v)""",
        {"w": (4, 3, 1, 1), "u": (4, 5), "b": (5,), "v": (5, 2)}, [["u:0", "w:0"], ["b:0", "u:1", "v:0"]],
    ),
    "layer normalization": (
        """a = Conv(x, w) t = Transpose<perm = [0, 2, 3, 1]>(a) n = LayerNormalization<axis = -1>(t, s, b)
        y = MatMul(n, v)""",
        {"w": (4, 3, 1, 1), "s": (4,), "b": (4,), "v": (4, 2)}, [["b:0", "s:0", "v:0", "w:0"]],
    ),
    "means over all of an image": (
        "a = Conv(x, w) m = ReduceMean<axes = [2, 3], keepdims = 0>(a) y = Gemm<transB = 1>(m, fc)",
        {"w": (4, 3, 1, 1), "fc": (2, 4)}, [["fc:1", "w:0"]],
    ),
}  # fmt: skip
OUTPUTS = {"transposed": "1,6,6,2", "layer normalization": "1,6,6,2"}


@pytest.mark.parametrize("name", TIED)
def test_tied(name: str) -> None:
    body, shapes, expected = TIED[name]
    found = channel_classes(graph(body, OUTPUTS.get(name, "1,2"), **shapes))
    assert sorted(classes(found)) == sorted(expected)


PINNED: dict[str, tuple[str, str, dict[str, Shape | Array], str]] = {
    "output of the model": ("y = Conv(x, w)", "1,4,6,6", {}, "'y' is an output of the model"),
    "groups": (
        "a = Conv(x, w) y = Conv<group = 2>(a, v)", "1,4,6,6", {"v": (4, 2, 1, 1)},
        "Conv 'y' mixes channels, or is not known to keep them apart",
    ),
    "reshape that mixes channels": (
        "a = Conv(x, w) y = Reshape(a, s)", "1,2,72", {"s": np.array([1, 2, 72])}, "Reshape 'y'"
    ),
    "softmax over channels": ("a = Conv(x, w) s = Softmax<axis = 1>(a) y = Relu(s)", "1,4,6,6", {}, "Softmax 's'"),
    "padded channels": (
        "a = Conv(x, w) y = Pad(a, p)", "1,5,6,6", {"p": np.array([0, 1, 0, 0, 0, 0, 0, 0])}, "Pad 'y'"
    ),
    "operator without a rule": (
        "a = Conv(x, w) y = DepthToSpace<blocksize = 2>(a)", "1,1,12,12", {}, "DepthToSpace 'y'"
    ),
    "product of activations": ("a = Conv(x, w) y = MatMul(a, a)", "1,4,6,6", {}, "MatMul 'y'"),
    "added to an input of the model": (
        "a = Conv(x, k) b = Add(a, x) y = Relu(b)", "1,3,6,6", {"k": (3, 3, 1, 1)}, "Add 'b'"
    ),
    "every other channel": (
        "a = Conv(x, w) y = Slice(a, b, e, b2, st)", "1,2,6,6",
        {"b": np.array([0]), "e": np.array([4]), "b2": np.array([1]), "st": np.array([2])}, "Slice 'y'",
    ),
    "one weight, two layers": (
        "a = Conv(x, k) c = Conv(a, k) m = GlobalAveragePool(c) f = Flatten(m) y = Gemm(f, fc)", "1,2",
        {"k": (3, 3, 1, 1), "fc": (3, 2)}, "'k' has several readers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PINNED)
def test_pinned(name: str) -> None:
    body, output, extra, why = PINNED[name]
    shapes = extra if "k" in extra else {"w": (4, 3, 1, 1), **extra}
    found = channel_classes(graph(body, output, **shapes))
    assert found.free() == []
    assert any(why in reason for reason in found.pinned.values()), found.pinned


def test_an_add_behind_a_concat_divides_its_other_operand() -> None:
    body = f"""a = Conv(x, w) c = Conv(x, v) d = Concat<axis = 1>(a, c) e = Conv(x, u) last = Add(e, d) {HEAD}"""
    found = channel_classes(graph(body, "1,2", w=(3, 3, 1, 1), v=(2, 3, 1, 1), u=(5, 3, 1, 1), fc=(5, 2)))
    assert sorted(classes(found)) == [["fc:0", "u:0", "v:0"], ["fc:0", "u:0", "w:0"]]
    assert [found.sizes[n] for n in found.free()] == [3, 2]


def test_a_mask_that_is_read_pins() -> None:
    """Dropout's second output has channels as well."""
    body = """a = Conv(x, w) d, m = Dropout(a) f = Cast<to = 1>(m) e = Add(d, f) g = GlobalAveragePool(e) h = Flatten(g)
    y = Gemm(h, fc)"""
    found = channel_classes(graph(body, "1,2", w=(4, 3, 1, 1), fc=(4, 2)))
    assert found.free() == []
