"""The values that flow from stage to stage. Each is built once, by its stage, and never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Attr = int | float | tuple[int, ...]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32), "i64": np.dtype(np.int64), "i32": np.dtype(np.int32),
    "i8": np.dtype(np.int8), "u8": np.dtype(np.uint8), "bool": np.dtype(np.bool_), "f16": np.dtype(np.float16),
}  # fmt: skip
MODEL_DTYPES = tuple(name for name in DTYPES if name != "f16")
"""Types of tensors in an ONNX model; f16 is how floats may be stored within a compiled one, see `precision`."""
PRECISIONS = ("f32", "f16")


def dtype_name(dtype: np.dtype[Any]) -> str:
    """``np.float32`` -> ``"f32"``. Raises KeyError for a type that no tensor of a model may have."""
    return {DTYPES[name]: name for name in MODEL_DTYPES}[np.dtype(dtype)]


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How the zeros of a weight lie: ``pattern`` as on the command line, ``zeros`` in [0, 1]."""

    pattern: str
    zeros: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What times are predicted for: one core that runs ``isa`` at ``ghz`` and reads ``read_gbs`` from memory.

    ``cache_bytes`` is what the core can hold without going to other cores or to memory: its L2, mostly. ``in_order``
    is the type of core in `ops.cost.IN_ORDER`, "" for one that runs instructions out of order.
    """

    isa: str
    ghz: float = 3.0
    read_gbs: float = 10.0
    cache_bytes: int = 1 << 18
    in_order: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What to compile for. ``isas`` best first; more than one means a choice at run time.

    ``kind`` is ``shared`` (loaded in process), ``executable`` (static, plus .so and .a) or ``wasm``.
    ``precision`` is one of PRECISIONS: the type that weights and activations have within the model, where a kernel
    for it exists.
    """

    name: str
    kind: str
    triple: str
    isas: tuple[str, ...]
    core: Machine | None = None
    precision: str = "f32"

    @property
    def machine(self) -> Machine:
        return self.core or Machine(self.isas[0])


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """``pitch``, where not 0: elements from one plane (all but the first two dimensions) to the next."""

    name: str
    shape: Shape
    dtype: str
    sparsity: Sparsity | None = None
    pitch: int = 0

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def buffer_shape(self) -> Shape:
        """The shape with whole pitches instead of planes."""
        return (*self.shape[:2], self.pitch) if self.pitch else self.shape

    @property
    def bytes(self) -> int:
        return int(np.prod(self.buffer_shape, dtype=np.int64)) * DTYPES[self.dtype].itemsize


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX node as `ops/` sees it: static shapes, constants at hand, no onnx_ir.

    ``inputs`` has None for an omitted optional input. ``constants`` maps the *name* of every
    input that is known at compile time to its value.
    """

    name: str
    op_type: str
    domain: str
    version: int
    inputs: tuple[TensorSpec | None, ...]
    outputs: tuple[TensorSpec, ...]
    attrs: Mapping[str, Any]
    constants: Mapping[str, Array]

    def input(self, index: int) -> TensorSpec | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> Array | None:
        """The value of input ``index`` when it is known at compile time, else None."""
        spec = self.input(index)
        return None if spec is None else self.constants.get(spec.name)


@dataclass(frozen=True, slots=True)
class OpCall:
    """One call of a lowered operator; ``attrs`` are the scalars of its C argument list.

    ``layer`` is the ONNX node it came from, ``absorbed`` another one whose work it does as well.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr]
    layer: str = ""
    absorbed: str = ""


