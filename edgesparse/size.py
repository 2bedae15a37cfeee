"""Where the bytes of weights.bin go: values, indices, padding and biases of each layer, beside dense weights."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesparse.compiled import Compiled, compiled
from edgesparse.manifest import Layer, Stored
from edgesparse.ops.packing import AHEAD
from edgesparse.stored import VECTORS
from edgesparse.types import DTYPES
from edgesparse.unpacked import arrays, weight_of

if TYPE_CHECKING:
    import onnx_ir as ir

Progress = Callable[[int, int, str], None]
GZIP_LEVEL = 6  # what gzip does by itself


@dataclass(frozen=True, slots=True)
class LayerSize:
    """Bytes. ``zeros`` of the ``values`` are zeros: those within kept blocks, and channels that fill the last block.

    ``padding`` aligns arrays to 64 bytes and lets kernels read ahead of an offset list. ``dense`` is what the weights
    and biases take as plain f32, ``dense_gzip`` that as gzip packs it. A layer that reads what an earlier one has
    stored takes nothing itself.
    """

    layer: str
    op: str
    kernel: str
    pattern: str
    zero_share: float
    values: int
    zeros: int
    indices: int
    bias: int
    padding: int
    dense: int
    dense_gzip: int

    @property
    def total(self) -> int:
        return self.values + self.indices + self.bias + self.padding


@dataclass(frozen=True, slots=True)
class SizeReport:
    """``layers`` are those with constants; ``total``, the sum of their bytes, is the size of weights.bin."""

    name: str
    device: str
    precision: str
    layers: tuple[LayerSize, ...]
    weights_gzip: int

    @property
    def total(self) -> int:
        return sum(layer.total for layer in self.layers)

    @property
    def dense(self) -> int:
        return sum(layer.dense for layer in self.layers)

    @property
    def dense_gzip(self) -> int:
        return sum(layer.dense_gzip for layer in self.layers)


def size(
    model: str | Path | ir.Model | Compiled, device: str = "host", precision: str = "f32",
    on_progress: Progress | None = None,
) -> SizeReport:  # fmt: skip
    """The bytes of a bundle, or of what an ONNX model would be compiled to; nothing is built.

    Dense weights are those that weights.bin unpacks to: exact in f32 (Winograd's to rounding), rounded to halves in
    f16; of a grouped convolution with the zeros outside of its groups.

    Raises:
        InputError, UnsupportedError, RuntimeFailure: as `compiled`.
    """
    found = model if isinstance(model, Compiled) else compiled(model, device, precision)
    kept = [layer for layer in found.layers if layer.stored]
    layers = []
    for k, layer in enumerate(kept):
        layers.append(_layer(layer, found.weights))
        if on_progress is not None:
            on_progress(k + 1, len(kept) + 1, "")  # the last one: all of weights.bin
    return SizeReport(found.name, found.device, found.precision, tuple(layers), _gzip(found.weights))


def _layer(layer: Layer, weights: bytes) -> LayerSize:
    own = [s for s in layer.stored if not s.shared]

    def of(kind: str) -> int:
        return sum(s.bytes for s in own if s.kind == kind)

    ahead = sum(AHEAD * DTYPES[s.dtype].itemsize for s in own if s.parameter == "offset")
    dense = _dense(layer, weights)
    return LayerSize(
        layer.name, layer.op, layer.kernel, layer.pattern, layer.zeros,
        values=of("values"), zeros=sum(s.zero_bytes for s in own if s.kind == "values"), indices=of("indices") - ahead,
        bias=of("bias"), padding=sum(s.padding_bytes for s in own) + ahead,
        dense=len(dense), dense_gzip=_gzip(dense) if dense else 0,
    )  # fmt: skip


def _dense(layer: Layer, weights: bytes) -> bytes:
    """The weights and biases of a layer as plain arrays, floats as f32."""
    kept, weight = arrays(layer, weights), weight_of(layer, weights)
    chunks = [] if weight is None else [weight.tobytes()]
    for s in layer.stored:
        array = kept[s.parameter]
        if s.parameter in VECTORS and layer.weight_shape:
            array = array[: layer.weight_shape[0]]  # without the channels that fill the last block
        elif weight is not None or _packed_away(layer, s):
            continue
        chunks.append((array.astype(np.float32) if array.dtype.kind == "f" else array).tobytes())
    if weight is None and layer.weight_shape:  # packed in a way that cannot be undone here
        chunks.append(bytes(4 * prod(layer.weight_shape)))
    return b"".join(chunks)


def _packed_away(layer: Layer, s: Stored) -> bool:
    return bool(layer.weight_shape) and s.parameter not in VECTORS


def _gzip(data: bytes) -> int:
    return len(gzip.compress(data, GZIP_LEVEL, mtime=0))
