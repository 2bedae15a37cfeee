"""How sparse the neurons of a decoder are by themselves: PPL-p% sparsity, and how lazy each layer is.

A neuron adds ``n[i] = W_down[:, i] * h[i]`` to the output, ``h`` what down reads. Those with ``||n[i]|| < eps`` are
left out, and ``CETT = ||sum of those left out|| / ||output||``, the mean over tokens; ``eps`` is that of a layer at
which all layers have the same CETT.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import numpy as np

from edgesparse.decoder.achieved import achieved
from edgesparse.decoder.model import Decoder, InputRule
from edgesparse.decoder.perplexity import score
from edgesparse.decoder.sites import Place, Progress, Samples, nothing, sample
from edgesparse.decoder.thresholds import bare, column_norms, with_rules
from edgesparse.errors import InputError
from edgesparse.types import Array

SHARES = np.linspace(0.02, 0.98, 49)
_TOKENS = 512
_STEPS = 12


@dataclass(frozen=True, slots=True)
class PplSparsity:
    """``sparsity``: of the neurons of all layers, on the text it was found on; ``layers``: of each; ``ratio``: of the
    perplexity to the dense one."""

    percent: float
    cett: float
    sparsity: float
    layers: tuple[float, ...]
    ratio: float


@dataclass(frozen=True, slots=True)
class LazyLayer:
    """``nonzero``: the share of a block's neurons that are not exactly zero, the mean over tokens. ``half``: of those
    with the largest ``||n[i]||``, the share that is needed for half of their sum: small where few neurons do the work.
    """

    block: int
    nonzero: float
    half: float


def ppl_sparsity(
    decoder: Decoder, windows: Array, percent: float = 1.0, *, on_progress: Progress = nothing
) -> PplSparsity:
    """The share of neurons that can be left out until the perplexity on ``windows`` is ``1 + percent / 100`` times the
    dense one, one CETT for all layers; found by bisection.

    Raises:
        InputError: ``percent`` is not positive, or windows are too short.

    Source: "Sparsing Law: Towards Large Language Models with Greater Activation Sparsity".
    """
    if not percent > 0:
        raise InputError(f"PPL-{percent:g}% sparsity", hint="a rise of the perplexity above 0%, as 1")
    decoder = bare(decoder)
    samples = sample(decoder, windows, on_progress)
    curves = [cett_curve(decoder, samples, index) for index in range(len(decoder.blocks))]
    dense = score(decoder, windows).bits
    low, high = 0.0, 1.0
    for step in range(_STEPS):
        on_progress(step, _STEPS, f"PPL-{percent:g}% sparsity")
        middle = (low + high) / 2
        if score(_left_out(decoder, curves, middle), windows).bits - dense <= log2(1 + percent / 100):
            low = middle
        else:
            high = middle
    found = achieved(_left_out(decoder, curves, low), windows)
    layers = tuple(found.shares[index, "down"] for index in range(len(decoder.blocks)))
    ratio = float(2 ** (found.score.bits - dense))
    return PplSparsity(percent, low, float(np.mean(layers)), layers, ratio)


def cett_curve(decoder: Decoder, samples: Samples, index: int) -> tuple[Array, Array]:
    """``eps`` at which `SHARES` of a layer's neurons are left out, and the CETT of each; both rise."""
    h, weight = _evenly(samples[index, "down"]), decoder.blocks[index].down.weight.astype(np.float32)
    sizes = np.abs(h) * column_norms(decoder.blocks[index].down)
    whole = np.linalg.norm(h @ weight.T, axis=-1)
    whole = np.maximum(whole, np.float32(1e-30))
    eps = np.quantile(sizes, SHARES).astype(np.float32)
    cett = [float((np.linalg.norm(np.where(sizes < e, h, 0) @ weight.T, axis=-1) / whole).mean()) for e in eps]
    return eps, np.maximum.accumulate(np.array(cett))


def lazy_layers(decoder: Decoder, windows: Array, *, on_progress: Progress = nothing) -> tuple[LazyLayer, ...]:
    """One a block. Source: "The Lazy Neuron Phenomenon: On Emergence of Activation Sparsity in Transformers"."""
    samples = sample(bare(decoder), windows, on_progress)
    found = []
    for index, block in enumerate(decoder.blocks):
        h = _evenly(samples[index, "down"])
        sizes = np.sort(np.abs(h) * column_norms(block.down), axis=-1)[:, ::-1]
        running = np.cumsum(sizes, axis=-1, dtype=np.float64)
        needed = (running < running[:, -1:] / 2).sum(-1) + (running[:, -1] > 0)
        found.append(LazyLayer(index, float((h != 0).mean()), float(needed.mean() / h.shape[1])))
    return tuple(found)


def _left_out(decoder: Decoder, curves: list[tuple[Array, Array]], cett: float) -> Decoder:
    """``||n[i]|| < eps`` is ``|h[i]| < eps / ||W_down[:, i]||``: a rule on what down reads."""
    rules: dict[Place, InputRule | None] = {}
    for index, (eps, cetts) in enumerate(curves):
        share = float(np.interp(cett, cetts, SHARES, left=0.0))
        norm = column_norms(decoder.blocks[index].down)
        level = np.float32(np.interp(cett, cetts, eps, left=0.0))
        threshold = np.where(norm > 0, level / np.maximum(norm, np.float32(1e-30)), np.float32(np.inf))
        rules[index, "down"] = InputRule("cett", share, threshold.astype(np.float32))
    return with_rules(decoder, rules)


def _evenly(x: Array) -> Array:
    return x[:: -(-len(x) // _TOKENS)]
