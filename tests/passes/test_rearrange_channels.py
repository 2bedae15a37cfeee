"""RearrangeChannels: the same outputs, more kept, never less; against onnxruntime and the patterns' own masks."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgesparse as es
from edgesparse.passes import channel_order
from edgesparse.passes.channel_groups import Blocks, Groups, Share, Stripes, Sums
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.rearrange_channels import RearrangeChannels
from edgesparse.passes.weights import Weight, find_weights
from edgesparse.patterns import parse_pattern, zero_count
from edgesparse.types import Array
from tests.conftest import PROJECT, require
from tests.passes.unfuse import ops, parse, run

TOLERANCE = 1e-5
PATTERNS = ("block:4x1", "block:2x4", "slice:4x2", "nm:2:4", "nm:1:4x4", "taps:4", "unstructured")


@pytest.fixture(autouse=True)
def short_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_order, "DESCENTS", 2e7)
    monkeypatch.setattr(channel_order, "KICKS", 5e6)


def weights_for(model: ir.Model, pattern: str) -> tuple[Weight, ...]:
    found = parse_pattern(pattern)
    usable = [w for w in find_weights(model) if w.optional or not w.dense]
    return tuple(w for w in usable if not found.refuses(w.array().shape, w.depthwise))


def rearrange(model: ir.Model, pattern: str, importance: Mapping[str, Array] | None = None) -> RearrangeChannels:
    """Run on all weights that the pattern fits, half of which are to go."""
    weights, found = weights_for(model, pattern), parse_pattern(pattern)
    sparsity = 0.5 if found.fixed_sparsity is None else found.fixed_sparsity
    names = [w.name for w in weights]
    made = RearrangeChannels(weights, dict.fromkeys(names, found), dict.fromkeys(names, sparsity), importance)
    made.modified = made(model).modified  # type: ignore[attr-defined]
    return made


def inputs(model: ir.Model) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    found = {}
    for value in model.graph.inputs:
        assert value.shape is not None and value.name is not None
        found[value.name] = rng.standard_normal([d if isinstance(d, int) else 2 for d in value.shape]).astype(
            np.float32
        )
    return found


def check_rearranged(model: ir.Model, pattern: str) -> RearrangeChannels:
    """Same outputs and nodes, gains that are true, permutations that say what happened to each weight."""
    before = model.clone()
    old = {w.name: w.array() for w in weights_for(model, pattern)}
    made = rearrange(model, pattern)
    assert ops(model) == ops(before)
    feed = inputs(before)
    # a random network makes more of a rounding error than a trained one: what does it make of the smallest there is?
    nearby = run(before, {name: np.nextafter(x, np.float32(np.inf)) for name, x in feed.items()})
    for expected, given_, other in zip(run(before, feed), run(model, feed), nearby, strict=True):
        scale, noise = float(np.abs(expected).max()), float(np.abs(other - expected).max())
        assert scale > 0 and float(expected.std()) > 0, "the outputs say nothing"
        assert noise < 10 * TOLERANCE * scale
        np.testing.assert_allclose(given_, expected, rtol=0, atol=max(TOLERANCE * scale, 3 * noise))
    found = parse_pattern(pattern)
    for gain, weight in zip(made.gains, weights_for(model, pattern), strict=True):
        rows, columns = made.permutations[weight.name]
        np.testing.assert_array_equal(weight.array(), old[weight.name][rows][:, columns])
        for share, array in ((gain.natural, old[weight.name]), (gain.rearranged, weight.array())):
            size = np.abs(array.astype(np.float64))
            mask = found.mask(array, 0.5 if found.fixed_sparsity is None else found.fixed_sparsity)
            assert share == pytest.approx(size[mask].sum() / size.sum(), abs=1e-6)
    assert sum(g.rearranged for g in made.gains) >= sum(g.natural for g in made.gains) - 1e-6
    return made


NETWORKS: dict[str, dict[str, float]] = {
    "mobilenet_v1": {"width": 0.25, "image": 32, "classes": 10},
    "mobilenet_v2": {"width": 0.25, "image": 32, "classes": 10},
    "efficientnet_lite0": {"width": 0.25, "image": 32, "classes": 10},
    "resnet18": {"width": 0.25, "image": 32, "classes": 10},
    "squeezenet1_1": {"width": 0.25, "image": 64, "classes": 10},
    "vit": {"image": 32, "dim": 48, "depth": 2, "classes": 10},
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("pattern", ["block:4x1", "nm:2:4"])
def test_networks_compute_the_same(network: str, pattern: str) -> None:
    require("torch")
    spec = importlib.util.spec_from_file_location("models", PROJECT / "examples" / "models.py")
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    model = es.export(*getattr(models, network)(**NETWORKS[network]))
    simplify(model)
    made = check_rearranged(model, pattern)
    assert sum(g.rearranged for g in made.gains) > sum(g.natural for g in made.gains) + 0.01


REAL = {
    "kws/kws_ref_model.onnx": 0, "vww/vww_96.onnx": 0, "resnet8/resnet8_cifar10.onnx": 0,
    "ultraface/version-RFB-320.onnx": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_trained_networks_keep_more(name: str, data_dir: Path) -> None:
    model = es.load(data_dir / name)
    simplify(model)
    made = check_rearranged(model, "block:4x1")
    assert np.mean([g.rearranged - g.natural for g in made.gains]) > 0.01


RNG = np.random.default_rng(8)


def network(rng: np.random.Generator, a: int = 12, b: int = 10) -> ir.Model:
    """Depthwise, residual, concat, split, a block-wise flatten, one vector with two readers; 4 need not divide."""
    shapes = {
        "w0": (a, 3, 1, 1), "d": (a, 1, 3, 3), "db": (a,), "w1": (a, a, 1, 1), "w2": (b, a, 3, 3), "shared": (b, 1, 1),
        "w3": (2 * b, b, 1, 1), "w4": (b, 2 * b, 1, 1), "fc": (7, (a + 2 * b) * 4), "fb": (7,), "fc2": (7, 5),
    }  # fmt: skip
    body = """
        c0 = Conv(x, w0) c1 = Conv<group = %d, pads = [1, 1, 1, 1]>(c0, d, db) r1 = Relu(c1) c2 = Conv(r1, w1)
        sum = Add(c2, c0)
        c3 = Conv<pads = [1, 1, 1, 1]>(sum, w2) m1 = Mul(c3, shared) m2 = PRelu(m1, shared)
        c4 = Conv(m2, w3) s1, s2 = Split<axis = 1>(c4) s3 = Sigmoid(s2) g = Mul(s1, s3)
        h = Concat<axis = 1>(s1, g) c5 = Conv(h, w4) e = Add(c5, m2)
        all = Concat<axis = 1>(e, sum, g)
        p = AveragePool<kernel_shape = [3, 3], strides = [3, 3]>(all) f = Flatten(p) k = Gemm<transB = 1>(f, fc, fb)
        l = Relu(k) y = MatMul(l, fc2)
    """
    weights = {n: (rng.standard_normal(s) * rng.gamma(1, 1, s)).astype(np.float32) for n, s in shapes.items()}
    return parse(f"(float[1,3,6,6] x) => (float[1,5] y) {{ {body % a} }}", 17, **weights)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_everything_at_once(pattern: str) -> None:
    made = check_rearranged(network(RNG), pattern)
    if pattern == "unstructured":
        assert not made.modified  # type: ignore[attr-defined]
    else:
        assert made.modified  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=15, database=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 17), st.integers(2, 9), st.sampled_from(PATTERNS))
def test_never_below_the_natural_order(seed: int, a: int, b: int, pattern: str) -> None:
    check_rearranged(network(np.random.default_rng(seed), a, b), pattern)


@pytest.mark.parametrize("pattern", PATTERNS[:3])
def test_a_second_run_finds_nothing(pattern: str) -> None:
    text = "(float[1,3,6,6] x) => (float[1,5,6,6] y) { a = Conv(x, w) b = Relu(a) y = Conv(b, v) }"
    weights = {n: RNG.standard_normal(s).astype(np.float32) for n, s in (("w", (24, 3, 1, 1)), ("v", (5, 24, 1, 1)))}
    model = parse(text, 17, **weights)
    assert rearrange(model, pattern).modified  # type: ignore[attr-defined]
    stored = {n: v.const_value for n, v in model.graph.initializers.items()}
    again = rearrange(model, pattern)
    assert not again.modified  # type: ignore[attr-defined]
    assert {n: v.const_value for n, v in model.graph.initializers.items()} == stored
    assert all((rows == np.arange(len(rows))).all() for rows, _ in again.permutations.values())


def test_a_pinned_network_stays_as_it_is() -> None:
    text = "(float[1,3,6,6] x) => (float[1,8,6,6] y) { y = Conv(x, w) }"
    model = parse(text, 17, w=RNG.standard_normal((8, 3, 1, 1)).astype(np.float32))
    made = rearrange(model, "block:4x1")
    assert not made.modified  # type: ignore[attr-defined]
    assert made.pinned == {"w": "'y' is an output of the model"}
    assert [g.natural for g in made.gains] == [g.rearranged for g in made.gains]


def test_importance_decides() -> None:
    """Weights that are all alike, of which those matter that have a partner four rows on."""
    text = "(float[1,4,6,6] x) => (float[1,2,6,6] y) { a = Conv(x, w) b = Relu(a) y = Conv(b, v) }"
    weights = {"w": np.ones((8, 4, 1, 1), np.float32), "v": np.ones((2, 8, 1, 1), np.float32)}
    importance = {"w": np.zeros((8, 4, 1, 1)), "v": np.ones((2, 8, 1, 1))}
    for row in range(8):
        importance["w"][row, row % 2 :: 2] = 1.0
    made = rearrange(parse(text, 17, **weights), "block:4x1", importance)
    gain = next(g for g in made.gains if g.name == "w")
    assert (gain.natural, gain.rearranged) == (0.5, 1.0)


def test_rows_with_the_same_support_come_together() -> None:
    """methods.md's check: eight latent supports among 128 rows."""
    rng = np.random.default_rng(0)
    support = np.zeros((8, 128), bool)
    for one in support:
        one[rng.permutation(128)[:64]] = True
    size = np.abs(rng.standard_normal((128, 128))) * np.where(support[rng.integers(0, 8, 128)], 1.0, 0.05)
    groups = Blocks(size / size.sum(), 4, [Share(128, zero_count(32 * 128, 0.5))])
    unstructured = float(np.sort(size.reshape(-1))[size.size // 2 :].sum() / size.sum())
    found = []
    for order in channel_order.best_orders(128, [groups]):
        groups.begin(order)
        found.append(groups.worth() / unstructured)
    groups.begin(np.arange(128))
    assert max(found) > 0.94 and groups.worth() / unstructured < 0.9


def kept(groups: Groups, order: Array) -> float:
    groups.begin(order)
    return groups.worth()


@settings(deadline=None, max_examples=30, database=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 13), st.integers(1, 7), st.sampled_from([2, 4]))
def test_gains_are_those_of_a_new_beginning(seed: int, count: int, units: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    channels = rng.gamma(1, 1, (count, units * 4))
    order = rng.permutation(count)
    sums = Sums(channels.reshape(count, units, 4), size, 2, 4)
    blocks = Blocks(channels, size, [Share(units * 4, units)])
    starts = np.arange(0, count, size)
    smallest = np.sort(np.add.reduceat(channels[order], starts).reshape(-1))[units]

    def above(swapped: Array) -> float:
        """The threshold of blocks stays while channels are swapped."""
        return float(np.maximum(np.add.reduceat(channels[swapped], starts) - smallest, 0).sum())

    def of_stripes(swapped: Array) -> float:
        return sum(float(np.sort(channels[swapped[s : s + size]], axis=0)[-1].sum()) for s in starts)

    def of_sums(swapped: Array) -> float:
        found = np.add.reduceat(channels[swapped], starts).reshape(-1, 4)
        return float(np.sort(found, axis=1)[:, 2:].sum())

    for groups, worth in ((Stripes(channels, size, 1), of_stripes), (sums, of_sums), (blocks, above)):
        for place in range(count):
            groups.begin(order)
            gains = groups.gains(place)
            for other in range(count):
                swapped = order.copy()
                swapped[[place, other]] = swapped[[other, place]]
                assert gains[other] == pytest.approx(worth(swapped) - worth(order), abs=1e-9)
            other, before = int(gains.argmax()), groups._worth.sum()
            groups.swap(place, other)
            assert groups._worth.sum() - before == pytest.approx(gains[other], abs=1e-9)


@pytest.mark.parametrize("pattern", ["block:4x1", "nm:2:4", "nm:2:4x2", "taps:4"])
def test_groups_keep_what_masks_keep(pattern: str) -> None:
    """In every order the worth of the groups is what the pattern's own mask leaves."""
    found = parse_pattern(pattern)
    array = RNG.gamma(1, 1, (14, 12, 3, 3))
    by_rows = pattern != "nm:2:4"
    count = array.shape[0 if by_rows else 1]
    groups: Groups
    if pattern == "block:4x1":
        groups = Blocks(array.reshape(14, -1), 4, [Share(108, zero_count(4 * 108, 0.5))])
    elif pattern == "nm:2:4":
        groups = Stripes(np.moveaxis(array, 1, 0).reshape(12, -1), 4, 2)
    elif pattern == "taps:4":
        groups = Sums(array.reshape(14, 12, 9), 4, 4, 9)
    else:
        groups = Sums(np.moveaxis(array, 1, -1).reshape(14, 9, 12), 2, 2, 4)
    for _ in range(5):
        order = RNG.permutation(count)
        taken = np.take(array, order, axis=0 if by_rows else 1)
        expected = float(taken[found.mask(taken, found.fixed_sparsity or 0.5)].sum())
        if pattern == "taps:4":  # the layer has but eight of the 126 shapes
            assert expected <= kept(groups, order) < 1.2 * expected
        else:
            assert kept(groups, order) == pytest.approx(expected)
