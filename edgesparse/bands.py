"""Selection -> Selection: where layers hand over large planes, they are computed a few rows at a time.

A depthwise convolution of 32 planes of 112x112 reads and writes 3 MB, more than the cache of a core holds: the
memory sets its pace. In a `Chain` each layer computes some rows, the next one what follows from these while they are
still in the cache, and so on; then it is the first one's turn again. What lies between two layers becomes a buffer of
some rows. Those that the next round reads again (a 3x3 window, two of them) are moved to its front.

    round 1   first layer  [0 1 2 3 4 5 6 7 8]          second layer (3x3)  [0 1 2 3 4 5 6 7]
    round 2                [7 8|9 10 .. 16]                                 [8 9 .. 15]
                            kept
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgesparse.ops.cost import FULL_SPEED_ROWS, LANES, SHORT_CYCLES, VECTORS, overlapped_us
from edgesparse.ops.entry import BLOCK
from edgesparse.ops.view import PLACED
from edgesparse.types import Array, Band, Binding, Chain, LoweredGraph, Machine, Selection, Step, Target, TensorSpec

ISAS = frozenset({"avx512", "avx2", "sse2"})
"""Where it pays: V8 computes too slowly for memory to matter (MobileNetV1 and V2: 0.99 to 1.00 times as fast), and the
depthwise kernels of arm64 are fast only for whole planes (kernels_common/depthwise_strips.h)."""
STEMS = frozenset({"spmm_f32", "depthwise_square_f32", "entry_f32"})
ROWS = (1, 2, 3, 4, 6, 7, 8, 12, 14, 16, 24, 28)  # of the last layer's output in a round, to choose from
FLOATS = 16  # buffers of rows begin at multiples of a cache line
ROUND_CYCLES = 300.0  # of one call in one round: to enter it
PLANE_CYCLES = 80.0  # of one plane of a depthwise convolution in one round: its weights, the ends of its rows
KEPT_BYTES_PER_CYCLE = 4.0
ROW_CYCLES = {0: 0.0, 1: 5.0, 2: 3.0, 3: 8.0}  # of a vector of columns, for rows beyond a multiple of four
OWN_SHARE = 0.6  # of the cache that a round may fill
FAR_TIMES = 2.0  # what is so many times as large as the cache is not in it when it is needed again
MAC_CYCLES = 0.55  # of a vector of multiply-adds
TIMES_MEMORY = 4.0  # what a core's own cache does not hold comes from the next one, mostly (Zen 3)


@dataclass(frozen=True, slots=True)
class _Layer:
    """How the rows of one step depend on those of its input. Widths in floats; ``planes`` of its output."""

    depthwise: bool
    kernel: int
    stride: int
    top: int
    height: int
    width: int
    rows: int
    columns: int
    in_planes: int
    planes: int
    weight_bytes: int
    entries: float  # kept entries of all blocks of a pointwise convolution
    macs: int
    padded: bool  # there is something to set to zero behind the planes of its output

    def reads(self, begin: int, end: int) -> tuple[int, int]:
        """The rows of x that rows begin..end-1 of y are computed from."""
        behind = (end - 1) * self.stride - self.top + self.kernel
        return max(begin * self.stride - self.top, 0), min(behind, self.height)


def in_bands(selection: Selection, target: Target) -> Selection:
    """``selection`` with chains where they are predicted to be faster than one layer after the other."""
    if not ISAS.issuperset(target.isas):
        return selection
    layers = [_layer(step, selection.graph) for step in selection.steps]
    joined = _joined(selection, layers)
    chains: list[Chain] = []
    begin = 0
    while begin < len(layers):
        end = begin + 1
        while end < len(layers) and joined[end]:
            end += 1
        if end - begin > 1:
            chains += _best_chains(layers[begin:end], begin, target.machine)  # type: ignore[arg-type]
        begin = end
    for chain in chains:
        selection = _banded(selection, chain, layers)
    return replace(selection, chains=tuple(chains))


def saved_us(selection: Selection, target: Target) -> float:
    """Microseconds that `in_bands` is predicted to save in ``selection``, which has no chains yet.

    It is a difference of this file's own figures, to be subtracted from the sum of the calls' predicted times.
    """
    layers = [_layer(step, selection.graph) for step in selection.steps]
    saved = 0.0
    for chain in in_bands(selection, target).chains:
        joined = [layer for layer in layers[chain.begin : chain.end] if layer is not None]
        saved += sum(_us([layer], target.machine) for layer in joined)
        saved -= _us(joined, target.machine) + _rounds_us(joined, chain.bands, target.machine)
    return saved


def call_numbers(selection: Selection) -> list[tuple[int, ...]]:
    """For each step the numbers under which `model_calls` runs it: those of a chain take turns."""
    found: list[tuple[int, ...]] = []
    chains = {chain.begin: chain for chain in selection.chains}
    number = 0
    while len(found) < len(selection.steps):
        chain = chains.get(len(found))
        count, rounds = (1, 1) if chain is None else (chain.end - chain.begin, len(chain.bands))
        found += [tuple(range(number + i, number + count * rounds, count)) for i in range(count)]
        number += count * rounds
    return found


def _layer(step: Step, graph: LoweredGraph) -> _Layer | None:
    """None: a step that cannot be computed row by row."""
    a, stem = step.call.attrs, step.binding.stem
    if stem not in STEMS:
        return None
    x, y = (graph.tensors[names[0]] for names in (step.call.inputs, step.call.outputs))
    if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[0] != 1 or min(x.shape) == 0 or min(y.shape) == 0:
        return None
    weights = sum(array.nbytes for array in step.binding.constants.values())
    padded = y.pitch > y.shape[2] * y.shape[3]
    entries = step.binding.macs / (step.binding.tiles.get("MR", 1) * y.shape[2] * y.shape[3])
    b = {key: value for key, value in step.binding.arguments.items() if isinstance(value, int)}
    planes = b.get("in_channels", x.shape[1])  # an entry convolution may read any layout
    height, width = b.get("height", x.shape[2]), b.get("width", x.shape[3])
    size = (height, width, y.shape[2], y.shape[3], planes, y.shape[1], weights, entries, step.binding.macs, padded)
    if stem == "spmm_f32" and a["direct"] and a["rows"] == 1 and a["tap"] == (0,) and x.shape[2:] == y.shape[2:]:
        return _Layer(False, 1, 1, 0, *size)
    if stem == "spmm_f32":
        return None
    kernel, stride = (b[key] if key in b else b[f"{key}_y"] for key in ("kernel", "stride"))
    return _Layer(stem == "depthwise_square_f32", kernel, stride, b["top"], *size)


def _joined(selection: Selection, layers: Sequence[_Layer | None]) -> list[bool]:
    """Whether each step only continues the one before it: what that one writes is read by nobody else."""
    graph = selection.graph
    users: dict[str, int] = {}
    placed: set[str] = set()
    for call in graph.calls:
        for name in call.inputs:
            users[name] = users.get(name, 0) + 1
        if call.op in PLACED:
            placed |= {*call.inputs, *call.outputs}
    found = [False]
    for (before, after), (one, other) in zip(pairwise(selection.steps), pairwise(layers), strict=True):
        between = before.call.outputs[0]
        own = users.get(between) == 1 and between not in placed and between not in graph.outputs
        entry = after.binding.stem == "entry_f32"
        found.append(bool(one and other and own and not entry and after.call.inputs[0] == between))
    return found


def _best_chains(layers: Sequence[_Layer], offset: int, machine: Machine) -> list[Chain]:
    """The cheapest way to cut ``layers`` into chains and single layers."""
    best: list[tuple[float, list[Chain]]] = [(0.0, [])]
    for end in range(1, len(layers) + 1):
        us, chains = best[end - 1]
        found = [(us + _us(layers[end - 1 : end], machine), chains)]
        for begin in range(end - 1):
            chain = _chain(layers[begin:end], machine)
            if chain is not None:
                us, chains = best[begin]
                bands = Chain(begin + offset, end + offset, chain[1])
                found.append((us + chain[0], [*chains, bands]))
        best.append(min(found, key=lambda each: each[0]))
    return best[-1][1]


def _us(layers: Sequence[_Layer], machine: Machine) -> float:
    """Arithmetic of ``layers``, and what is read at their beginning and written at their end, where the cache does not
    hold it. Both go on at the same time: layers with many weights gain little by less traffic.
    """
    x = 4 * layers[0].in_planes * layers[0].height * layers[0].width
    y = 4 * layers[-1].planes * layers[-1].rows * layers[-1].columns
    far = FAR_TIMES * machine.cache_bytes
    faster = replace(machine, read_gbs=machine.read_gbs * TIMES_MEMORY)
    us = 0.0
    for k, layer in enumerate(layers):
        read = x if k == 0 and x > far else 0
        written = 2 * y if k == len(layers) - 1 and y > far else 0  # who writes a line has to read it first
        us += overlapped_us(faster, layer.macs * MAC_CYCLES / LANES[machine.isa], read + written)
    return us


def _chain(layers: Sequence[_Layer], machine: Machine) -> tuple[float, tuple[tuple[Band, ...], ...]] | None:
    """Microseconds, and the rounds; None where the cache is too small.

    Depthwise kernels read a little before and behind their planes, so they need the whole input or a buffer.
    """
    if layers[0].depthwise or layers[-1].padded:
        return None
    if _us(layers, machine) >= sum(_us([layer], machine) for layer in layers):
        return None
    found: list[tuple[float, tuple[tuple[Band, ...], ...]]] = []
    for rows in ROWS:
        if rows * 2 > layers[-1].rows:
            break
        bands = _bands(layers, rows)
        if _fits(layers, bands, OWN_SHARE * machine.cache_bytes):
            found.append((_us(layers, machine) + _rounds_us(layers, bands, machine), bands))
    return min(found, key=lambda each: each[0], default=None)


def _bands(layers: Sequence[_Layer], rows: int) -> tuple[tuple[Band, ...], ...]:
    """Rounds of ``rows`` rows of the last layer's output."""
    count = len(layers)
    done, base = [0] * count, [0] * count  # rows of each output computed so far; the first one its buffer holds
    found: list[tuple[Band, ...]] = []
    for last in range(0, layers[-1].rows, rows):
        ends = [0] * count
        ends[-1] = min(last + rows, layers[-1].rows)
        for k in range(count - 1, 0, -1):
            ends[k - 1] = layers[k].reads(done[k], ends[k])[1]
        bands = []
        for k, layer in enumerate(layers):
            begin, end = layer.reads(done[k], ends[k])
            held = layers[k + 1].reads(done[k + 1], ends[k + 1])[0] if k + 1 < count else 0
            kept = done[k] - held if k + 1 < count and found else 0
            bands.append(
                Band(
                    x_row=0 if k else begin, height=end - begin, top=max(layer.top - done[k] * layer.stride, 0),
                    first=done[k], y_row=done[k] - held, rows=ends[k] - done[k],
                    kept_from=held - base[k] if kept else 0, kept=kept,
                )
            )  # fmt: skip
            base[k], done[k] = held, ends[k]
        found.append(tuple(bands))
    return tuple(found)


