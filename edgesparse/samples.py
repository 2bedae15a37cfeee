"""Arrays in files: the inputs and outputs of ``run``, ``bench`` and ``compare``."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, Port
from edgesparse.types import DTYPES, Array


def read_inputs(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Arrays by input name from an ``.npz`` (its keys are the names) or, for one input, an ``.npy``.

    Raises:
        InputError: no such file, not a NumPy file, or keys that are not exactly ``names``.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint=f"numpy.savez({str(path)!r}, **inputs) writes one")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"": loaded}
        else:
            with loaded:
                arrays = {key: loaded[key] for key in loaded.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"not a NumPy file: {error}", where=str(path)) from error
    wanted = ", ".join(names)
    if "" in arrays:
        if len(names) != 1:
            raise InputError(
                f"one array, but the model has {len(names)} inputs: {wanted}", where=str(path),
                hint="use an .npz with one key per input",
            )  # fmt: skip
        return {names[0]: arrays[""]}
    if set(arrays) != set(names):
        raise InputError(
            f"holds {', '.join(arrays) or 'nothing'}, but the inputs of the model are {wanted}", where=str(path),
            hint="the keys of an .npz must be the names of the inputs",
        )  # fmt: skip
    return arrays


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write ``outputs`` as an ``.npz``, whole or not at all.

    Raises:
        OSError: the folder is missing or cannot be written, the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # not numpy.savez: its keyword arguments exclude outputs called "file"
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for key, array in outputs.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def random_inputs(manifest: Manifest, seed: int = 0) -> dict[str, Array]:
    """One sample: normal numbers for f32, zeros and ones for integers (small enough to be an index)."""
    rng = np.random.default_rng(seed)
    return {port.name: _random(port, rng) for port in manifest.inputs}


def _random(port: Port, rng: np.random.Generator) -> Array:
    if port.dtype == "f32":
        return rng.standard_normal(port.shape, dtype=np.float32)
    return rng.integers(0, 2, port.shape).astype(DTYPES[port.dtype])
