from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesparse.errors import InputError
from edgesparse.patterns import FAMILIES, parse_pattern, with_rows, zero_count
from edgesparse.patterns.taps import dictionary
from edgesparse.types import Array, Shape

SHAPES = st.one_of(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3]), st.sampled_from([1, 3])),
)
BLOCKS = ("unstructured", "block:1x1", "block:4x1", "block:2x3", "block:16x2", "slice:4x1", "slice:2x2", "slice:1x1")
NMS = ("nm:2:4", "nm:1:4", "nm:4:8", "nm:1:8", "nm:2:8", "nm:3:7", "nm:2:4x4", "nm:1:2x8", "nm:15:16x2")


def _importance(shape: Shape, seed: int) -> Array:
    """Small whole numbers: many are equal."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@given(SHAPES, st.sampled_from(BLOCKS), st.sampled_from([0.0, 0.1, 0.5, 0.75, 0.99]), st.integers(0, 99))
def test_blocks_go_as_a_whole_the_smallest_first(shape: Shape, text: str, sparsity: float, seed: int) -> None:
    pattern, weight = parse_pattern(text), _importance(shape, seed)
    family, _, size = pattern.text.partition(":")
    rows, columns = (int(n) for n in (size or "1x1").split("x"))
    unit: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for at in np.ndindex(*shape):
        unit.setdefault((at[0] // rows, at[1] // columns, *(() if family == "slice" else at[2:])), []).append(at)
    mask = pattern.mask(weight, sparsity)
    kept = {key: {bool(mask[at]) for at in members} for key, members in unit.items()}
    assert all(len(states) == 1 for states in kept.values())
    gone = [key for key, states in kept.items() if states == {False}]
    assert len(gone) == zero_count(len(unit), sparsity)
    size_of = {key: sum(abs(float(weight[at])) for at in members) for key, members in unit.items()}
    if gone:
        assert max(size_of[k] for k in gone) <= min(size_of[k] for k in unit if k not in gone)
    assert pattern.scores(weight).shape == pattern.units(shape)
    assert pattern.scores(weight).ravel().tolist() == pytest.approx([size_of[k] for k in sorted(unit)])


@given(SHAPES, st.sampled_from(NMS), st.integers(0, 99))
def test_exactly_n_of_m_input_channels_stay(shape: Shape, text: str, seed: int) -> None:
    pattern, weight = parse_pattern(text), _importance(shape, seed)
    numbers, _, rows = pattern.text.removeprefix("nm:").partition("x")
    keep, group = map(int, numbers.split(":"))
    height = int(rows or 1)
    assert pattern.fixed_sparsity == pytest.approx(1 - keep / group)
    mask = pattern.mask(weight, 1 - keep / group)
    for top in range(0, shape[0], height):
        block, states = np.abs(weight[top : top + height]).sum(axis=0), mask[top : top + height]
        assert (states == states[:1]).all()
        for begin in range(0, shape[1], group):
            part, kept = block[begin : begin + group], states[0, begin : begin + group]
            assert (kept.sum(axis=0) == min(keep, len(part))).all()
            for one, stays in zip(part.reshape(len(part), -1).T, kept.reshape(len(kept), -1).T, strict=True):
                if not stays.all():
                    assert one[~stays].max() <= one[stays].min()
    assert pattern.mask(weight, 0).all()


@given(st.integers(1, 9), st.integers(1, 5), st.sampled_from(["taps:4", "taps:5x1", "taps:6x8"]), st.integers(0, 99))
def test_each_kernel_takes_the_best_of_a_few_tap_patterns(outputs: int, inputs: int, text: str, seed: int) -> None:
    pattern = parse_pattern(text)
    weight = np.random.default_rng(seed).standard_normal((outputs, inputs, 3, 3))
    assert pattern.fixed_sparsity is not None
    mask = pattern.mask(weight, pattern.fixed_sparsity)
    keep = round(9 * (1 - pattern.fixed_sparsity))
    kinds = np.unique(mask.reshape(-1, 9), axis=0)
    assert (kinds.sum(axis=1) == keep).all() and len(kinds) <= 8
    for top in range(0, outputs, pattern.rows):
        assert (mask[top : top + pattern.rows] == mask[top]).all()
        for channel in range(inputs):
            block = np.abs(weight[top : top + pattern.rows, channel]).sum(axis=0).reshape(-1)
            kept = block[mask[top, channel].reshape(-1)].sum()
            assert kept >= max(block[kind].sum() for kind in kinds) - 1e-12


def test_the_first_tap_pattern_is_the_best_single_one() -> None:
    kernels = np.random.default_rng(0).random((40, 9))
    found = dictionary(kernels, 4)
    best = max(combinations(range(9), 4), key=lambda taps: kernels[:, taps].sum())
    assert np.flatnonzero(found[0]).tolist() == list(best)


def test_few_kinds_of_kernels_need_few_patterns() -> None:
    kernels = np.zeros((10, 9))
    kernels[:5, :4], kernels[5:, 5:] = 1, 1
    assert dictionary(kernels, 4).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1, 1]]


@given(SHAPES, st.sampled_from((*BLOCKS, *NMS)), st.integers(0, 9))
def test_columns_say_the_same_as_the_mask(shape: Shape, text: str, seed: int) -> None:
    """A mask of whole column units is one that the pattern itself keeps, when it ranks by that mask."""
    pattern = parse_pattern(text)
    unit, limit = pattern.column_units(shape), pattern.column_limit(shape)
    columns = int(np.prod(shape[1:]))
    assert unit.shape == (columns,) and set(unit) == set(range(unit.max() + 1))
    groups = -(-shape[0] // pattern.rows)
    rng = np.random.default_rng(seed)
    if limit is None:
        kept = rng.random((groups, unit.max() + 1)) < 0.6
        kept[0, 0] = True
        sparsity = 1 - kept.mean()
    else:
        family, keep = limit
        kept = np.zeros((groups, columns), bool)
        for row in kept:
            for one in np.unique(family):
                members = np.flatnonzero(family == one)
                row[rng.permutation(members)[:keep]] = True
        assert pattern.fixed_sparsity is not None
        sparsity = pattern.fixed_sparsity
    mask = kept[:, unit].repeat(pattern.rows, axis=0)[: shape[0]].reshape(shape)
    assert np.array_equal(pattern.mask(mask.astype(np.float32), sparsity), mask)


@pytest.mark.parametrize(
    ("text", "shape", "depthwise", "words"),
    [
        ("block:4x1", (8, 1, 3, 3), True, "depthwise"),
        ("nm:2:4", (8, 1, 3, 3), True, "depthwise"),
        ("nm:2:4", (8, 2), False, "2 input channels, groups of 4"),
        ("nm:2:4", (8, 3), False, ""),
        ("taps:4", (8, 8, 1, 1), False, "this one is 1x1"),
        ("taps:4", (8, 8), False, "3x3"),
        ("taps:4", (8, 1, 3, 3), True, ""),
        ("slice:4x1", (8, 8, 3, 3), False, ""),
    ],
)
def test_what_a_pattern_refuses(text: str, shape: Shape, depthwise: bool, words: str) -> None:
    found = parse_pattern(text).refuses(shape, depthwise)
    assert words in found and bool(found) == bool(words)


def test_remarks_name_what_does_not_divide() -> None:
    assert parse_pattern("block:4x1").remark((8, 5)) == ""
    assert parse_pattern("block:4x2").remark((10, 5)) == (
        "the last block has 2 of 4 output channels, the last block has 1 of 2 input channels"
    )
    assert parse_pattern("nm:2:4").remark((8, 5)) == "the last group has 1 of 4 input channels, 1 stay"


@pytest.mark.parametrize(
    ("text", "tall"),
    [
        ("unstructured", "block:4x1"),
        ("block:2x3", "block:4x3"),
        ("slice:1x1", "slice:4x1"),
        ("taps:5x1", "taps:5"),
        ("nm:2:4", "nm:2:4x4"),
        ("nm:1:8x2", "nm:1:8x4"),
    ],
)
def test_patterns_can_be_shared_by_more_rows(text: str, tall: str) -> None:
    found = with_rows(parse_pattern(text), 4)
    assert (found.text, found.rows) == (tall, 4)
    assert found.fixed_sparsity == parse_pattern(text).fixed_sparsity


@pytest.mark.parametrize("text", [" BLOCK:4X1", "nm:2:4x1", "taps:4x4", "slice:08x01"])
def test_spellings_have_one_text(text: str) -> None:
    found = parse_pattern(text)
    assert parse_pattern(found.text) == found


@pytest.mark.parametrize(
    "text",
    ["", "blocks:4x1", "block", "block:3x1", "block:4x0", "block:4x65", "slice:4", "nm:4:4", "nm:0:4", "nm:2:17",
     "nm:2", "nm:2:4x3", "taps:3", "taps:7", "taps:4x3", "unstructured:1", "block:²x1"],
)  # fmt: skip
def test_unknown_patterns_are_refused_with_all_forms(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_pattern(text)
    assert caught.value.hint is not None and all(f"{family}" in caught.value.hint for family in FAMILIES)
