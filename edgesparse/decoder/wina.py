"""Thresholds on the inputs of all linear layers, weighted by the weights that they meet."""

from __future__ import annotations

import numpy as np

from edgesparse.decoder.allocate import Allocation
from edgesparse.decoder.allocated import Allocated, allocated
from edgesparse.decoder.model import Decoder, Linear
from edgesparse.decoder.sites import Place, Progress, layer, nothing, places
from edgesparse.types import Array


def calibrate_wina(
    decoder: Decoder,
    windows: Array,
    sparsity: float,
    *,
    allocation: Allocation = "block",
    on_progress: Progress = nothing,
) -> Decoder:
    """Keep the inputs with ``|x[i]| * c[i] > t``, ``c[i] = ||W[:, i]||_2``: thresholds ``t / c[i]``, one an input.

    If columns of ``W`` are orthogonal, no other choice of as many inputs has a smaller expected error of the outputs.
    The paper rotates the network to make them so; here it stays as it is, as the rotations cost more weights than they
    are worth, and the norms hold at all seven layers. Arguments and errors as in `calibrate_teal`.

    Source: "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference".
    """
    return wina(decoder, windows, sparsity, allocation=allocation, on_progress=on_progress).at(sparsity, on_progress)


def wina(
    decoder: Decoder,
    windows: Array,
    highest: float,
    *,
    allocation: Allocation = "block",
    on_progress: Progress = nothing,
) -> Allocated:
    """One calibration for all sparsities up to ``highest``; as `calibrate_wina`."""
    return allocated("wina", decoder, windows, highest, norms(decoder), allocation, on_progress)


def norms(decoder: Decoder) -> dict[Place, Array]:
    return {place: column_norms(layer(decoder, place)) for place in places(decoder)}


def column_norms(linear: Linear) -> Array:
    """``||W[:, i]||_2``, (inputs,), float32."""
    found: Array = np.sqrt(np.square(linear.weight.astype(np.float32)).sum(0))
    return found
