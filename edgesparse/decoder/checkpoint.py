"""A checkpoint on disk -> Decoder: a llama2.c ``.bin``, or a folder of Hugging Face."""

from __future__ import annotations

from pathlib import Path

from edgesparse.decoder.finite import check_finite
from edgesparse.decoder.huggingface import load_huggingface
from edgesparse.decoder.llama2c import load_llama2c
from edgesparse.decoder.model import Decoder
from edgesparse.errors import InputError


def load_checkpoint(path: str | Path) -> Decoder:
    """The decoder in ``path``; its weights stay in the file where the format allows that.

    Raises:
        InputError: no such file, not one of these formats, damaged, weights that are NaN or infinite, or an
            architecture that is not known.
    """
    decoder = _load(Path(path))
    check_finite(decoder, path)
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
