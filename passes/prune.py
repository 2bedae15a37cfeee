"""Magnitude pruning of constant weights in a pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.passes.weights import Weight
from edgesparse.patterns import Mask, Pattern, keep_largest, zero_count
from edgesparse.types import Array, Shape


@dataclass(frozen=True, slots=True)
class Pruned:
    """What happened to one weight. ``shape`` is (Co, Ci, *kernel); shares are in [0, 1].

    ``kept_magnitude`` is ``sum |w after| / sum |w before|``, 1 for a weight of zeros.
    """

    name: str
    nodes: tuple[str, ...]
    shape: Shape
    zeros_before: float
    zeros: float
    kept_magnitude: float


Masks = Callable[[Mapping[str, Array], Pattern, float], dict[str, Mask]]


class Prune(ir.passes.InPlacePass):
    """Set to zero the units of ``pattern`` with the smallest ``sum |w|``, in the given weights.

    ``allocation`` says where: ``uniform`` zeroes the same share of every weight, ``global`` ranks
    the units of all weights together (each weight keeps at least its largest unit, or the layer
    would cut the network in two). A weight that several nodes read is pruned once. After the call
    ``pruned`` tells what was done, in the order of ``weights``.

    Raises:
        InputError: a weight holds NaN, by which nothing can be ranked.

    Source: Han et al. 2015, https://arxiv.org/abs/1506.02626; Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878
    """

    def __init__(self, weights: tuple[Weight, ...], pattern: Pattern, sparsity: float, allocation: str) -> None:
        self.weights, self.pattern, self.sparsity = weights, pattern, sparsity
        self.masks = ALLOCATIONS[allocation]
        self.pruned: tuple[Pruned, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        before = {w.name: w.array() for w in self.weights}
        for name, array in before.items():
            if np.isnan(array).any():
                raise InputError(
                    f"weight '{name}' holds NaN: its magnitudes cannot be ranked",
                    where=model.graph.name or "model", hint=f"repair the weight, or leave it dense: --keep {name}",
                )  # fmt: skip
        masks = self.masks(before, self.pattern, self.sparsity)
        modified, pruned = False, []
        for weight in self.weights:
            old = before[weight.name]
            new = np.where(masks[weight.name], old, np.zeros((), old.dtype))
            if not np.array_equal(old, new):
                weight.replace(new)
                modified = True
            pruned.append(_facts(weight, old, new))
        self.pruned = tuple(pruned)
        return ir.passes.PassResult(model, modified)


def _facts(weight: Weight, old: Array, new: Array) -> Pruned:
    total = float(np.abs(old.astype(np.float64)).sum())
    kept = float(np.abs(new.astype(np.float64)).sum())
    return Pruned(
        weight.name, weight.nodes, tuple(old.shape), 1.0 - np.count_nonzero(old) / old.size,
        1.0 - np.count_nonzero(new) / new.size, kept / total if total and np.isfinite(total) else 1.0,
    )  # fmt: skip


def uniform(weights: Mapping[str, Array], pattern: Pattern, sparsity: float) -> dict[str, Mask]:
    """The same share of every weight's units."""
    return {name: pattern.mask(array, sparsity) for name, array in weights.items()}


def ranked_together(weights: Mapping[str, Array], pattern: Pattern, sparsity: float) -> dict[str, Mask]:
    """That share of the units of all weights; ``zeros`` in total are exact while every weight can keep one."""
    scores = {name: pattern.scores(array) for name, array in weights.items()}
    flat = [s.reshape(-1).copy() for s in scores.values()]
    for one in flat:
        one[len(one) - 1 - int(np.argmax(one[::-1]))] = np.inf  # the last of the largest: ties go first to last
    count = sum(one.size for one in flat)
    kept = keep_largest(np.concatenate(flat), min(zero_count(count, sparsity), count - len(flat)))
    ends = np.cumsum([one.size for one in flat])
    return {
        name: pattern.expand(part.reshape(scores[name].shape), weights[name].shape)
        for name, part in zip(scores, np.split(kept, ends[:-1]), strict=True)
    }


ALLOCATIONS: Mapping[str, Masks] = {
    "uniform": uniform,
    "per-layer": uniform,  # the command line's word for it
    "global": ranked_together,
}
