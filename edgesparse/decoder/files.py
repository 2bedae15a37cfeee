"""ONNX decoders as files: written whole, weights beside where they are many."""

from __future__ import annotations

import os
from pathlib import Path

import onnx_ir as ir

from edgesparse.decoder.onnx_file import write_onnx
from edgesparse.errors import InputError
from edgesparse.workspace import workspace

LARGEST_BYTES = 1_500_000_000
"""Of the weights within the file: protobuf ends at 2 GB."""


def save_decoder(model: ir.Model, path: str | Path) -> tuple[Path, ...]:
    """Write ``model`` to ``path``; weights of more than 1.5 GB to ``path`` + ".data" beside it. Returns the files.

    Each is there whole or not at all, and no two weights are in memory for it at once.

    Raises:
        InputError: a file cannot be written.
    """
    path = Path(path)
    held = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    data = path.with_name(f"{path.name}.data")
    try:
        with workspace(path.absolute().parent) as scratch:
            if held <= LARGEST_BYTES:
                with open(scratch / path.name, "wb") as file:
                    write_onnx(model, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(scratch / path.name, path)
                return (path,)
            ir.save(model, scratch / path.name, external_data=data.name)
            os.replace(scratch / data.name, data)  # first: a model without its weights is worse than the reverse
            os.replace(scratch / path.name, path)
    except OSError as error:
        raise InputError(
            f"could not be written: {error.strerror or error}", where=str(path), hint="choose another place with -o"
        ) from error
    return path, data