def _buffer(layer: _Layer, bands: Sequence[tuple[Band, ...]], step: int) -> int:
    """Floats of one plane of the buffer that the output of ``step`` becomes."""
    rows = max(bands_[step].y_row + bands_[step].rows for bands_ in bands)
    return -(-rows * layer.columns // FLOATS) * FLOATS


def _fits(layers: Sequence[_Layer], bands: Sequence[tuple[Band, ...]], cache_bytes: float) -> bool:
    """Whether what a layer reads, its weights and what it writes are in the cache together."""
    last = len(layers) - 1
    buffers = [4 * layer.planes * _buffer(layer, bands, k) for k, layer in enumerate(layers[:last])]
    buffers.append(4 * layers[-1].planes * layers[-1].columns * max(each[-1].rows for each in bands))
    x = 4 * layers[0].in_planes * layers[0].width * max(each[0].height for each in bands)
    return all(
        one + other + layer.weight_bytes <= cache_bytes
        for one, other, layer in zip([x, *buffers], buffers, layers, strict=False)
    )


def _rounds_us(layers: Sequence[_Layer], bands: Sequence[tuple[Band, ...]], machine: Machine) -> float:
    cycles = 0.0
    for each in bands:
        for band, layer in zip(each, layers, strict=True):
            cycles += ROUND_CYCLES + 4 * layer.planes * band.kept * layer.columns / KEPT_BYTES_PER_CYCLE
            if layer.depthwise:
                vectors = -(-layer.columns // LANES[machine.isa])
                cycles += layer.planes * (PLANE_CYCLES + vectors * ROW_CYCLES[band.rows % 4])
            elif layer.kernel == 1:
                vectors = -(-band.rows * layer.columns // LANES[machine.isa])
                cycles += layer.entries * (-vectors % VECTORS[FULL_SPEED_ROWS]) * SHORT_CYCLES
    return cycles / machine.ghz / 1e3


def _banded(selection: Selection, chain: Chain, layers: Sequence[_Layer | None]) -> Selection:
    """The steps of ``chain`` on buffers of rows."""
    tensors = dict(selection.graph.tensors)
    steps = list(selection.steps)
    plane_of: dict[str, int] = {}
    for k in range(chain.begin, chain.end):
        layer, step = layers[k], steps[k]
        assert layer is not None
        y = step.call.outputs[0]
        if k + 1 < chain.end:
            plane_of[y] = _buffer(layer, chain.bands, k - chain.begin)
            tensors[y] = replace(tensors[y], pitch=plane_of[y])
        steps[k] = _on_rows(step, layer, tensors[y], plane_of.get(step.call.inputs[0]), chain)
    return replace(selection, graph=replace(selection.graph, tensors=tensors), steps=tuple(steps))


def _on_rows(step: Step, layer: _Layer, y: TensorSpec, x_plane: int | None, chain: Chain) -> Step:
    """``x_plane``: floats from plane to plane of a buffer of rows; None where the whole input is there."""
    arguments = dict(step.binding.arguments)
    constants = dict(step.binding.constants)
    old = int(step.call.attrs.get("x_plane", 0))  # type: ignore[arg-type]
    y_plane = y.pitch or layer.rows * layer.columns
    arguments |= {"y_plane": y_plane, "padding": 0, "spare": 0}
    if x_plane is not None:
        arguments["x_plane"] = x_plane
        offset = arguments.get("offset")
        if isinstance(offset, str):
            constants[offset] = _moved(constants[offset], old, x_plane)
    varying = {"y": f"band->y_row * {layer.columns}"}
    if x_plane is None:
        varying["x"] = f"band->x_row * {arguments.get('x_row') or layer.width}"
    if layer.kernel == 1:
        # `plane` is where the padding of a plane begins, which is set to zero: there is none
        arguments["plane"] = y_plane
        varying |= {"columns": f"band->rows * {layer.columns}", "residual": f"band->first * {layer.columns}"}
    else:
        varying |= {"height": "band->height", "rows": "band->rows", "top": "band->top"}
    reason = f"{step.binding.reason}; {chain.bands[0][-1].rows} rows at a time with the calls beside it"
    binding: Binding = replace(step.binding, arguments=arguments, constants=constants, reason=reason)
    planes = arguments.get("multiplier") or step.binding.tiles.get("MR", BLOCK)
    assert isinstance(planes, int)
    return replace(step, binding=binding, varying=varying, item_planes=planes)


def _moved(offset: Array, old: int, new: int) -> Array:
    """Byte offsets of input channels, for planes ``new`` floats apart instead of ``old``."""
    channels = offset.astype(np.int64) // (4 * old)
    moved: Array = (channels * 4 * new).astype(np.int32)
    return moved


def rounds(selection: Selection) -> Mapping[int, tuple[int, int]]:
    """For each step of a chain the chain's first and last one: what a step uses is in use from one to the other."""
    return {k: (chain.begin, chain.end - 1) for chain in selection.chains for k in range(chain.begin, chain.end)}
