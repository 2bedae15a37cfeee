"""manifest.json, the file that describes a bundle. Read by every runtime, written by `bundle`."""

from __future__ import annotations

import json
import sys
from math import prod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from edgesparse.errors import InputError
from edgesparse.manifest_decoder import DecoderFacts
from edgesparse.types import DTYPES

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

SCHEMA_VERSION = 1
KINDS = ("shared", "executable", "wasm")
WASM_BYTES = 1 << 32


FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
"""A file in the folder of the bundle: no path out of it. runtimes/web/manifest.mjs asks for the same."""
MOST_ENTRIES = 1 << 16
"""Of a table in weights.packed."""


class Port(BaseModel):
    """An input or output of the model: row-major, little-endian, ``dtype`` as in types.DTYPES."""

    model_config = ConfigDict(extra="forbid")
    name: str
    shape: tuple[NonNegativeInt, ...]
    dtype: str
    bytes: NonNegativeInt

    @model_validator(mode="after")
    def _bytes_are_those_of_the_shape(self) -> Self:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype '{self.dtype}' of '{self.name}' is none of {', '.join(DTYPES)}")
        wanted = prod(self.shape) * DTYPES[self.dtype].itemsize
        if self.bytes != wanted:
            raise ValueError(f"'{self.name}' is said to have {self.bytes} bytes; its shape and dtype need {wanted}")
        return self


class Module(BaseModel):
    """One build of a WebAssembly model. With ``threads`` its memory comes from outside and is shared with workers."""

    model_config = ConfigDict(extra="forbid")
    file: FileName
    isa: str
    threads: bool
    bytes: NonNegativeInt


class Winograd(BaseModel):
    """Weights that are transformed when they are loaded: ``matrix`` u ``matrix``' of every (3, 3) kernel u, in doubles
    and in the order in which `packed_weights.transformed` adds them up. The result lies as `ops.winograd` packs it, in
    blocks of ``height`` channels, ``group`` channels together.
    """

    model_config = ConfigDict(extra="forbid")
    channels: NonNegativeInt
    inputs: NonNegativeInt
    height: PositiveInt
    group: PositiveInt
    matrix: tuple[tuple[float, float, float], ...]


