"""Packed weights: every weight at its place, padding, what does not fit. Kernels are tested on them elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.decoder import pack
from edgesparse.errors import InputError


def weights(outputs: int, inputs: int) -> np.ndarray:
    return np.random.default_rng(outputs).standard_normal((outputs, inputs)).astype(np.float32)


@pytest.mark.parametrize(("outputs", "tile"), [(16, 16), (40, 16), (512, 512), (600, 256), (7, 64)])
def test_the_weights_of_an_input_are_neighbours_in_a_tile(outputs: int, tile: int) -> None:
    w, at = weights(outputs, 5), 0
    packed = pack.columns_f32(w, tile)
    for first in range(0, outputs, tile):
        own = min(tile, outputs - first)
        width = -(-own // 16) * 16
        part = packed[at : at + 5 * width].reshape(5, width)
        np.testing.assert_array_equal(part[:, :own], w[first : first + own].T)
        assert not part[:, own:].any()
        at += part.size
    assert at == packed.size


@pytest.mark.parametrize("offset", sorted(set(pack.OFFSET.values())))
def test_bytes_are_weights_to_half_of_their_scale(offset: int) -> None:
    w = weights(20, 33)
    packed, scale = pack.rows_qc8(w, offset)
    assert packed.shape == (20, 64) and (packed[:, 33:] == offset).all()
    q = (packed[:, :33].astype(np.int32) - offset).astype(np.int8)  # modulo 256, as bytes are
    assert np.abs(q.astype(int)).max(axis=1).tolist() == [127] * 20
    assert (np.abs(q * scale[:, None] - w) <= scale[:, None] * 0.5001).all()
    columns, same = pack.columns_qc8(w, 128, offset)
    np.testing.assert_array_equal(same, scale)
    np.testing.assert_array_equal(columns.reshape(33, 64)[:, :20], packed[:, :33].T)
    assert (columns.reshape(33, 64)[:, 20:] == offset).all()
    padded, _ = pack.columns_qc8(weights(4090, 3), 128, offset)  # not 4096: see row_bytes
    np.testing.assert_array_equal(
        padded.reshape(3, 4160)[:, :4090], pack.rows_qc8(weights(4090, 3), offset)[0][:, :3].T
    )
    with pytest.raises(ValueError, match="a multiple of 64"):
        pack.columns_qc8(w, 80, offset)


def test_rows_of_zeros_stay_zeros() -> None:
    q, scale = pack.quantise_rows(np.zeros((3, 8), np.float32))
    assert not q.any() and not scale.any()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    w = weights(2, 4)
    w[1, 2] = value
    with pytest.raises(InputError, match="infinite or no number"):
        pack.quantise_rows(w)
    with pytest.raises(InputError, match="does not fit into 16 bits"):
        pack.columns_f16(w, 16)


def test_weights_that_are_too_large_for_halves_are_refused() -> None:
    w = weights(2, 4)
    w[0, 0] = 65505
    with pytest.raises(InputError, match="does not fit into 16 bits") as caught:
        pack.rows_f16(w)
    assert "f32" in caught.value.hint


@pytest.mark.parametrize(
    ("outputs", "tile"), [(2048, 512), (5632, 256), (11008, 512), (32000, 512), (256, 64), (8, 64)]
)
def test_tiles_are_wide_but_enough_for_several_threads(outputs: int, tile: int) -> None:
    assert pack.tile_for(outputs) == tile


@pytest.mark.parametrize("tile", [0, 8, 24, 1024])
def test_tiles_that_no_kernel_has_are_refused(tile: int) -> None:
    with pytest.raises(ValueError, match="a multiple of 16"):
        pack.columns_f32(weights(4, 4), tile)
