"""TEAL and WINA: thresholds on the inputs of all linear layers, by their size, or by what they add."""

from __future__ import annotations

from edgesparse.decoder.allocate import Allocation
from edgesparse.decoder.allocated import allocated
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
    """Keep the inputs with ``|x[i]| > t``, ``t`` the quantile of ``|x|`` of the share of a group of layers.

    A group is what reads the same vector (q, k and v; gate and up). ``windows``: (count, length), tokens; ``sparsity``:
    of the weights of all linear layers, so many are not read; ``allocation``: the same share for all, by the error of
    each block (the paper's, layer by layer there), or by the loss of the network.

    Raises:
        InputError: sparsity of 1 or more, an unknown allocation, windows too short.

    Source: "Training-Free Activation Sparsity in Large Language Models".
    """
    return allocated(
        "teal", decoder, windows, sparsity, weighted=False, allocation=allocation, on_progress=on_progress
    ).at(sparsity, on_progress)


def calibrate_wina(
    decoder: Decoder,
    windows: Array,
    sparsity: float,
    *,
    allocation: Allocation = "block",
    on_progress: Progress = nothing,
) -> Decoder:
    """Keep the inputs with ``|x[i]| * c[i] > t``, ``c[i] = ||W[:, i]||_2``: thresholds ``t / c[i]``, one an input.

    ``W`` are the weights of all layers of a group on top of each other. If its columns are orthogonal, no other choice
    of as many inputs has a smaller expected error of the outputs. The paper rotates the network to make them so; here
    it stays as it is, as the rotations cost more weights than they are worth, and the norms hold at all seven layers.
    Arguments and errors as in `calibrate_teal`.

    Source: "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference".
    """
    return allocated(
        "wina", decoder, windows, sparsity, weighted=True, allocation=allocation, on_progress=on_progress
    ).at(sparsity, on_progress)