class Coded(BaseModel):
    """How one constant, ``bytes`` at ``offset`` of weights.bin, lies in weights.packed: see `packed_weights`.

    ``coding`` is planes, table, f16 or int8. ``item_bytes`` are those of a value. ``kept``: zeros are left out, and so
    many values are there, behind a bit for each. ``entries`` of a table; with ``gaps`` what refers to it are steps.
    ``exponent``: a power of two that multiplies values of f16 and int8. With ``step``, that is all that does.
    """

    model_config = ConfigDict(extra="forbid")
    offset: NonNegativeInt
    bytes: NonNegativeInt
    coding: Literal["planes", "table", "f16", "int8"]
    item_bytes: int = 4
    kept: NonNegativeInt | None = None
    entries: NonNegativeInt | None = None
    gaps: bool | None = None
    exponent: int | None = None
    step: float | None = None
    winograd: Winograd | None = None

    @property
    def count(self) -> int:
        """Values, zeros among them, before any transform."""
        w = self.winograd
        return 9 * w.channels * w.inputs if w else self.bytes // self.item_bytes

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        """So that no number asks for more memory than the constant itself takes."""
        if self.item_bytes not in (1, 2, 4, 8) or self.bytes % self.item_bytes or self.offset % self.item_bytes:
            raise ValueError(f"{self.bytes} bytes at {self.offset} are not whole values of {self.item_bytes}")
        if self.item_bytes != 4 and (self.coding != "planes" or self.kept is not None or self.winograd):
            raise ValueError(f"values of {self.item_bytes} bytes are in planes")
        if (w := self.winograd) is not None:
            padded = -(-w.channels // w.height) * w.height * w.inputs
            if 4 * len(w.matrix) ** 2 * padded != self.bytes:
                raise ValueError(f"its transform does not have {self.bytes} bytes")
        if self.kept is not None and self.kept > self.count:
            raise ValueError(f"{self.kept} of {self.count} values are kept")
        if self.coding == "table" and not 0 < (self.entries or 0) <= MOST_ENTRIES:
            raise ValueError(f"a table of {self.entries} entries")
        return self


class Rounding(BaseModel):
    """What f16 or int8 storage has changed in the weights of a layer, over the largest of them: most, and root of the
    mean square."""

    model_config = ConfigDict(extra="forbid")
    layer: str
    max: float
    rms: float


class PackedWeights(BaseModel):
    """``file`` holds what weights.bin would: ``bytes`` long, ``sha256`` that of what it unpacks to."""

    model_config = ConfigDict(extra="forbid")
    file: FileName
    bytes: NonNegativeInt
    sha256: str
    storage: Literal["f32", "f16", "int8"] = "f32"
    parts: tuple[Coded, ...]
    rounding: tuple[Rounding, ...] = ()


class Stored(BaseModel):
    """A constant of a layer in weights.bin: the C parameter that it is, and where it lies.

    ``kind`` is values, indices or bias. ``padding_bytes`` follow it, up to the next multiple of 64; ``zero_bytes`` of
    its own are zeros. ``shared``: an earlier layer has the same bytes, so that it takes no place of its own.
    """

    model_config = ConfigDict(extra="forbid")
    parameter: str
    kind: str
    dtype: str
    offset: NonNegativeInt
    bytes: NonNegativeInt
    padding_bytes: NonNegativeInt = 0
    zero_bytes: NonNegativeInt = 0
    shared: bool = False


class Held(BaseModel):
    """Where a layer has just written its output, floats: ``planes`` times ``elements`` of ``element_bytes`` each,
    ``pitch`` elements from one plane to the next. ``offset`` bytes into the arena, or into the ``output`` of the model.
    """

    model_config = ConfigDict(extra="forbid")
    output: str = ""
    offset: NonNegativeInt
    planes: NonNegativeInt
    elements: NonNegativeInt
    pitch: NonNegativeInt
    element_bytes: NonNegativeInt


class Layer(BaseModel):
    """One kernel call: what runs, why, and how sparse its weights are.

    ``predicted_us``: microseconds on the device by the cost model, or as ``measured``; ``dense_us``: the best
    kernel's if no weight were zero; ``skipping_us``: that of the best kernel that skips zeros, which gets shorter with
    each of them. All are 0 where there is only one kernel. ``model_us``: by the cost model alone, before any
    measurement; where there is only one kernel, what its traffic takes. ``calls`` are the numbers under which
    `model_calls` in C runs it: several where layers take turns.

    ``reads`` and ``writes`` name tensors: those of other layers, inputs and outputs of the model. ``weight_shape`` is
    (output channels, input channels, positions of the kernel), the last as one number or as height and width; () where
    no weights could be left out. Offsets in ``stored`` are input channel x ``plane_bytes`` + ``tap_bytes`` of the
    position. ``held`` is None where the layer's output is nowhere as a whole. Bundles of older versions have none of
    these.
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
    skipping_us: float = 0.0
    measured: bool = False
    model_us: float = 0.0
    calls: tuple[NonNegativeInt, ...] = ()
    reason: str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    weight_shape: tuple[NonNegativeInt, ...] = ()
    plane_bytes: NonNegativeInt = 0
    tap_bytes: tuple[int, ...] = ()
    stored: tuple[Stored, ...] = ()
    held: Held | None = None


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    schema_version: int = SCHEMA_VERSION
    edgesparse: str
    name: str
    device: str
    kind: str  # shared, executable or wasm
    triple: str
    isas: tuple[str, ...]
    predictions: str = ""  # hash of what predicted times were made from, see `tuned`
    precision: str = "f32"  # of weights and activations, where there are kernels for it; those of inputs: see there
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_bytes: NonNegativeInt
    arena_lower_bound_bytes: NonNegativeInt
    scratch_bytes: NonNegativeInt  # behind the arena, for each thread beside the first
    weights_bytes: NonNegativeInt
    code_bytes: NonNegativeInt  # the stripped executable or shared library, or the largest module
    compiler: str
    layers: tuple[Layer, ...]
    modules: tuple[Module, ...] = ()  # of wasm, best instruction set first; they all read the same weights
    weights: PackedWeights | None = None  # of wasm, where there are weights
    decoder: DecoderFacts | None = None  # of a language model
    files: dict[FileName, str]  # SHA-256 of every other file in the bundle
    notes: tuple[str, ...] = ()

    def held_in_arena(self) -> list[int]:
        """Which ``layers`` leave their output in the arena as a whole, in the order in which they run."""
        found = [i for i, x in enumerate(self.layers) if x.held is not None and not x.held.output and x.calls]
        return sorted(found, key=lambda i: self.layers[i].calls)

    @model_validator(mode="after")
    def _memory_is_there(self) -> Self:
        if self.kind == "wasm" and max(self.weights_bytes, self.arena_bytes) > WASM_BYTES:
            raise ValueError("more memory than WebAssembly has")
        return self

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"'{kind}' is none of {', '.join(KINDS)}")
        return kind


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of the bundle folder ``bundle``.

    Raises:
        InputError: not a bundle, one of another schema version, or a manifest that cannot be right.
    """
    path = bundle / "manifest.json"
    try:
        if not path.is_file():
            raise InputError(
                "not a bundle (no manifest.json)", where=str(bundle),
                hint="edgesparse compile MODEL.onnx --device host -o NAME.edge makes one",
            )  # fmt: skip
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {(error.strerror or str(error)).lower()}", where=str(path)) from error
    again = "compile the model again with this version of edgesparse"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a JSON document: {error}", where=str(path), hint=again) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        what = f"schema version {version!r}; this edgesparse reads version {SCHEMA_VERSION}"
        raise InputError(what, where=str(path), hint=again)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"manifest does not fit schema version {SCHEMA_VERSION}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(path), hint=again,
        ) from error  # fmt: skip
