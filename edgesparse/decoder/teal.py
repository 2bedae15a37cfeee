"""Magnitude thresholds on the inputs of all linear layers."""

from __future__ import annotations

from edgesparse.decoder.allocate import Allocation
from edgesparse.decoder.allocated import Allocated, allocated
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.sites import Progress, nothing
from edgesparse.types import Array


def calibrate_teal(
    decoder: Decoder,
    windows: Array,
    sparsity: float,
    *,
    allocation: Allocation = "block",
    on_progress: Progress = nothing,
) -> Decoder:
    """Keep the inputs with ``|x[i]| > t``, ``t`` the quantile of ``|x|`` of the layer's share.

    ``windows``: (count, length), tokens; ``sparsity``: of the weights of all linear layers, so many are not read;
    ``allocation``: the same share for all, by the error of each block (the paper's), or by the loss of the network.

    Raises:
        InputError: sparsity of 1 or more, an unknown allocation, windows too short.

    Source: "Training-Free Activation Sparsity in Large Language Models".
    """
    return teal(decoder, windows, sparsity, allocation=allocation, on_progress=on_progress).at(sparsity, on_progress)


def teal(
    decoder: Decoder,
    windows: Array,
    highest: float,
    *,
    allocation: Allocation = "block",
    on_progress: Progress = nothing,
) -> Allocated:
    """One calibration for all sparsities up to ``highest``; as `calibrate_teal`."""
    return allocated("teal", decoder, windows, highest, None, allocation, on_progress)
