"""How long spmm and spmv will take: what selection compares where nothing has been measured.

The figures were measured (x86, WebAssembly in V8) or come from llvm-mca (NEON), see bench/. They are right to
about 20% on the machines they are from; only their order matters for the choice of a kernel, and `edgesparse
tune` replaces them by what the device says.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgesparse.types import Machine

LANES: Mapping[str, int] = {"avx512": 16, "avx2": 8, "sse2": 4, "scalar": 1, "neon": 4, "simd128": 4, "relaxed": 4}

# Cycles of one kept entry (MR weights times one vector of pixels) by block height MR, for the heights that have a
# kernel. Heights of 4 and more run at
# the speed of the multiply-adds, 1 and 2 at that of the loads.
ENTRY_CYCLES: Mapping[str, Mapping[int, float]] = {
    "avx512": {1: 2.44, 2: 2.6, 4: 4.43},  # Zen 4, whose vectors of 512 bits take two cycles
    "avx2": {1: 1.25, 2: 1.56, 4: 2.15},  # Zen 3
    "sse2": {1: 1.6, 2: 2.3, 4: 4.2},
    "scalar": {1: 1.6, 2: 2.3, 4: 4.2},
    "neon": {1: 0.93, 2: 1.28, 4: 2.05, 8: 4.03},  # estimated: llvm-mca, Neoverse N1
    "simd128": {1: 1.39, 2: 2.2, 4: 4.0},
    "relaxed": {1: 1.28, 2: 1.67, 4: 2.97},
}
VECTORS: Mapping[int, int] = {1: 4, 2: 4, 4: 3, 8: 2}  # of a tile, about: NV of the kernels
BLOCK_CYCLES = 30.0  # setting up and storing one tile of one block


def spmm_us(machine: Machine, height: int, entries: int, blocks: int, pixels: int, bytes_: int) -> float:
    """Microseconds of ``entries`` kept entries in ``blocks`` blocks over ``pixels`` pixels.

    ``bytes_`` (activations, weights, results) each cross the memory once at least.
    """
    vectors = -(-pixels // LANES[machine.isa])
    tiles = -(-vectors // VECTORS[height])
    cycles = entries * vectors * ENTRY_CYCLES[machine.isa][height] + blocks * tiles * BLOCK_CYCLES
    return overlapped_us(machine, cycles, bytes_)


def spmv_us(machine: Machine, height: int, entries: int, blocks: int, *, images: int) -> float:
    """Microseconds of products with ``images`` vectors, one by one: weights from memory, or the chain of each block."""
    cycles = entries * max(1.0, height / LANES[machine.isa]) + blocks * BLOCK_CYCLES
    bytes_ = entries * 4 * (height + 1)
    return images * overlapped_us(machine, cycles, bytes_)


def overlapped_us(machine: Machine, cycles: float, bytes_: float) -> float:
    """Arithmetic and traffic at the same time, which they are for most of it."""
    one, other = cycles / machine.ghz / 1e3, bytes_ / machine.read_gbs / 1e3
    return max(one, other) + 0.25 * min(one, other)
