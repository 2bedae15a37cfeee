"""llvm-mca's estimate of the inner loops of decoding, for weights of 8 and 4 bits: nothing measured.

Of each kernel the loop with the most products of bytes counts, of several the shortest, without what a branch forward
skips (prefetches that some rounds make). Weights are taken to be in the first cache, where a token never finds them:
what memory gives is the other limit. That sums are scaled once a group of inputs is part of some loops, not of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.arm.mca import MODELS, PROGRAM, cycles, program
from bench.assembly import Loop, compile_assembly, loops
from edgesparse.errors import InputError
from edgesparse.kernels import find
from edgesparse.types import Kernel

STEMS: Mapping[str, float] = {
    "dense_qc8": 1, "columns_qc8": 1, "rows_qc8": 1, "dense_qb4": 0.5, "columns_qb4": 0.5, "rows_qb4": 0.5
}  # fmt: skip
"""Kernels -> bytes of a weight, without scales."""
SETS = ("neon", "neon_dotprod")
CORES = ("cortex-a55", "neoverse-n1")
TITLE = f"inner loops, estimated by {PROGRAM}, not measured: weights in the first cache"
COLUMNS = (
    "kernel", "core, estimated", "instructions", "weights", "cycles", "weights a cycle", "bytes a cycle"
)  # fmt: skip


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["kernel"], row["stands_for"], str(row["round"]), str(row["weights"]), f"{row['cycles']:.1f}",
        f"{row['weights'] / row['cycles']:.2f}", f"{row['weights'] * row['weight_bytes'] / row['cycles']:.2f}",
    )  # fmt: skip


def rows() -> Iterator[dict[str, Any]]:
    """Raises RuntimeFailure: llvm-mca is missing, or refused a loop."""
    path = program()
    for stem, size in STEMS.items():
        for isa in SETS:
            kernel = find(stem, isa, {})
            assert kernel is not None
            loop = inner_loop(kernel)
            for core in CORES:
                yield {
                    "source": "estimated", "kernel": kernel.symbol, "mcpu": core, "stands_for": MODELS[core],
                    "round": len(loop.instructions), "weights": loop.byte_products, "weight_bytes": size,
                    "cycles": cycles(path, core, kernel.symbol, loop),
                }  # fmt: skip


def inner_loop(kernel: Kernel) -> Loop:
    """Raises InputError: none multiplies bytes."""
    found = [loop.shortest for loop in loops(compile_assembly(kernel), "aarch64")]
    best = max(found, key=lambda loop: (loop.byte_products, -len(loop.instructions)), default=None)
    if best is None or not best.byte_products:
        raise InputError("no loop with products of bytes in its assembly", where=kernel.symbol)
    return best
