"""Inputs chosen without looking: what every method has to beat."""

from __future__ import annotations

import numpy as np

from edgesparse.decoder.model import Decoder, InputRule
from edgesparse.decoder.sites import Place, check_sparsity, groups, layer, to_layers
from edgesparse.decoder.thresholds import bare, with_rules


def calibrate_random(decoder: Decoder, sparsity: float, *, seed: int = 0) -> Decoder:
    """Skip the same random ``round(sparsity * inputs)`` inputs of each linear layer for all tokens, of layers that
    read the same the same: their thresholds are infinite, those of the others 0.
    No text is looked at: what is zero besides is skipped, too, and not counted.

    Raises:
        InputError: sparsity of 1 or more.
    """
    check_sparsity(sparsity)
    generator = np.random.default_rng(seed)
    rules: dict[Place, InputRule | None] = {}
    for first in groups(decoder):
        inputs = layer(decoder, first).inputs
        threshold = np.zeros(inputs, np.float32)
        skipped = round(sparsity * inputs)
        threshold[generator.permutation(inputs)[:skipped]] = np.inf
        rules[first] = InputRule("random", skipped / inputs, threshold) if sparsity else None
    return with_rules(bare(decoder), to_layers(decoder, rules))
