from __future__ import annotations

import numpy as np
import pytest

from edgesparse.patterns import parse_pattern, zero_count
from edgesparse.sparsity.reconstruct import rebias, refit
from edgesparse.sparsity.removal import remove
from tests.sparsity.layers import damped_error, layer


@pytest.mark.parametrize(
    ("text", "channels"), [("unstructured", 2), ("block:2x1", 4), ("block:4x2", 4), ("block:4x1", 3), ("nm:2:4", 2)]
)
def test_each_step_takes_the_unit_that_costs_least(text: str, channels: int) -> None:
    """Against brute force: the least-squares error of every candidate, by lstsq, none of OBC's update formulas."""
    columns, pattern = 8, parse_pattern(text)
    weights, _, _, moments = layer(5, channels, columns)
    removal = remove(moments.best(weights), (channels, columns), pattern, moments)
    unit, limit = pattern.column_units((channels, columns)), pattern.column_limit((channels, columns))
    for group, rows in enumerate(np.split(np.arange(channels), range(pattern.rows, channels, pattern.rows))):

        def error(gone: list[int], rows: np.ndarray = rows) -> float:
            kept = np.append(~np.isin(unit, gone), True)
            return sum(damped_error(weights[r], kept, moments, weights[r]) for r in rows)

        gone: list[int] = []
        for step in range(removal.order.shape[1]):
            candidates = [int(u) for u in np.unique(unit) if u not in gone]
            if limit is not None:
                family = limit[0]
                full = [f for f in np.unique(family) if np.isin(unit[family == f], gone).sum() == 4 - limit[1]]
                candidates = [u for u in candidates if family[unit == u][0] not in full]
            costs = {u: error([*gone, u]) - error(gone) for u in candidates}
            taken = int(removal.order[group, step])
            assert costs[taken] == pytest.approx(min(costs.values()), rel=1e-6, abs=1e-9)
            assert removal.loss[group, step] == pytest.approx(costs[taken], rel=1e-5, abs=1e-8)
            gone.append(taken)


@pytest.mark.parametrize("text", ["unstructured", "block:4x1", "block:4x3", "slice:4x1"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
def test_the_mask_has_as_many_zeros_as_asked_for(text: str, sparsity: float) -> None:
    shape = (10, 3, 3, 3) if text.startswith("slice") else (10, 27)
    weights, _, _, moments = layer(6, 10, 27)
    pattern = parse_pattern(text)
    mask = remove(moments.best(weights), shape, pattern, moments).mask(shape, sparsity)
    scores = pattern.scores(np.ones(shape))
    assert mask.shape == shape
    assert (pattern.scores(mask.astype(float)) == 0).sum() == zero_count(scores.size, sparsity)
    assert np.isin(pattern.scores(mask.astype(float)) / scores, [0, 1]).all()  # whole units


def test_the_trace_is_the_error_of_the_refitted_mask() -> None:
    weights, _, _, moments = layer(7, 8, 12)
    pattern = parse_pattern("block:4x1")
    removal = remove(moments.best(weights), (8, 12), pattern, moments)
    for sparsity in (0.25, 0.5, 0.75):
        mask = removal.mask((8, 12), sparsity)
        exact = sum(damped_error(weights[r], np.append(mask[r], True), moments, weights[r]) for r in range(8))
        assert removal.error(sparsity) * moments.energy.sum() == pytest.approx(exact, rel=1e-5)


def test_refit_is_least_squares() -> None:
    weights, inputs, outputs, moments = layer(8, 6, 10)
    mask = np.random.default_rng(0).random((6, 10)) < 0.5
    left = refit(mask, moments, weights)
    assert not left[:, :10][~mask].any()
    augmented = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    for row in range(6):
        kept = np.append(mask[row], True)
        a = np.concatenate([augmented / np.sqrt(len(inputs)), np.diag(np.sqrt(moments.ridge))])[:, kept]
        b = np.concatenate([outputs[:, row] / np.sqrt(len(inputs)), np.sqrt(moments.ridge) * weights[row]])
        expected, *_ = np.linalg.lstsq(a, b, rcond=None)
        assert np.allclose(left[row, kept], expected, atol=1e-8)


def test_rebias_keeps_the_mean() -> None:
    weights, inputs, outputs, moments = layer(9, 6, 10)
    pruned = weights.copy()
    pruned[:, :5] = 0
    moved = rebias(pruned, moments)
    assert np.array_equal(moved[:, :10], pruned[:, :10])
    assert np.allclose((inputs @ moved[:, :10].T + moved[:, 10]).mean(axis=0), outputs.mean(axis=0))
