"""weights.bin as it travels: ``weights.packed``, which runtimes/web/unpack.mjs unpacks, too.

It is a gzip file of the constants, each coded so that bytes which are alike lie together:

* ``planes``: the first byte of every value, then the second of every value, and so on;
* ``table``: the distinct values in order, as differences in planes, then for each value where it is in the table, in
  planes; with ``gaps`` as steps from the one before, modulo the size of the table. Offsets of kept inputs become the
  number of inputs left out, in a byte;
* ``f16``: halves in planes, to be multiplied by 2 to the ``exponent``;
* ``int8``: for every `GROUP` values a half that multiplies them, in planes, and 2 to the ``exponent``; then the values.
  Without halves where all are multiples of one ``step``: those of a network that was quantised before.

With ``kept``, zeros are not there; a bit for each value, lowest first, says which are. Padding between constants is
zero. All is little-endian. It is exact: what f16 and int8 cannot hold was rounded before (`storage`).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp

import numpy as np
from numpy.typing import NDArray

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import MOST_ENTRIES, Coded, PackedWeights, Rounding, Winograd
from edgesparse.types import Array
from edgesparse.winograd_layout import transformed

FILE = "weights.packed"
STORAGES = ("f32", "f16", "int8")
GROUP = 64  # values that share a scale in int8
MOST = 127
TRIED_VALUES = 1 << 16  # of a constant, to see which coding is smallest
OWN_CODES = 256  # bytes
SMALLEST_SCALE = 2.0**-14  # smaller halves are less exact

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Part:
    """A constant at ``offset`` of weights.bin. ``array`` is flat; in f16 or int8 ``storage`` it has been `rounded`.

    With ``winograd`` it is what ``source``, the weights of the convolution, is transformed to.
    """

    offset: int
    array: Array
    storage: str = "f32"
    source: Floats | None = None
    winograd: Winograd | None = None


def rounded(values: Floats, storage: str) -> Floats:
    """The nearest values that ``storage`` can hold, in the same shape; as they are where one is not finite, or all
    are multiples of one number already.

    What was pruned is often -0, which would not be left out: it becomes 0.
    """
    positive: Floats = values + np.float32(0)
    if storage == "f32" or not values.size or not np.isfinite(values).all() or _step(np.unique(positive)):
        return positive
    code, exponent = _quantised(values.reshape(-1), storage)
    return _dequantised(code, storage, exponent, values.size).reshape(values.shape)


def encode(
    parts: Sequence[Part], weights: bytes, storage: str = "f32", rounding: tuple[Rounding, ...] = ()
) -> tuple[bytes, PackedWeights]:
    """The file, and what the manifest says of it. ``parts`` are all that is not zero in ``weights``.

    Raises:
        RuntimeFailure: it does not unpack to ``weights``, which is a bug.
    """
    found = sorted((_smallest(part) for part in parts), key=lambda f: (f[0].coding, f[0].offset))
    coded = [chosen for chosen, _ in found]
    every = [plane for _, planes in found for plane in planes]
    # noise has matches that cost more than they save
    data = min((_deflated(every, strategy) for strategy in (zlib.Z_RLE, zlib.Z_DEFAULT_STRATEGY)), key=len)
    digest = hashlib.sha256(weights).hexdigest()
    packed = PackedWeights.model_validate(
        {"file": FILE, "bytes": len(data), "sha256": digest, "storage": storage, "parts": coded, "rounding": rounding}
    )
    decode(packed, data, len(weights))
    return data, packed


def decode(packed: PackedWeights, data: bytes, weights_bytes: int) -> bytes:
    """The content of weights.bin, compared with its SHA-256.

    Raises:
        RuntimeFailure: the file is damaged.
    """
    try:
        if (end := max((p.offset + p.bytes for p in packed.parts), default=0)) > weights_bytes:
            raise ValueError(f"it holds {end} bytes, expected {weights_bytes}")
        reader = _Reader(_inflated(data, sum(map(_coded_bytes, packed.parts))))
        out = np.zeros(weights_bytes, np.uint8)
        for part in packed.parts:
            values = np.ascontiguousarray(_decoded(part, reader)).reshape(-1).view(np.uint8)
            out[part.offset : part.offset + part.bytes] = values
    except (zlib.error, ValueError, IndexError) as error:
        raise _damaged(str(error)) from error
    weights = out.tobytes()
    if hashlib.sha256(weights).hexdigest() != packed.sha256:
        raise _damaged("its SHA-256, unpacked, is not the one in the manifest")
    return weights


def spread_out(source: Floats, w: Winograd) -> Floats:
    """What ``source`` is transformed to, flat."""
    weight = source.reshape(w.channels, w.inputs, 3, 3)
    return transformed(weight, np.array(w.matrix, np.float64), w.height, w.group)


def _damaged(why: str) -> RuntimeFailure:
    return RuntimeFailure(f"{FILE} is damaged: {why}", hint="compile the model again, or copy the bundle again")


# -- one constant ------------------------------------------------------------------------------------------------------


def _smallest(part: Part) -> tuple[Coded, list[bytes]]:
    """The coding that takes least, judged by the first values, and its planes."""
    values = part.array if part.source is None else part.source.reshape(-1)
    found = _codings(part, values)
    if len(found) > 1:
        tried = values[:TRIED_VALUES]
        found.sort(key=lambda c: len(_deflated(_encoded(c, tried), zlib.Z_RLE)))
    return found[0], _encoded(found[0], values)


def _codings(part: Part, values: Array) -> list[Coded]:
    """Those that can hold the values."""
    plain = Coded(
        offset=part.offset, bytes=part.array.nbytes, coding="planes", item_bytes=values.itemsize, winograd=part.winograd
    )
    distinct = np.unique(_bits(values)) if values.itemsize == 4 else _bits(np.zeros(0, np.float32))
    if values.dtype == np.float32 and (step := _step(distinct.view(np.float32))):
        return [plain.model_copy(update={"coding": "int8", "step": step})]
    if part.storage != "f32" and values.size:
        exponent = _quantised(values, part.storage)[1]
        plain = plain.model_copy(update={"coding": part.storage, "exponent": exponent})
    if values.itemsize != 4 or plain.coding == "int8":
        return [plain]
    kept = int(np.count_nonzero(_bits(values)))
    found = [plain, plain.model_copy(update={"kept": kept})] if kept < values.size else [plain]
    if plain.coding == "planes" and len(distinct) <= min(MOST_ENTRIES, values.size):
        table = plain.model_copy(update={"coding": "table", "entries": len(distinct)})
        found += [table.model_copy(update={"gaps": gaps}) for gaps in (True, False)]
    return found


def _encoded(coded: Coded, values: Array) -> list[bytes]:
    if coded.kept is None:
        return _payload(coded, values)
    kept = _bits(values) != 0
    return [np.packbits(kept, bitorder="little").tobytes(), *_payload(coded, values[kept])]


def _payload(coded: Coded, values: Array) -> list[bytes]:
    if coded.coding == "planes":
        return _planes(values, coded.item_bytes)
    if coded.coding == "table":
        table, at = np.unique(_bits(values), return_inverse=True)
        if coded.gaps:
            at = np.diff(at, prepend=0) % len(table)
        steps = np.diff(table, prepend=np.uint32(0))
        return [*_planes(steps, 4), *_planes(at.astype(np.uint32), _index_bytes(len(table)), of=4)]
    if coded.step is not None:
        return [np.rint(values.astype(np.float64) / coded.step).astype(np.int8).tobytes()]
    code = _quantised(values, coded.coding, coded.exponent)[0]
    if coded.coding == "f16":
        return _planes(code, 2)
    scales = 2 * _groups(values.size)
    return [*_planes(code[:scales], 2), code[scales:].tobytes()]


def _decoded(coded: Coded, reader: _Reader) -> Array:
    w, count = coded.winograd, coded.count
    kept = None
    if coded.kept is not None:
        kept = np.unpackbits(reader.take(-(-count // 8)), count=count, bitorder="little").astype(bool)
    values = _values(coded, reader, count if coded.kept is None else coded.kept)
    if kept is not None:
        spread = np.zeros(count, values.dtype)
        spread[kept] = values
        values = spread
    return values if w is None else spread_out(values.view(np.float32), w)


def _values(coded: Coded, reader: _Reader, count: int) -> Array:
    if coded.coding == "planes":
        return reader.planes(count, coded.item_bytes).view(f"<u{coded.item_bytes}").reshape(-1)
    if coded.coding == "table":
        entries = coded.entries or 0
        table = np.cumsum(reader.planes(entries, 4).view("<u4").reshape(-1), dtype=np.uint32)
        size = _index_bytes(entries)
        at = reader.planes(count, size).view(f"<u{size}").reshape(-1).astype(np.int64)
        if coded.gaps:
            at = np.cumsum(at) % entries
        return table[at]
    if coded.step is not None:
        return (reader.take(count).view(np.int8).astype(np.float64) * coded.step).astype(np.float32)
    if coded.coding == "f16":
        code = reader.planes(count, 2).reshape(-1)
    else:
        scales = reader.planes(_groups(count), 2).reshape(-1)
        code = np.concatenate([scales, reader.take(count)])
    return _dequantised(code, coded.coding, coded.exponent or 0, count)


# -- values and bytes --------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._at = 0

    def take(self, count: int) -> NDArray[np.uint8]:
        if len(self._data) - self._at < count:
            raise ValueError("its parts do not add up")
        self._at += count
        return self._data[self._at - count : self._at]

    def planes(self, count: int, size: int) -> NDArray[np.uint8]:
        """(count, size) bytes of values."""
        return np.ascontiguousarray(self.take(count * size).reshape(size, count).T)


def _planes(values: Array, size: int, of: int = 0) -> list[bytes]:
    """The first ``size`` of the ``of`` bytes that a value has (all of them)."""
    as_bytes = np.ascontiguousarray(values).view(np.uint8).reshape(-1, of or size)
    return [as_bytes[:, k].tobytes() for k in range(size)]


def _inflated(data: bytes, count: int) -> bytes:
    """What the gzip file holds, which is ``count`` bytes; never unpacks more. Raises ValueError, zlib.error."""
    made = zlib.decompressobj(wbits=31)
    content = made.decompress(data, count + 1)
    if len(content) != count or not made.eof or made.unused_data:
        more = len(content) > count or made.unused_data
        raise ValueError(f"it has {'more' if more else 'less'} than the {count} bytes of its parts")
    return content


def _coded_bytes(coded: Coded) -> int:
    """Of one constant in the file, unpacked from gzip."""
    count = coded.count if coded.kept is None else coded.kept
    mask = 0 if coded.kept is None else -(-coded.count // 8)
    if coded.coding == "table":
        entries = coded.entries or 0
        return mask + 4 * entries + count * _index_bytes(entries)
    if coded.coding == "int8":
        return mask + count + (2 * _groups(count) if coded.step is None else 0)
    return mask + count * (2 if coded.coding == "f16" else coded.item_bytes)


def _deflated(planes: Sequence[bytes], strategy: int) -> bytes:
    """A gzip file without a date. A plane of some length gets codes of its own: zlib would not begin a new block."""
    made = zlib.compressobj(6, wbits=31, memLevel=9, strategy=strategy)
    chunks = []
    before = 0
    for plane in planes:
        if min(len(plane), before) >= OWN_CODES:
            chunks.append(made.flush(zlib.Z_BLOCK))
        chunks.append(made.compress(plane))
        before = len(plane) if len(plane) >= OWN_CODES or not before else before
    return b"".join([*chunks, made.flush()])


def _bits(values: Array) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values).view(np.uint32)


def _index_bytes(entries: int) -> int:
    return 1 if entries <= 256 else 2


def _groups(count: int) -> int:
    return -(-count // GROUP)


def _step(distinct: Floats) -> float | None:
    """Of which all these are multiples from -128 to 127, rounded to f32."""
    if not 1 < len(distinct) <= 256 or not np.isfinite(distinct).all():
        return None
    exact = distinct.astype(np.float64)
    largest = np.float32(np.abs(exact).max())
    for multiple in range(128, 0, -1):
        near = np.float32(largest / np.float32(multiple))
        for step in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, largest)):
            q = np.rint(exact / step) if step else exact
            same = (q * np.float64(step)).astype(np.float32).view(np.uint32) == distinct.view(np.uint32)
            if same.all() and q.min() >= -128 and q.max() <= MOST:
                return float(step)
    return None


def _exponent(largest: float) -> int:
    """Such that ``largest`` over 2 to it is a half in [2^14, 2^15), which rounding cannot bring out of it."""
    if largest == 0:
        return 0
    exponent = frexp(largest)[1] - 15
    return exponent + (float(np.float16(largest / 2.0**exponent)) >= 2.0**15)


def _quantised(values: Array, storage: str, exponent: int | None = None) -> tuple[NDArray[np.uint8], int]:
    """Bytes of halves, or of the groups' scales and then of the values; and the exponent."""
    exact = values.astype(np.float64)
    if storage == "f16":
        exponent = _exponent(float(np.abs(exact).max(initial=0))) if exponent is None else exponent
        return (exact / 2.0**exponent).astype(np.float16).view(np.uint8), exponent
    groups = np.pad(exact, (0, -len(exact) % GROUP)).reshape(-1, GROUP)
    largest = np.abs(groups).max(axis=1, initial=0) / MOST
    exponent = _exponent(float(largest.max(initial=0))) if exponent is None else exponent
    scale = (largest / 2.0**exponent).astype(np.float16)
    scale[scale < SMALLEST_SCALE] = 0  # next to others of this constant they are nothing
    step = np.where(scale == 0, 1.0, scale.astype(np.float64) * 2.0**exponent)[:, None]
    q = np.where(scale[:, None] == 0, 0, np.clip(np.rint(groups / step), -MOST, MOST)).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), q.reshape(-1)[: len(exact)].view(np.uint8)]), exponent


def _dequantised(code: NDArray[np.uint8], storage: str, exponent: int, count: int) -> Floats:
    code = np.ascontiguousarray(code)
    if storage == "f16":
        return (code.view(np.float16).astype(np.float64) * 2.0**exponent).astype(np.float32)
    scales = code[: 2 * _groups(count)].view(np.float16).astype(np.float64) * 2.0**exponent
    q = code[2 * _groups(count) :].view(np.int8).astype(np.float64)
    return (np.repeat(scales, GROUP)[:count] * q).astype(np.float32)
