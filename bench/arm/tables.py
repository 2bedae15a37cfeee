"""What bench.arm prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.arm.layers import Count, LayerCount
from bench.arm.mca import MODELS, Estimate
from edgesparse.errors import InputError


@dataclass(frozen=True, slots=True)
class Kind:
    """All layers of one kind: ``instructions`` executed and ``vector_fma`` (4 floats each) that the weights need."""

    kind: str
    instructions: float
    vector_fma: float


def numbers(text: str) -> list[float]:
    """``0,0.7`` as numbers. Raises InputError."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(f"{text!r} is no list of numbers", where="--sparsity", hint="0,0.7,0.9") from error


def by_kind(found: Count) -> list[Kind]:
    """The layers summed by what they are: convolutions by their kernel, the first one on its own."""
    sums: dict[str, Kind] = {}
    for index, counted in enumerate(found.layers):
        kind = _kind(counted, first=not any(c.layer.op == "spmm" for c in found.layers[:index]))
        old = sums.get(kind, Kind(kind, 0.0, 0.0))
        sums[kind] = Kind(kind, old.instructions + counted.instructions, old.vector_fma + counted.layer.macs / 4)
    return sorted(sums.values(), key=lambda k: -k.instructions)


def _kind(counted: LayerCount, first: bool) -> str:
    layer = counted.layer
    if layer.op != "spmm":
        return layer.op
    return "first spmm" if first else "spmv" if "spmv" in layer.kernel else "spmm"


def count(engine: str, model: str, sparsity: float, pattern: str, instructions: float) -> None:
    print(
        f"{model:16} {pattern:14} {sparsity:4.2f}  {engine:16} {instructions / 1e6:9.2f} M executed instructions",
        flush=True,
    )


def layers(found: Count) -> None:
    """A line per layer and per kind."""
    print(f"  {'layer':28} {'kernel':38} {'output':18} {'executed':>11}  per 4 multiply-adds")
    for counted in found.layers:
        layer = counted.layer
        shape = "x".join(map(str, layer.shape))
        print(f"  {layer.name[:28]:28} {layer.kernel:38} {shape:18} {_millions(counted.instructions, counted)}")
    for kind in by_kind(found):
        ratio = f"{kind.instructions / kind.vector_fma:6.2f}" if kind.vector_fma else ""
        share = kind.instructions / found.instructions
        print(f"  {kind.kind:28} {share:5.1%} {kind.instructions / 1e6:62.3f} M  {ratio}")


def _millions(instructions: float, counted: LayerCount) -> str:
    ratio = f"{counted.per_vector_fma:6.2f}" if counted.layer.macs else ""
    return f"{instructions / 1e6:9.3f} M  {ratio}"


def estimates(rows: Sequence[Estimate]) -> None:
    print("multiply-adds of vectors per cycle in the hot loop, estimated by llvm-mca; not measured")
    print("(vectors of 4 floats; of 8 halves in kernels for neon_fp16)")
    print(f"{'kernel':28} {'fma':>4} {'all':>4}  " + " ".join(f"{model:>11}" for model in MODELS))
    for kernel in dict.fromkeys(row.kernel for row in rows):
        of_kernel = [row for row in rows if row.kernel == kernel]
        by_model = {row.model: f"{row.per_cycle:11.2f}" for row in of_kernel}
        cells = " ".join(by_model.get(model, f"{'-':>11}") for model in MODELS)
        print(f"{kernel:28} {of_kernel[0].multiply_adds:4} {of_kernel[0].instructions:4}  {cells}")
    for model, cores in MODELS.items():
        print(f"  {model}: {cores}")
