"""A checkpoint on disk -> Decoder: a llama2.c ``.bin``, or a folder of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from edgesparse.decoder.huggingface import load_huggingface
from edgesparse.decoder.llama2c import load_llama2c
from edgesparse.decoder.model import Decoder, Linear
from edgesparse.errors import InputError
from edgesparse.types import Array

_PIECE = 1 << 22  # elements


def load_checkpoint(path: str | Path) -> Decoder:
    """The decoder in ``path``; its weights stay in the file where the format allows that.

    Raises:
        InputError: no such file, not one of these formats, damaged, weights that are NaN or infinite, or an
            architecture that is not known.
    """
    decoder = _load(Path(path))
    _check_finite(decoder, path)
    return decoder


def _load(path: Path) -> Decoder:
    if path.is_dir():
        return load_huggingface(path)
    if not path.is_file():
        raise InputError(
            "no such file or folder", where=str(path),
            hint="give a llama2.c .bin, or a folder with config.json and .safetensors",
        )  # fmt: skip
    if path.name.endswith((".safetensors", ".json")):
        raise InputError("one file of a checkpoint", where=str(path), hint="give the folder that it lies in")
    return load_llama2c(path)


def _check_finite(decoder: Decoder, path: str | Path) -> None:
    named = {"the embedding": decoder.embedding, "the final norm": decoder.final_norm, "the head": decoder.head}
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
                f"{name} holds NaN or infinite values", where=str(path), hint="copy the checkpoint again, or train anew"
            )


def _pieces(array: Array) -> Iterator[Array]:
    """A few rows at a time: what says which values are finite takes memory, too."""
    rows = max(1, _PIECE * len(array) // max(array.size, 1))
    return (array[first : first + rows] for first in range(0, len(array), rows))
