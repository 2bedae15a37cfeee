"""How long spmm, spmv and Winograd will take: what selection compares where nothing has been measured.

The figures were measured (x86, WebAssembly in V8) or come from llvm-mca (NEON), see bench/. They are right to
about 20% on the machines they are from; only their order matters for the choice of a kernel, and `edgesparse
tune` replaces them by what the device says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgesparse.types import Machine

LANES: Mapping[str, int] = {
    "avx512": 16, "avx2": 8, "sse2": 4, "scalar": 1, "neon": 4, "neon halves": 4, "neon_fp16": 8,
    "simd128": 4, "relaxed": 4,
}  # fmt: skip

# Cycles of one kept entry (MR weights times one vector of pixels) by block height MR, for the heights that have a
# kernel. Heights of 4 and more run at the speed of the multiply-adds, 1 and 2 at that of the loads.
ENTRY_CYCLES: Mapping[str, Mapping[int, float]] = {
    "avx512": {1: 2.3, 2: 2.3, 4: 4.06},  # Zen 4, whose vectors of 512 bits take two cycles
    "avx2": {1: 1.25, 2: 1.56, 4: 2.15},  # Zen 3
    "sse2": {1: 1.6, 2: 2.3, 4: 4.2},
    "scalar": {1: 1.6, 2: 2.3, 4: 4.2},
    "neon": {1: 0.93, 2: 1.28, 4: 2.05, 8: 4.03},  # estimated: llvm-mca, Neoverse N1
    "neon halves": {1: 2.08, 2: 2.25, 4: 3.39, 8: 6.15},  # the same, halves that are converted when they are loaded
    "neon_fp16": {1: 0.93, 2: 1.28, 4: 2.05, 8: 4.03},  # the same, of 8 halves
    "simd128": {1: 1.39, 2: 2.2, 4: 4.0},
    "relaxed": {1: 1.28, 2: 1.67, 4: 2.97},
}
# The same on cores that run instructions in order and begin 4 multiply-adds a cycle where the Neoverse begins 8; in
# cycles of half their number, as if they began 8 (see `Cluster.machine`). Low blocks wait for their loads.
IN_ORDER: Mapping[tuple[str, str], Mapping[int, float]] = {  # estimated: llvm-mca
    ("a53", "neon"): {1: 2.40, 2: 2.59, 4: 4.56, 8: 6.85},
    ("a53", "neon halves"): {1: 2.87, 2: 3.34, 4: 4.60, 8: 7.83},
    ("a55", "neon"): {1: 1.94, 2: 2.40, 4: 2.20, 8: 4.23},
    ("a55", "neon halves"): {1: 1.22, 2: 1.44, 4: 2.25, 8: 3.75},
    ("a55", "neon_fp16"): {1: 1.94, 2: 2.38, 4: 2.13, 8: 3.50},
}
VECTORS: Mapping[int, int] = {1: 4, 2: 4, 4: 3, 8: 2, 16: 1}  # of a tile, about: NV of the kernels
PIXELS_ALONE: Mapping[str, tuple[int, ...]] = {"avx512": (1, 4)}  # behind whole vectors: spmm_pixels_f32.h
SHORT_CYCLES = 0.7  # an entry of a tile with fewer vectors: the loads of its weights serve less
# Cycles of one kept entry for one pixel where channels are in the lanes (spmm_channels_f32.h), by block height.
PIXEL_CYCLES: Mapping[str, Mapping[int, float]] = {"avx512": {16: 1.07}, "avx2": {16: 1.2}, "sse2": {16: 4.8}}
# Cycles of one tap of one pixel for a block of 16 output channels (entry_f32.c), and of storing it.
TAP_CYCLES: Mapping[str, float] = {
    "avx512": 1.2, "avx2": 1.2, "sse2": 4.8, "scalar": 20.0, "neon": 2.2, "simd128": 5.0, "relaxed": 4.0,
}  # fmt: skip
STORE_CYCLES = 8.0
FULL_SPEED_ROWS = 4  # blocks of so many output channels run at the speed of a dense kernel
BLOCK_CYCLES = 30.0  # setting up and storing one tile of one block
FMA_LATENCY_CYCLES = 4.0
# One vector of one position of Winograd's transforms, there and back, with all that belongs to it (Zen 3).
FORTH_CYCLES, BACK_CYCLES = 13.0, 8.0
OTHER_CYCLES = 1.0  # estimated: of a vector of results, for operators that have no prediction of their own


def running(machine: Machine, dtype: str) -> Machine:
    """``machine`` as the tables above name what it runs kernels of ``dtype`` with."""
    if dtype == "f16":
        return replace(machine, isa="neon_fp16" if machine.isa == "neon_fp16" else "neon halves")
    return replace(machine, isa="neon") if machine.isa == "neon_fp16" else machine


def spmm_us(machine: Machine, height: int, entries: int, blocks: int, pixels: int, bytes_: int) -> float:
    """Microseconds of ``entries`` kept entries in ``blocks`` blocks over ``pixels`` pixels.

    ``bytes_`` (activations, weights, results) each cross the memory once at least.
    """
    per_pixel = PIXEL_CYCLES.get(machine.isa, {}).get(height)
    if per_pixel is not None:
        return overlapped_us(machine, pixels * (entries * per_pixel + blocks * height), bytes_)
    vectors, left = divmod(pixels, LANES[machine.isa])
    few = left in PIXELS_ALONE.get(machine.isa, ()) and height % 4 == 0  # these cost next to nothing
    vectors += left > 0 and not few
    tiles = -(-vectors // VECTORS[height])
    short = tiles * VECTORS[height] - vectors
    per_entry = vectors * entry_cycles(machine, height) + short * SHORT_CYCLES
    return overlapped_us(machine, entries * per_entry + blocks * tiles * BLOCK_CYCLES, bytes_)


def entry_us(machine: Machine, taps: int, blocks: int, pixels: int, bytes_: int) -> float:
    """Microseconds of a convolution of ``taps`` products for each of ``blocks`` blocks of 16 outputs."""
    block_cycles = taps * TAP_CYCLES[running(machine, "f32").isa] + STORE_CYCLES
    return overlapped_us(machine, pixels * blocks * block_cycles, bytes_)


def entry_cycles(machine: Machine, height: int) -> float:
    return IN_ORDER.get((machine.in_order, machine.isa), ENTRY_CYCLES[machine.isa])[height]


def spmm_heights(isa: str) -> list[int]:
    """Block heights that ``isa`` has an spmm kernel for."""
    return [*ENTRY_CYCLES[isa], *PIXEL_CYCLES.get(isa, {})]


def spmv_us(machine: Machine, height: int, entries: int, blocks: int, *, images: int, size: int = 4) -> float:
    """Microseconds of products with ``images`` vectors, one by one: weights from memory, or the chain of each block."""
    lanes = min(LANES[machine.isa], 4) if size == 2 else LANES[machine.isa]  # halves are summed as floats
    cycles = entries * max(1.0, height / lanes) + blocks * BLOCK_CYCLES
    bytes_ = entries * (size * height + 4)
    return images * overlapped_us(machine, cycles, bytes_)


def winograd_us(
    machine: Machine, height: int, products: int, tiles: int, chunks: int, inputs: int, outputs: int, bytes_: int
) -> float:
    """Microseconds of a convolution in ``products`` matrix products over ``tiles`` tiles, in ``chunks`` of them.

    Zen 3 reaches 95% of its peak in the products. The transforms take a vector of tiles of one channel and position
    at a time; mostly they wait for stores.
    """
    vectors = -(-tiles // LANES[machine.isa])
    least, more = divmod(vectors, chunks)

    def tile_cycles(count: int) -> float:
        """One entry times so many vectors: a register tile that is not full hides no latency of multiply-adds."""
        full, rest = divmod(count, VECTORS[height])
        entry = entry_cycles(machine, height)
        return full * VECTORS[height] * entry + (max(rest * entry, FMA_LATENCY_CYCLES) if rest else 0)

    entries = more * tile_cycles(least + 1) + (chunks - more) * tile_cycles(least)
    cycles = products * -(-outputs // height) * (inputs + 2) * entries  # 2: to begin and to store a block
    cycles += products * vectors * (inputs * FORTH_CYCLES + outputs * BACK_CYCLES)
    return overlapped_us(machine, cycles, bytes_)


def traffic_us(machine: Machine, largest: int, bytes_: int) -> float:
    """Microseconds of an operator that is in none of the tables above: its traffic, and a cycle for each vector of its
    ``largest`` tensor."""
    return overlapped_us(machine, OTHER_CYCLES * largest / LANES[running(machine, "f32").isa], bytes_)


def overlapped_us(machine: Machine, cycles: float, bytes_: float) -> float:
    """Arithmetic and traffic at the same time, which they are for most of it."""
    one, other = cycles / machine.ghz / 1e3, bytes_ / machine.read_gbs / 1e3
    return max(one, other) + 0.25 * min(one, other)
