from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesparse.patterns import parse_pattern
from edgesparse.sparsity.masks import METHODS, choose, sparsegpt, wanda
from edgesparse.sparsity.moments import Accumulator
from edgesparse.sparsity.reconstruct import refit
from tests.sparsity.layers import layer

PATTERNS = ("unstructured", "block:4x1", "block:4x2", "nm:2:4", "nm:2:4x4")


def test_wanda_on_uncorrelated_inputs_is_magnitude_in_each_row() -> None:
    rng = np.random.default_rng(0)
    accumulator = Accumulator(bias=False)
    accumulator.add(np.eye(12) * np.sqrt(12), rng.standard_normal((12, 6)))
    weight = rng.standard_normal((6, 12))
    mask = wanda(weight, parse_pattern("unstructured"), 0.5, accumulator.moments())
    for row in range(6):
        assert set(np.flatnonzero(mask[row])) == set(np.argsort(-np.abs(weight[row]))[:6])


def test_wanda_follows_the_inputs() -> None:
    accumulator = Accumulator(bias=False)
    accumulator.add(np.diag([100.0, 1, 1, 1]), np.zeros((4, 1)))
    mask = wanda(np.array([[0.1, 1, 2, 3.0]]), parse_pattern("unstructured"), 0.5, accumulator.moments())
    assert mask.tolist() == [[True, False, False, True]]


@pytest.mark.parametrize("method", ["sparsegpt", "obc"])
@pytest.mark.parametrize("text", PATTERNS)
def test_reconstruction_beats_magnitude_which_beats_chance(method: str, text: str) -> None:
    weights, _, _, moments = layer(1, 16, 32)
    pattern = parse_pattern(text)
    errors = {
        m: moments.error(choose(m, "w", weights[:, :-1], weights, pattern, 0.5, moments).weights)
        for m in ("random", "magnitude", method)
    }
    assert errors[method] < errors["magnitude"] < errors["random"]


@given(
    st.integers(0, 10**6), st.sampled_from(PATTERNS), st.sampled_from(METHODS), st.integers(1, 13), st.integers(4, 21)
)
@settings(max_examples=80, deadline=None)
def test_masks_fit_the_pattern(seed: int, text: str, method: str, channels: int, columns: int) -> None:
    weights, _, _, moments = layer(seed, channels, columns, samples=60)
    pattern = parse_pattern(text)
    sparsity = 0.5 if pattern.fixed_sparsity is None else pattern.fixed_sparsity
    chosen = choose(method, "w", weights[:, :-1], weights, pattern, sparsity, moments)
    assert chosen.mask.shape == (channels, columns)
    assert not chosen.weights[:, :-1][~chosen.mask].any()
    assert np.isfinite(chosen.weights).all()
    for at in range(0, channels, pattern.rows):
        assert (chosen.mask[at : at + pattern.rows] == chosen.mask[at]).all()
    if text.startswith("nm"):
        for at in range(0, columns, 4):
            size = min(4, columns - at)
            assert (chosen.mask[:, at : at + 4].sum(axis=1) == min(2, size)).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_sparsity_leaves_the_layer_as_it_is(method: str) -> None:
    weights, _, _, moments = layer(2, 8, 12)
    chosen = choose(method, "w", weights[:, :-1], weights, parse_pattern("block:4x1"), 0.0, moments)
    assert chosen.mask.all() and np.allclose(chosen.weights, weights, atol=1e-6)


def test_sparsegpt_over_several_column_blocks() -> None:
    """More columns than a block holds: refitting its mask can only lower its error, and it beats magnitude."""
    weights, _, _, moments = layer(3, 8, 300, samples=900)
    pattern = parse_pattern("unstructured")
    mask, left = sparsegpt(moments.best(weights), (8, 300), pattern, 0.5, moments)
    assert mask.mean() == pytest.approx(0.5, abs=0.01)
    assert not left[:, :-1][~mask].any()
    by_magnitude = choose("magnitude", "w", weights[:, :-1], weights, pattern, 0.5, moments)
    bound = moments.error(refit(mask, moments, weights))
    assert bound <= moments.error(left) * (1 + 1e-9) < moments.error(by_magnitude.weights)


def test_a_mask_by_chance_is_the_same_in_every_run() -> None:
    weight, pattern = np.ones((8, 16)), parse_pattern("unstructured")
    dense = np.ones((8, 16))
    one, two, other = (choose("random", n, weight, dense, pattern, 0.5, None).mask for n in ("a", "a", "b"))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_inputs_that_are_always_zero_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    inputs = rng.standard_normal((50, 6))
    inputs[:, 2] = 0
    weights = rng.standard_normal((4, 6))
    accumulator = Accumulator(bias=False)
    accumulator.add(inputs, inputs @ weights.T)
    moments = accumulator.moments()
    for method in ("sparsegpt", "obc"):
        chosen = choose(method, "w", weights, weights, parse_pattern("block:4x1"), 0.17, moments)
        assert not chosen.mask[:, 2].any() and chosen.mask[:, [0, 1, 3, 4, 5]].all()


@given(st.integers(0, 10**6), st.sampled_from(["sparsegpt", "obc"]), st.integers(1, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_few_samples_of_any_scale_need_no_second_try(seed: int, method: str, samples: int, constant: bool) -> None:
    """Far fewer samples than columns, scales from 1e-12 to 1e12, inputs that are the same, or always 0."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((samples, 24)) * 10.0 ** rng.integers(-12, 13, 24)
    a[:, ::5] = 0.0
    a[:, 1::7] = 1e6 if constant else a[:, :1]
    weights = rng.standard_normal((8, 25))
    accumulator = Accumulator(bias=True)
    accumulator.add(a, a @ weights[:, :-1].T + weights[:, -1])
    moments = accumulator.moments()
    chosen = choose(method, "w", weights[:, :-1], weights, parse_pattern("block:4x1"), 0.5, moments)
    assert np.isfinite(chosen.weights).all() and 11 <= chosen.mask[0].sum() + chosen.mask[4].sum() <= 25
    assert not chosen.weights[:, :-1][~chosen.mask].any()
