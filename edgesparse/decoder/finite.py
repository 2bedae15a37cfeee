"""Weights that are numbers: what computes with others writes nothing but nonsense, without a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from edgesparse.decoder.model import Decoder, Linear
from edgesparse.errors import InputError
from edgesparse.types import Array

_PIECE = 1 << 22  # elements


def check_finite(decoder: Decoder, where: str | Path) -> None:
    """Raises InputError, which names it, where a weight or a scale is NaN or infinite; reads all of them once.
    ``where`` they are from."""
    named = {"the embedding": decoder.embedding, "the final norm": decoder.final_norm, "the head": decoder.head}
    for field in fields(decoder):
        value = getattr(decoder, field.name)
        if field.name == "frequencies" or isinstance(value, float):
            named[field.name] = np.atleast_1d(value)
    for index, block in enumerate(decoder.blocks):
        parts = [(field.name, getattr(block, field.name)) for field in fields(block)]
        for site, part in parts:
            at = f"{site} of block {index}"
            if isinstance(part, Linear):
                named |= {f"weight of {at}": part.weight, f"bias of {at}": part.bias}
            elif isinstance(part, np.ndarray):
                named[at] = part
    for name, array in named.items():
        if array is not None and not all(np.isfinite(piece).all() for piece in _pieces(array)):
            raise InputError(
                f"{name} holds NaN or infinite values", where=str(where), hint="copy the file again, or train anew"
            )


def _pieces(array: Array) -> Iterator[Array]:
    """A few rows at a time: what says which values are finite takes memory, too."""
    rows = max(1, _PIECE * len(array) // max(array.size, 1))
    return (array[first : first + rows] for first in range(0, len(array), rows))
