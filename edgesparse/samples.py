"""Arrays in files: the inputs and outputs of ``run``, ``bench`` and ``compare``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, Port
from edgesparse.types import DTYPES, Array
from edgesparse.workspace import workspace


def read_inputs(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Arrays by input name from an ``.npz`` (its keys are the names) or, for one input, an ``.npy``.

    Raises:
        InputError: no such file, not a NumPy file, no numbers in it, or keys that are not exactly ``names``.
    """
    arrays = _read(path)
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


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an ``.npz`` by name.

    Raises:
        InputError: no such file, not an .npz, no numbers in it.
    """
    arrays = _read(path)
    if "" in arrays:
        raise InputError("one array without a name", where=str(path), hint="use an .npz, with a key for every array")
    return arrays


def _read(path: Path) -> dict[str, Array]:
    """Arrays by name; that of an .npy has the name ""."""
    hint = f"numpy.savez({str(path)!r}, **inputs) writes one"
    try:
        if not path.is_file():
            raise InputError("is a folder" if path.is_dir() else "no such file", where=str(path), hint=hint)
        with path.open("rb") as file:
            start = file.read(6)
        if start[:4] != b"PK\x03\x04" and start != b"\x93NUMPY":  # what NumPy takes for a pickle
            raise InputError("not a NumPy file (.npz or .npy)", where=str(path), hint=hint)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"": loaded}
        else:
            with loaded:
                arrays = {key: loaded[key] for key in loaded.files}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read: {(error.strerror or str(error)).lower()}", where=str(path)) from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        what = "holds Python objects, not numbers" if "allow_pickle" in str(error) else f"damaged NumPy file: {error}"
        raise InputError(what, where=str(path), hint=hint) from error
    return arrays


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write ``outputs`` as an ``.npz``, whole or not at all.

    Raises:
        InputError: the folder is missing or cannot be written, the disk is full.
    """
    try:
        with workspace(path.absolute().parent) as scratch:
            fresh = scratch / "outputs"
            # not numpy.savez: its keyword arguments exclude outputs called "file"
            with zipfile.ZipFile(fresh, "w") as archive:
                for key, array in outputs.items():
                    with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
            fresh.replace(path)
    except OSError as error:
        raise InputError(
            f"could not be written: {(error.strerror or str(error)).lower()}", where=str(path),
            hint="free some space or choose another place; nothing was left behind",
        ) from error  # fmt: skip


def random_inputs(manifest: Manifest, seed: int = 0) -> dict[str, Array]:
    """One sample: normal numbers for floats, zeros and ones for integers (small enough to be an index)."""
    rng = np.random.default_rng(seed)
    return {port.name: _random(port, rng) for port in manifest.inputs}


def _random(port: Port, rng: np.random.Generator) -> Array:
    if port.dtype in ("f32", "f16"):  # f16: the parts of models that `tune` measures
        return rng.standard_normal(port.shape, dtype=np.float32).astype(DTYPES[port.dtype])
    return rng.integers(0, 2, port.shape).astype(DTYPES[port.dtype])
