"""Statistical top-k: a threshold for each token, from the mean and the spread of what is there."""

from __future__ import annotations

import numpy as np

from edgesparse.decoder.model import Decoder, InputRule, NeuronRule
from edgesparse.decoder.sites import Place, Progress, check_sparsity, groups, nothing, quantile, sample, to_layers
from edgesparse.decoder.thresholds import bare, measured, with_rules
from edgesparse.types import Array

METHOD = "topk"


def calibrate_topk(decoder: Decoder, windows: Array, sparsity: float, *, on_progress: Progress = nothing) -> Decoder:
    """Keep the inputs with ``|x[i]| > mean(|x|) + spread * std(|x|)``: no sort, and it follows the size of a token.

    ``spread`` is the quantile of ``(|x| - mean) / std`` of what a layer reads. The paper trains with
    ``relu(x - theta)``, ``theta = mean(x) + std(x) Phi^-1(sparsity)``: soft, so that there are gradients, of signed
    scores that come out normal. Here nothing is trained, so what is kept stays as it is: inputs count by size, as large
    negative ones add as much; and the spread is measured, as sizes are not normal. In a network that predicts its
    neurons (`Block.predictor`) they are chosen by the activated gate, and up and down follow.

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

    for index, site in groups(decoder):
        predicted = bool(decoder.blocks[index].predictor)
        if predicted and site == "up":
            neurons[index] = NeuronRule(METHOD, sparsity, none, spread(samples[index, "act"], sparsity))
        elif not (predicted and site == "down"):
            inputs[index, site] = InputRule(METHOD, sparsity, none, spread(samples[index, site], sparsity))
    return measured(with_rules(decoder, to_layers(decoder, inputs), neurons), samples)


def spread(x: Array, share: float) -> float:
    """``x``: (tokens, n). How many deviations from each token's mean ``share`` of the sizes stay below."""
    size = np.abs(x)
    deviation = size.std(-1, keepdims=True)
    scaled = (size - size.mean(-1, keepdims=True)) / np.where(deviation > 0, deviation, np.float32(1))
    # shifted, as `quantile` takes "nothing" for 0
    low = scaled.min()
    return float(quantile(scaled - low, share) + low)
