"""Neurons chosen by their activated gate and by what they are multiplied with; and the inputs of q and o."""

from __future__ import annotations

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.cats import check_gated
from edgesparse.decoder.model import Decoder, InputRule, Linear, NeuronRule
from edgesparse.decoder.sites import Place, Progress, check_sparsity, nothing, quantile, sample
from edgesparse.decoder.thresholds import bare, measured, scalar_rule, with_rules
from edgesparse.types import Array


def calibrate_chess(
    decoder: Decoder, windows: Array, sparsity: float, *, attention: bool = True, on_progress: Progress = nothing
) -> Decoder:
    """Compute the neurons with ``a[i]^2 * E[u[i]^2] > th`` alone, ``u = up(x)``; and of q and o the largest inputs.

    ``th`` is the quantile of that score in the block, and each neuron's threshold ``sqrt(th / E[u[i]^2])``, infinite
    where ``u`` is always 0. ``sparsity``: of neurons, and of the inputs of q and o; k, v and the gate stay dense.
    Without ``attention``, q and o do, too: what CATS leaves dense.

    Raises:
        InputError: as `calibrate_cats`.

    Source: "CHESS: Optimizing LLM Inference via Channel-Wise Thresholding and Selective Sparsification".
    """
    check_sparsity(sparsity)
    check_gated("chess", decoder)
    decoder = bare(decoder)
    samples = sample(decoder, windows, on_progress)
    inputs: dict[Place, InputRule | None] = {}
    neurons: dict[int, NeuronRule | None] = {}
    for index, block in enumerate(decoder.blocks):
        if attention:
            for site in ("q", "o"):
                inputs[index, site] = scalar_rule("chess", samples[index, site], sparsity)
        if sparsity:
            energy = up_energy(block.up, samples[index, "up"])
            neurons[index] = NeuronRule("chess", sparsity, channel_thresholds(samples[index, "act"], energy, sparsity))
    return measured(with_rules(decoder, inputs, neurons), samples)


def up_energy(up: Linear, x: Array) -> Array:
    """``E[u^2]`` over tokens, (neurons,); ``x``: (tokens, inputs)."""
    u = reference.linear(up, x[None])[0]
    found: Array = np.square(u).mean(0)
    return found


def channel_thresholds(a: Array, energy: Array, share: float) -> Array:
    """``a``: (tokens, neurons) -> (neurons,)."""
    level = quantile(np.square(a) * energy, share)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 where none is multiplied by anything
        return np.where(energy > 0, np.sqrt(level / energy), np.inf).astype(np.float32)
