from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesparse.patterns import parse_pattern, zero_count
from edgesparse.sparsity.allocation import erk, ranked_together, uniform

UNSTRUCTURED = parse_pattern("unstructured")


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 64), st.sampled_from([1, 3])), min_size=1, max_size=6),
    st.floats(0.0, 0.99),
)
def test_erk_keeps_as_many_weights_as_asked_for(shapes: list[tuple[int, int, int]], sparsity: float) -> None:
    weights = {str(i): np.zeros((o, c, k, k)) for i, (o, c, k) in enumerate(shapes)}
    found = erk(weights, dict.fromkeys(weights, UNSTRUCTURED), sparsity)
    total = sum(w.size for w in weights.values())
    kept = sum((1 - found[name]) * w.size for name, w in weights.items())
    assert kept / total == pytest.approx(1 - sparsity, abs=1e-6)
    assert all(-1e-9 <= s <= 1 for s in found.values())
    density = {name: 1 - s for name, s in found.items()}
    raw = {name: sum(w.shape) / w.size for name, w in weights.items()}
    open_ = [name for name in weights if density[name] < 1 - 1e-9]
    ratios = [density[name] / raw[name] for name in open_]
    assert not ratios or max(ratios) == pytest.approx(min(ratios))  # one scale for all that are not dense
    assert all(density[a] >= density[b] - 1e-9 for a in weights for b in weights if raw[a] >= raw[b])


def test_erk_of_the_five_layers_of_the_reference() -> None:
    """A network whose first layer stays dense: the rule by hand."""
    weights = {"small": np.zeros((2, 2)), "large": np.zeros((100, 100))}
    found = erk(weights, dict.fromkeys(weights, UNSTRUCTURED), 0.9)
    assert found["small"] == 0.0
    assert found["large"] == pytest.approx(1 - (0.1 * 10004 - 4) / 10000)


@given(st.integers(0, 99), st.floats(0.0, 0.95), st.sampled_from(["unstructured", "block:4x1"]))
def test_global_is_one_threshold(seed: int, sparsity: float, text: str) -> None:
    rng, pattern = np.random.default_rng(seed), parse_pattern(text)
    weights = {name: rng.standard_normal((8, 6)) * scale for name, scale in (("a", 1.0), ("b", 3.0), ("c", 10.0))}
    found = ranked_together(weights, dict.fromkeys(weights, pattern), sparsity)
    masks = {name: pattern.mask(w, found[name]) for name, w in weights.items()}
    units = sum(pattern.scores(w).size for w in weights.values())
    gone = [pattern.scores(w)[pattern.scores(masks[n].astype(float)) == 0] for n, w in weights.items()]
    assert sum(map(len, gone)) == min(zero_count(units, sparsity), units - 3)
    kept = np.concatenate([pattern.scores(w)[pattern.scores(masks[n].astype(float)) > 0] for n, w in weights.items()])
    lost = np.concatenate(gone)
    # a layer's largest unit stays whatever its size
    best = [pattern.scores(w).max() for w in weights.values()]
    assert not len(lost) or lost.max() <= min([k for k in kept if k not in best], default=np.inf)
    assert all(mask.any() for mask in masks.values())


def test_uniform_is_the_same_everywhere() -> None:
    weights = {"a": np.zeros((2, 2)), "b": np.zeros((3, 3))}
    assert uniform(weights, dict.fromkeys(weights, UNSTRUCTURED), 0.4) == {"a": 0.4, "b": 0.4}
