"""Weights of 4 bits: what they lose, how they lie, and which blocks of 4 x 16 are pruned."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.decoder import pack_qb4
from edgesparse.decoder.gqsa import GROUP, gqsa, in_blocks, inverse_diagonal
from edgesparse.decoder.pack_qb4 import quantise_qb4
from edgesparse.errors import InputError
from edgesparse.types import Array


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(4)


def correlated(random: np.random.Generator, count: int, inputs: int) -> Array:
    """Activations of a few hidden causes, some of them loud."""
    loud = np.exp(random.normal(size=inputs))
    return np.asarray((random.normal(size=(count, inputs // 2)) @ random.normal(size=(inputs // 2, inputs))) * loud)


@pytest.mark.parametrize("block", pack_qb4.BLOCKS)
def test_no_scale_of_the_largest_weight_alone_does_better(random: np.random.Generator, block: int) -> None:
    """Against scales that make the largest weight 7 or -8, exactly or as a half, rounded by NumPy."""
    w = random.normal(size=(24, 200)).astype(np.float32)
    error = np.square(quantise_qb4(w, block).dense() - w)
    padded = np.pad(w, ((0, 0), (0, -200 % block))).reshape(24, -1, block)
    for denominator in (7.0, -8.0):
        at = np.abs(padded).argmax(axis=2)[..., None]
        scale = np.take_along_axis(padded, at, 2) / denominator
        nearest = np.clip(np.rint(padded / scale), -8, 7) * scale
        other = np.square(nearest - padded).sum(axis=2)
        ours = np.pad(error, ((0, 0), (0, -200 % block))).reshape(24, -1, block).sum(axis=2)
        assert (ours <= other * 1.002 + 1e-9).all()
        assert ours.sum() < 0.95 * other.sum()


def test_integers_times_a_half_are_stored_without_loss(random: np.random.Generator) -> None:
    u = random.integers(0, 16, (6, 64))
    u[:, ::32] = 0  # -8: the scale can be told
    scale = random.choice(np.array([0.25, -0.5, 2.0, 6e-5], np.float16), (6, 2))
    w = ((u - 8) * np.repeat(scale.astype(np.float64), 32, axis=1)).astype(np.float32)
    assert np.array_equal(quantise_qb4(w, 32).dense(), w)


def test_weights_of_zero_stay_zero_and_tiny_ones_do_no_harm() -> None:
    assert not quantise_qb4(np.zeros((3, 40), np.float32), 32).dense().any()
    tiny = quantise_qb4(np.full((1, 32), 1e-12, np.float32), 32).dense()
    assert np.isfinite(tiny).all() and np.abs(tiny).max() <= 1e-6


def test_bits_of_a_weight() -> None:
    w = np.ones((8, 128), np.float32)
    assert [quantise_qb4(w, block).bits for block in (32, 64)] == [4.5, 4.25]
    assert gqsa(w, sparsity=0.5).bits == pytest.approx(0.5 * (32 + 8 + 2) * 8 / 64 + 3 * 32 / w.size)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_weights_without_a_scale_are_refused(value: float) -> None:
    w = np.ones((4, 32), np.float32)
    w[1, 2] = value
    with pytest.raises(InputError, match="not finite, or too large"):
        quantise_qb4(w, 32)
    with pytest.raises(InputError, match="not finite, or too large"):
        gqsa(w, sparsity=0.0)


def test_a_byte_holds_the_two_weights_that_the_layouts_say(random: np.random.Generator) -> None:
    u = random.integers(0, 16, (256, 256), np.uint8)
    nibbles = pack_qb4.Nibbles(u, np.zeros((256, 8), np.float16), 32)
    o, i = 37, 77
    dense = pack_qb4.dense_qb4(nibbles).w.reshape(16, 8, 4, 16, 4)[o // 16, i // 32, i % 32 % 16 // 4, o % 16, i % 4]
    assert i % 32 < 16 and dense == u[o, i] | u[o, i + 16] << 4
    columns = pack_qb4.columns_qb4(nibbles).w.reshape(256, 2, 4, 4, 4)
    assert columns[i, 0, o % 16 // 4, o // 16, o % 4] == u[o, i] | u[o + 64, i] << 4
    rows = pack_qb4.rows_qb4(nibbles).w.reshape(256, 2, 64)
    assert rows[o, 0, 20] == u[o, 20] | u[o, 84] << 4


def test_the_blocks_that_matter_least_go(random: np.random.Generator) -> None:
    w = random.normal(size=(16, 64)).astype(np.float32)
    kept = gqsa(w, sparsity=0.5)
    sizes = {
        (g, c): float(np.square(w[4 * g : 4 * g + 4, 16 * c : 16 * c + 16]).sum()) for g in range(4) for c in range(4)
    }
    expected = sorted(sorted(sizes, key=lambda at: -sizes[at])[:8])
    assert [(g, int(c)) for g in range(4) for c in kept.column[kept.start[g] : kept.start[g + 1]]] == expected
    assert kept.sparsity == 0.5
    zero = {at for at in sizes if not kept.dense()[4 * at[0] : 4 * at[0] + 4, 16 * at[1] : 16 * at[1] + 16].any()}
    assert zero == set(sizes) - set(expected)


@pytest.mark.parametrize("shape", [(1, 1), (5, 17), (4, 16), (30, 100)])
def test_odd_shapes_are_padded(random: np.random.Generator, shape: tuple[int, int]) -> None:
    w = random.normal(size=shape).astype(np.float32)
    whole = gqsa(w, sparsity=0.0)
    assert whole.dense().shape == shape and whole.sparsity == 0
    groups = np.abs(in_blocks(w)).max(axis=3)  # half a step of the largest weight at 8.5, and what is clipped beyond 7
    allowed = np.repeat(groups.transpose(0, 2, 1).reshape(-1, groups.shape[1]), GROUP, axis=1)
    assert (np.abs(whole.dense() - w) <= allowed[: shape[0], : shape[1]] * 0.2).all()


def test_a_hessian_tells_better_what_to_keep(random: np.random.Generator) -> None:
    """By the error of the outputs on other activations than those of calibration."""
    x = correlated(random, 4000, 128)
    w = random.normal(size=(64, 128)).astype(np.float32)
    inverse = inverse_diagonal(x[:2000].T @ x[:2000] / 2000)
    errors = [np.square(x[2000:] @ (gqsa(w, some, 0.5).dense() - w).T).mean() for some in (None, inverse)]
    assert errors[1] < 0.7 * errors[0]


def test_the_inverse_of_what_is_nearly_singular(random: np.random.Generator) -> None:
    x = random.normal(size=(8, 40))
    moments = x.T @ x
    moments[3], moments[:, 3] = 0, 0
    damped = moments + np.diag(np.where(np.arange(40) == 3, 1.0, 0))
    damped += np.eye(40) * 0.01 * np.diag(damped).mean()
    assert np.allclose(inverse_diagonal(moments), np.diag(np.linalg.inv(damped)))
    with pytest.raises(InputError, match="not finite"):
        inverse_diagonal(np.full((2, 2), np.nan))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5])
def test_a_sparsity_outside_of_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(InputError, match="sparsity"):
        gqsa(np.ones((4, 16), np.float32), sparsity=sparsity)


def test_a_diagonal_that_is_not_positive_is_refused() -> None:
    for bad in (np.zeros(16), np.ones(15)):
        with pytest.raises(InputError, match="16 positive numbers"):
            gqsa(np.ones((4, 16), np.float32), bad)
