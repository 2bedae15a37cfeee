"""Statistical top-k: a threshold for each token, from the mean and the spread of what is there."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from edgesparse.decoder.model import Decoder, InputRule, NeuronRule
from edgesparse.decoder.sites import Place, Progress, check_sparsity, groups, nothing, quantile, sample, to_layers
from edgesparse.decoder.thresholds import bare, with_rules
from edgesparse.types import Array

METHOD = "topk"


def calibrate_topk(
    decoder: Decoder, windows: Array, sparsity: float, *, normal: bool = False, on_progress: Progress = nothing
) -> Decoder:
    """Keep the inputs with ``|x[i]| > mean(|x|) + spread * std(|x|)``: no sort, and it follows the size of a token.

    ``spread`` is the quantile of ``(|x| - mean) / std`` of what a layer reads. For normal values that is
    ``Phi^-1(sparsity)``, the paper's constant, which is taken with ``normal``; tails that are heavier keep fewer. In a
    network that predicts its neurons (`Block.predictor`) they are chosen by the activated gate, and up and down follow.

    Raises:
        InputError: sparsity of 1 or more, windows too short.

    Source: "Spark Transformer: Reactivating Sparsity in FFN and Attention".
    """
    check_sparsity(sparsity)
    decoder = bare(decoder)
    samples = sample(decoder, windows, on_progress)
    none = np.zeros(1, np.float32)
    inputs: dict[Place, InputRule | None] = {}
    neurons: dict[int, NeuronRule | None] = {}
    if not sparsity:
        return decoder

    def spread_of(x: Array) -> float:
        return NormalDist().inv_cdf(sparsity) if normal else spread(x, sparsity)

    for index, site in groups(decoder):
        predicted = bool(decoder.blocks[index].predictor)
        if predicted and site == "up":
            neurons[index] = NeuronRule(METHOD, sparsity, none, spread_of(samples[index, "act"]))
        elif not (predicted and site == "down"):
            inputs[index, site] = InputRule(METHOD, sparsity, none, spread_of(samples[index, site]))
    return with_rules(decoder, to_layers(decoder, inputs), neurons)


def spread(x: Array, share: float) -> float:
    """``x``: (tokens, n). How many deviations from each token's mean ``share`` of the sizes stay below."""
    size = np.abs(x)
    deviation = size.std(-1, keepdims=True)
    scaled = (size - size.mean(-1, keepdims=True)) / np.where(deviation > 0, deviation, np.float32(1))
    # shifted, as `quantile` takes "nothing" for 0
    low = scaled.min()
    return float(quantile(scaled - low, share) + low)
