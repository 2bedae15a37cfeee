"""Rules on all linear layers, their thresholds by one score and their shares by one allocation."""

from __future__ import annotations

from collections.abc import Mapping

from edgesparse.decoder.allocate import Allocation, by_block, check_allocation, uniform
from edgesparse.decoder.allocate_network import by_network
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.sites import Place, Progress, check_sparsity, sample
from edgesparse.decoder.thresholds import bare, thresholds
from edgesparse.types import Array

GREEDY_TOKENS = 2048  # blocks are computed some hundred times on so many


def allocated(
    method: str,
    decoder: Decoder,
    windows: Array,
    sparsity: float,
    norms: Mapping[Place, Array] | None,
    allocation: Allocation,
    on_progress: Progress,
) -> Decoder:
    """``norms``: what each input is weighted with, at the layers that have one. Errors as in `calibrate_teal`."""
    check_sparsity(sparsity)
    check_allocation(allocation)
    decoder = bare(decoder)
    scored = thresholds(method, sample(decoder, windows, on_progress), norms)
    if allocation == "uniform":
        return scored.decoder(decoder, uniform(decoder, sparsity))
    some = windows[:: -(-windows.size // GREEDY_TOKENS)]
    shares = by_block(decoder, scored, some, sparsity, on_progress).shares(sparsity)
    if allocation == "network":
        shares = by_network(decoder, scored, windows, sparsity, shares, on_progress=on_progress)
    return scored.decoder(decoder, shares)
