"""Neurons of gated feed-forward networks, chosen by their activated gate."""

from __future__ import annotations

import numpy as np

from edgesparse.decoder.model import Decoder, NeuronRule
from edgesparse.decoder.sites import Progress, Samples, check_sparsity, nothing, quantile, sample
from edgesparse.decoder.thresholds import bare, measured, with_rules
from edgesparse.errors import InputError
from edgesparse.types import Array


def calibrate_cats(decoder: Decoder, windows: Array, sparsity: float, *, on_progress: Progress = nothing) -> Decoder:
    """Compute the neurons with ``|a[i]| > t`` alone, ``a = act(gate(x))``, ``t`` the quantile of ``|a|`` in the block.

    ``sparsity`` is the share of neurons that is skipped: rows of up and inputs of down, two thirds of a gated network's
    weights; attention stays dense. ``windows``: (count, length), tokens.

    Raises:
        InputError: a network without gates, sparsity of 1 or more, windows too short.

    Source: "CATS: Contextually-Aware Thresholding for Sparsity in Large Language Models".
    """
    check_sparsity(sparsity)
    check_gated("cats", decoder)
    decoder = bare(decoder)
    samples = sample(decoder, windows, on_progress)
    return measured(with_rules(decoder, {}, neurons("cats", samples, len(decoder.blocks), sparsity)), samples)


def neurons(method: str, samples: Samples, blocks: int, share: float) -> dict[int, NeuronRule | None]:
    """A scalar threshold each block."""
    if not share:
        return {}
    return {
        index: NeuronRule(method, share, np.array([quantile(np.abs(samples[index, "act"]), share)], np.float32))
        for index in range(blocks)
    }


def check_gated(method: str, decoder: Decoder) -> None:
    if any(block.gate is None for block in decoder.blocks):
        raise InputError(
            f"{method} chooses neurons by their gate, and the feed-forward network of '{decoder.name}' has none",
            where="--method", hint="--method teal or wina fits every decoder",
        )  # fmt: skip
