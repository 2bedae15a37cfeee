"""3x3 convolutions through Winograd: against onnxruntime on shapes of every kind, and where they are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import edgesparse as es
from edgesparse.ops import OPERATORS, Lowering, winograd
from edgesparse.patterns import parse_pattern
from edgesparse.select import bindings
from edgesparse.types import Binding, LoweredGraph, Machine, Node, TensorSpec
from tests.ops.many import Cases, floats

Drawn = dict[str, Any]
LARGEST_ERROR = 3e-5
"""Of outputs around 1, whose largest is around 4: that of onnxruntime's own sums is 1e-6, Winograd's 1e-5."""


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    size = [draw(st.integers(1, 30)), draw(st.integers(1, 60))]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    for i in (0, 1):
        if size[i] + pads[i] + pads[2 + i] < 3:
            pads[i] = 2
    return {
        "size": size, "pads": pads, "inputs": draw(st.integers(8, 40)), "outputs": draw(st.integers(8, 70)),
        "images": draw(st.integers(1, 2)), "bias": draw(st.booleans()),
    }  # fmt: skip


@pytest.mark.parametrize("tile", winograd.POINTS)
@settings(
    max_examples=2, derandomize=True, phases=(Phase.explicit, Phase.generate), deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(many=st.lists(convolutions(), min_size=20, max_size=20))
def test_any_convolution(tile: int, tmp_path_factory: pytest.TempPathFactory, many: list[Drawn]) -> None:
    cases = Cases()
    for seed, c in enumerate(many):
        scale = np.float32(1 / np.sqrt(9 * c["inputs"]))
        weight = floats(c["outputs"], c["inputs"], 3, 3, seed=seed) * scale
        inputs = [floats(c["images"], c["inputs"], *c["size"], seed=seed + 1), weight]
        if c["bias"]:
            inputs.append(floats(c["outputs"], seed=seed + 2))
        cases.add("Conv", *inputs, constant=range(1, len(inputs)), kernel_shape=[3, 3], pads=c["pads"])
    folder = tmp_path_factory.mktemp("winograd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "POINTS", {tile: winograd.POINTS[tile]})
        patch.setattr(winograd, "winograd_us", lambda *_: 0.0)
        cases.check(folder, rtol=0, atol=LARGEST_ERROR)
    with es.open(folder / "cases.edge") as session:
        used = [layer.kernel for layer in session.manifest.layers if layer.op == "spmm"]
    assert len(used) == len(many)  # but for a single pixel, which is a product with a vector
    assert sum("winograd" in kernel for kernel in used) == len(used) - sum("spmv" in kernel for kernel in used)


def offered(
    inputs: int, outputs: int, size: int, sparsity: float = 0.0, pattern: str = "block:4x1", **attrs: Any
) -> list[Binding]:
    """What a 3x3 convolution is offered on a core with AVX2, fastest first."""
    weight = floats(outputs, inputs, 3, 3)
    if sparsity:
        weight = np.where(parse_pattern(pattern).mask(weight, sparsity), weight, np.float32(0))
    out = (size - 1) // attrs.get("strides", [1, 1])[0] + 1
    x, w = TensorSpec("x", (1, inputs, size, size), "f32"), TensorSpec("w", weight.shape, "f32")
    y = TensorSpec("y", (1, outputs, out, out), "f32")
    given_attrs = {"pads": [1, 1, 1, 1], **attrs}
    lowering = Lowering(tensors={s.name: s for s in (x, w, y)})
    OPERATORS["", "Conv"].lower(Node("n", "Conv", "", 18, (x, w), (y,), given_attrs, {"w": weight}), lowering)
    graph = LoweredGraph(lowering.tensors, tuple(lowering.calls), lowering.constants, ("x",), ("y",))
    return bindings(graph.calls[-1], graph, Machine("avx2", 3.0, 10.0))


@pytest.mark.parametrize(
    ("layer", "stem", "tile"),
    [
        ((64, 64, 56), "winograd_f32", 4),
        ((128, 128, 28), "winograd_f32", 4),
        ((256, 256, 14), "winograd_f32", 4),
        ((512, 512, 7), "winograd_f32", 2),  # one vector would be half full of tiles of 4x4
        ((16, 64, 55), "winograd_f32", 4),
        ((64, 64, 56, 0.3, "unstructured"), "winograd_f32", 4),
        ((64, 64, 56, 0.9, "block:4x1"), "spmm_f32", None),
        ((64, 64, 56, 0.95, "unstructured"), "spmm_f32", None),
    ],
)
def test_choice(layer: tuple[Any, ...], stem: str, tile: int | None) -> None:
    """As measured on the layers of ResNet and SqueezeNet."""
    found = offered(*layer)
    assert found[0].stem == stem and found[0].tiles.get("M") == tile
    assert all(b.dense_us == found[0].dense_us for b in found)


def test_not_for_others() -> None:
    """Strides, dilations, few channels."""
    for found in (
        offered(64, 64, 56, strides=[2, 2]),
        offered(64, 64, 56, dilations=[2, 2], pads=[2, 2, 2, 2]),
        offered(3, 64, 56),
    ):  # fmt: skip
        assert {b.stem for b in found} == {"spmm_f32"}


def test_reason() -> None:
    best, *others = offered(64, 64, 56)
    assert best.reason.startswith("Winograd: 36 products for 4x4 outputs instead of 144; zeros in blocks of 4 ")
    assert next(b.reason for b in others if b.stem == "spmm_f32").endswith("; dense would be Winograd")
