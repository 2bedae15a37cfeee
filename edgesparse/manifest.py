"""manifest.json, the file that describes a bundle. Read by every runtime, written by `bundle`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edgesparse.errors import InputError

SCHEMA_VERSION = 1


class Port(BaseModel):
    """An input or output of the model: row-major, little-endian, ``dtype`` as in types.DTYPES."""

    model_config = ConfigDict(extra="forbid")
    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


class Layer(BaseModel):
    """One kernel call: what runs, why, and how sparse its weights are.

    ``predicted_us``: microseconds on the device by the cost model, or as ``measured``; ``dense_us``: the same if
    no weight were zero. Both are 0 where there is only one kernel.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    op: str
    kernel: str
    pattern: str = ""
    zeros: float = 0.0
    shape: tuple[int, ...] = ()
    weight_bytes: int = 0
    macs: int = 0
    predicted_us: float = 0.0
    dense_us: float = 0.0
    measured: bool = False
    reason: str = ""


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    schema_version: int = SCHEMA_VERSION
    edgesparse: str
    name: str
    device: str
    kind: str  # shared, executable or wasm
    triple: str
    isas: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_bytes: int
    arena_lower_bound_bytes: int
    weights_bytes: int
    code_bytes: int  # the stripped executable, shared library or module
    compiler: str
    layers: tuple[Layer, ...]
    files: dict[str, str]  # SHA-256 of every other file in the bundle
    notes: tuple[str, ...] = ()


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of the bundle folder ``bundle``.

    Raises:
        InputError: not a bundle, or one of another schema version.
    """
    path = bundle / "manifest.json"
    if not path.is_file():
        raise InputError(
            "not a bundle (no manifest.json)", where=str(bundle),
            hint="edgesparse compile MODEL.onnx --device host -o NAME.edge makes one",
        )  # fmt: skip
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"manifest does not fit schema version {SCHEMA_VERSION}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(path), hint="compile the model again with this version of edgesparse",
        ) from error  # fmt: skip
