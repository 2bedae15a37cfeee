"""More samples out of few, without labels: each change is one after which the teacher can still say what it sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgesparse.errors import InputError

KINDS = ("shift", "noise", "scale", "mix", "mask")
STEADY = 0.1
"""An axis of which the mean varies by less than this share of all variance is one to move along: time, or a picture's
rows and columns; not the coefficients of a spectrum, each of which has a meaning of its own."""
LEAST_AXIS = 8
SHIFT, NOISE, SCALE, MASK, MIXED = 0.15, 0.15, 0.1, 0.2, 0.5


@dataclass(frozen=True, slots=True)
class Augmenter:
    """Changes batches of one input (n, ...).

    ``steady``: the axes (of the batch) to shift and mask along; ``mean`` and ``deviation`` over samples and these axes.
    """

    kinds: tuple[str, ...]
    steady: tuple[int, ...]
    mean: Tensor
    deviation: Tensor

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Shift by up to 15% of an axis, scale by up to 10%, add noise of up to 0.15 deviations, mask up to 20% of an
        axis with the mean, then mix half of the samples with another one."""
        if "shift" in self.kinds:
            for axis in self.steady:
                x = _shifted(x, axis, generator)
        sides = (len(x), *[1] * (x.ndim - 1))
        if "scale" in self.kinds:
            x = x * (1 + SCALE * (2 * torch.rand(sides, generator=generator) - 1))
        if "noise" in self.kinds:
            noise = torch.randn(x.shape, generator=generator) * self.deviation
            x = x + NOISE * torch.rand(sides, generator=generator) * noise
        if "mask" in self.kinds:
            for axis in self.steady:
                x = _masked(x, axis, self.mean, generator)
        if "mix" in self.kinds:
            other = torch.randperm(len(x), generator=generator)
            share = torch.rand(sides, generator=generator) * 0.5
            share = share * (torch.rand(sides, generator=generator) < MIXED)
            x = (1 - share) * x + share * x[other]
        return x


def augmenter(samples: Tensor, kinds: tuple[str, ...] | None = None) -> Augmenter | None:
    """What suits ``samples`` (n, ...), or only ``kinds`` of it. None for whole numbers, which have no neighbours.

    Samples of one dimension are not shifted or masked, as are axes shorter than 8.

    Raises:
        InputError: a kind that is not known.
    """
    unknown = [k for k in kinds or () if k not in KINDS]
    if unknown:
        raise InputError(f"unknown augmentation '{unknown[0]}'", hint=f"known: {', '.join(KINDS)}, or none")
    if not samples.is_floating_point() or samples.ndim < 2 or kinds == ():
        return None
    steady = _steady(samples) if samples.ndim > 2 else ()
    axes = (0, *steady)
    return Augmenter(
        KINDS if kinds is None else kinds,
        steady,
        samples.mean(axes, keepdim=True),
        samples.std(axes, correction=0, keepdim=True),
    )


def _steady(samples: Tensor) -> tuple[int, ...]:
    total = float(samples.var(correction=0))
    found = []
    for axis in range(1, samples.ndim):
        others = [a for a in range(samples.ndim) if a != axis]
        between = float(samples.mean(others).var(correction=0))
        if samples.shape[axis] >= LEAST_AXIS and between <= STEADY * total:
            found.append(axis)
    return tuple(found)


def _shifted(x: Tensor, axis: int, generator: torch.Generator) -> Tensor:
    """Each sample by another number of places; what comes in is the value at the edge."""
    size = x.shape[axis]
    most = max(1, round(SHIFT * size))
    by = torch.randint(-most, most + 1, (len(x), 1), generator=generator)
    at = (torch.arange(size)[None] + by).clamp(0, size - 1)
    view = [len(x), *[1] * (x.ndim - 1)]
    view[axis] = size
    return torch.gather(x, axis, at.reshape(view).expand(x.shape))


def _masked(x: Tensor, axis: int, mean: Tensor, generator: torch.Generator) -> Tensor:
    """A stretch of the axis becomes ``mean``, in half of the samples."""
    size = x.shape[axis]
    length = (torch.rand((len(x), 1), generator=generator) * MASK * size).round()
    length = length * (torch.rand((len(x), 1), generator=generator) < 0.5)
    start = (torch.rand((len(x), 1), generator=generator) * (size - length)).floor()
    at = torch.arange(size)[None]
    view = [len(x), *[1] * (x.ndim - 1)]
    view[axis] = size
    return torch.where(((at >= start) & (at < start + length)).reshape(view), mean, x)