@dataclass(frozen=True, slots=True)
class LoweredGraph:
    tensors: Mapping[str, TensorSpec]
    calls: tuple[OpCall, ...]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One row of the kernel table: a C function for one ISA and tile.

    ``parameters`` are (C type, name) pairs read from its source; ``defines`` the tile.
    """

    symbol: str
    stem: str
    op: str
    dtype: str
    isa: str
    source: Path
    tiles: Mapping[str, int] = field(hash=False)  # a dict cannot be hashed, and the symbol says it all
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """How a call reaches a kernel: which C function, with what arguments.

    ``arguments`` maps every C parameter name to a tensor name (str), a number, a tuple of
    integers, or None (a null pointer). ``constants`` are packed weights the binding brings; ``pack``
    makes them, once the binding is chosen.
    ``scratch_bytes`` is work memory, passed as the parameter ``scratch``.
    ``tiles`` restricts the kernel to rows of the table with these values.
    Where a kernel can be split over threads, its parameters ``begin`` and ``end`` are the split.
    ``predicted_us`` orders alternatives (0: there is only one), ``dense_us`` is the time of the best kernel if no
    weight were zero, ``skipping_us`` that of the best one that skips zeros; ``measured`` says that they come from
    the device; ``macs`` counts what the kernel really multiplies. ``model_us`` is ``predicted_us`` before it was
    replaced or corrected by a measurement; 0 where neither was done.
    """

    stem: str
    arguments: Mapping[str, str | int | float | tuple[int, ...] | None]
    constants: Mapping[str, Array] = field(default_factory=dict)
    pack: Callable[[], Mapping[str, Array]] | None = None
    scratch_bytes: int = 0
    tiles: Mapping[str, int] = field(default_factory=dict)
    predicted_us: float = 0.0
    dense_us: float = 0.0
    skipping_us: float = 0.0
    measured: bool = False
    reason: str = ""
    pattern: str = ""
    zeros: float = 0.0
    macs: int = 0
    model_us: float = 0.0

    @property
    def uncorrected_us(self) -> float:
        """``predicted_us`` by the cost model alone, whatever was measured."""
        return self.model_us or self.predicted_us


@dataclass(frozen=True, slots=True)
class Known:
    """What was measured on a device, see `tuned`.

    ``us``: microseconds by `select.measure_key`. ``factors``: by the symbol of a kernel, its measured time over what
    the cost model says; ``others``: of kernels that the cost model does not know, over the time of their traffic.
    """

    us: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)

    def factor(self, symbol: str) -> float:
        """Of a kernel that was not measured: the usual one, so that it is neither favoured nor avoided."""
        return self.factors.get(symbol) or _usual(self.factors)

    def other(self, symbol: str) -> float:
        return self.others.get(symbol) or _usual(self.others)


def _usual(factors: Mapping[str, float]) -> float:
    """Their geometric mean; 1 where there is none."""
    return exp(sum(map(log, factors.values())) / len(factors)) if factors else 1.0


@dataclass(frozen=True, slots=True)
class Rejection:
    kernel: str
    reason: str


@dataclass(frozen=True, slots=True)
class Band:
    """What one call of a `Chain` does in one round: ``rows`` rows of its output, beginning at row ``y_row`` of a
    buffer that holds some of them.

    It reads ``height`` rows from row ``x_row`` of its input's buffer on, with ``top`` rows of zeros above them. Before
    that, ``kept`` rows of its output's buffer move from row ``kept_from`` to the front: the next call needs them again.
    ``first`` is the row of the whole output that it begins with.
    """

    x_row: int
    height: int
    top: int
    first: int
    y_row: int
    rows: int
    kept_from: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps ``begin``..``end - 1``, computed a few rows at a time, so that what is between them stays in the cache.

    ``bands`` has a row for each round, in it one `Band` for each step.
    """

    begin: int
    end: int
    bands: tuple[tuple[Band, ...], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A call with the kernel chosen for each ISA of the target (same packing for all).

    ``varying``: in a `Chain`, the kernel's arguments that change from round to round, as C expressions of ``band``;
    ``item_planes``: the planes of the output that belong to one item, of which threads do ``begin`` to ``end``.
    """

    call: OpCall
    binding: Binding
    kernels: Mapping[str, Kernel]
    varying: Mapping[str, str] = field(default_factory=dict)
    item_planes: int = 1


@dataclass(frozen=True, slots=True)
class Selection:
    """``isas`` are the target's, best first; every step has a kernel for each."""

    graph: LoweredGraph
    steps: tuple[Step, ...]
    rejected: Mapping[str, tuple[Rejection, ...]]
    isas: tuple[str, ...]
    chains: tuple[Chain, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where each activation lives: ``offset_bytes`` into the arena.

    ``alias`` maps a view or part to the tensor whose memory it shares, ``within_bytes`` a part to where in it it
    begins. ``lower_bound_bytes`` is the
    largest sum of simultaneously live tensors: no plan can be smaller. ``scratch_bytes`` is the
    work memory of every thread beside the first, behind the arena.
    """

    offset_bytes: Mapping[str, int]
    alias: Mapping[str, str]
    arena_bytes: int
    lower_bound_bytes: int
    live: Mapping[str, tuple[int, int]]
    scratch_bytes: int = 0
    within_bytes: Mapping[str, int] = field(default_factory=dict)

    def root(self, name: str) -> tuple[str, int]:
        """The tensor in whose memory ``name`` lies, and how many bytes from its beginning."""
        at = 0
        while name in self.alias:
            at += self.within_bytes.get(name, 0)
            name = self.alias[name]
        return name, at


@dataclass(frozen=True, slots=True)
class Sources:
    """Generated text files by name, and the packed weights."""

    files: Mapping[str, str]
    weights: bytes


@dataclass(frozen=True, slots=True)
class RunResult:
    """``outputs`` by name; ``wall_ns`` one entry a timed run; ``machine`` free-form facts."""

    outputs: Mapping[str, Array]
    wall_ns: tuple[int, ...] = ()
    machine: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Timed runs, whole and call by call. After each whole run (``wall_ns``) comes one of which every kernel call was
    timed: ``call_ns`` has a row for each, in it a time for each call, as `manifest.Layer.calls` numbers them.

    ``facts``: what the runtime says besides, see `profile.Profile`.
    """

    outputs: tuple[Array, ...]
    wall_ns: tuple[int, ...]
    call_ns: tuple[tuple[int, ...], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
