"""What pruning a layer costs where there is no calibration: the magnitude that is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgesparse.passes.weights import Weight
from edgesparse.patterns import Mask, Pattern
from edgesparse.types import Array

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The sparsities that are considered of a pattern that leaves them open."""
ErrorTable = Mapping[str, Mapping[str, Mapping[float, float]]]
"""Weight name -> pattern -> sparsity -> squared error of the layer's output, relative to its energy."""


def magnitude_errors(
    weights: Sequence[Weight], patterns: Sequence[Pattern], levels: Sequence[float] = LEVELS
) -> dict[str, dict[str, dict[float, float]]]:
    """``sum (w of what is zeroed)^2 / sum w^2`` for each weight, pattern and sparsity.

    It is the relative squared error of a layer whose inputs are uncorrelated and of equal energy; those of a real
    network are neither, so with calibration at hand measure it. Patterns that a weight refuses are left out.
    """
    found: dict[str, dict[str, dict[float, float]]] = {}
    for weight in weights:
        array, depthwise = weight.array(), weight.depthwise
        found[weight.name] = {
            pattern.text: {
                level: lost_energy(array, pattern.mask(array, level)) for level in levels_of(pattern, levels)
            }
            for pattern in patterns
            if not pattern.refuses(array.shape, depthwise)
        }
    return found


def lost_energy(weight: Array, mask: Mask) -> float:
    """The share of ``sum weight^2`` where ``mask`` is False; 0 of a weight that is all zeros."""
    energy = np.square(weight.astype(np.float64))
    total = float(energy.sum())
    return float(energy[~mask].sum()) / total if total else 0.0


def levels_of(pattern: Pattern, levels: Sequence[float] = LEVELS) -> tuple[float, ...]:
    """The sparsities that ``pattern`` can have: N:M and taps have one beside 0, the others those of ``levels``."""
    return tuple(levels) if pattern.fixed_sparsity is None else (0.0, pattern.fixed_sparsity)
