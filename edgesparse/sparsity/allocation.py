"""How sparsity is shared out among layers, where no latency is asked for (that is in latency.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgesparse.patterns import Pattern, keep_largest, zero_count
from edgesparse.types import Array

Allocation = Callable[[Mapping[str, Array], Mapping[str, Pattern], float], dict[str, float]]


def uniform(weights: Mapping[str, Array], patterns: Mapping[str, Pattern], sparsity: float) -> dict[str, float]:
    """The same share of every weight's units."""
    return dict.fromkeys(weights, sparsity)


def erk(weights: Mapping[str, Array], patterns: Mapping[str, Pattern], sparsity: float) -> dict[str, float]:
    """Erdos-Renyi kernel: a layer's density is proportional to the sum of its dimensions over their product.

    Layers that would be denser than dense stay so, the others make up for it; in total ``sparsity`` of all weights go.
    Source: "Rigging the Lottery: Making All Tickets Winners" (Evci et al. 2020). It spares small layers: good for
    accuracy at equal size, bad for latency where small layers have large planes.
    """
    left = (1.0 - sparsity) * sum(w.size for w in weights.values())
    raw = {name: sum(w.shape) / w.size for name, w in weights.items()}
    density = dict.fromkeys(weights, 0.0)
    free = set(weights)
    while free:
        scale = left / sum(raw[name] * weights[name].size for name in free)
        full = {name for name in free if scale * raw[name] > 1.0}
        if not full:
            density.update({name: scale * raw[name] for name in free})
            break
        density.update(dict.fromkeys(full, 1.0))
        left -= sum(weights[name].size for name in full)
        free -= full
    return {name: 1.0 - d for name, d in density.items()}


def ranked_together(weights: Mapping[str, Array], patterns: Mapping[str, Pattern], sparsity: float) -> dict[str, float]:
    """One threshold for the magnitudes of all units: "global". Every weight keeps at least its largest unit, or the
    layer would cut the network in two; zeros in total are exact while every weight can keep one.
    """
    scores = [patterns[name].scores(w).reshape(-1).copy() for name, w in weights.items()]
    for one in scores:
        one[len(one) - 1 - int(np.argmax(one[::-1]))] = np.inf  # the last of the largest: ties go first to last
    count = sum(map(len, scores))
    kept = keep_largest(np.concatenate(scores), min(zero_count(count, sparsity), count - len(scores)))
    ends = np.cumsum([len(one) for one in scores])
    parts = np.split(kept, ends[:-1])
    return {name: 1.0 - float(part.mean()) for name, part in zip(weights, parts, strict=True)}


ALLOCATIONS: Mapping[str, Allocation] = {"uniform": uniform, "erk": erk, "global": ranked_together}
