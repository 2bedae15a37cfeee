"""Executed instructions of a bundle: per inference, and per layer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.arm.counting import Executed, per_inference, run
from bench.arm.symbols import Program, read_program
from edgesparse.build import COMMON_FLAGS, RUNTIME_C, zig
from edgesparse.errors import InputError
from edgesparse.kernels import ISAS, table
from edgesparse.manifest import Layer, Manifest, read_manifest
from edgesparse.runtimes.c import PROGRAM_SOURCES
from edgesparse.types import Array

ISA = "neon"


@dataclass(frozen=True, slots=True)
class LayerCount:
    """``instructions`` executed per inference by the kernel of one layer and what it calls."""

    layer: Layer
    instructions: float

    @property
    def per_vector_fma(self) -> float:
        """Instructions per multiply-add of 4 floats that the weights ask for; 1 is what no program goes below."""
        return 4 * self.instructions / self.layer.macs if self.layer.macs else 0.0


@dataclass(frozen=True, slots=True)
class Count:
    """``instructions`` executed per inference by the program of the bundle as it is shipped."""

    instructions: float
    layers: tuple[LayerCount, ...]


def count_bundle(bundle: Path, inputs: Sequence[Array], *, isa: str = ISA) -> Count:
    """Run the arm64 program of ``bundle`` under qemu and count.

    The layers are counted in the same object files, linked once more with their symbols.

    Raises:
        InputError: not a bundle with an arm64 program, or its layers cannot be told apart.
        RuntimeFailure: no emulator that counts, or the program failed.
    """
    manifest = read_manifest(bundle)
    if manifest.kind != "executable" or not manifest.triple.startswith("aarch64"):
        raise InputError(
            f"a bundle for {manifest.device} ({manifest.kind}, {manifest.triple}), not an arm64 program",
            where=str(bundle), hint="compile it with --device rpi5",
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        options: list[str | Path] = ["--weights", (bundle / "weights.bin").absolute()]
        for i, values in enumerate(inputs):
            path = Path(folder, f"in{i}.bin")
            path.write_bytes(np.ascontiguousarray(values).tobytes())
            options += ["--input", path]

        def run_of(program: Path, runs: int, entries: Sequence[int] = ()) -> Executed:
            layers = len(manifest.layers) if entries else 0
            return run([program, *options, "--num-runs", str(runs)], layers=layers, entries=entries)

        shipped, _ = per_inference(lambda n: run_of((bundle / "model").absolute(), n))
        linked = _link(bundle, manifest, isa, Path(folder))
        program = read_program(linked)
        entries = {program.function(kernel).address for kernel in _kernels(manifest, isa)}

        def checked(runs: int) -> Executed:
            executed = run_of(linked, runs, sorted(entries))
            _check_order(executed, manifest, program, isa, bundle)
            return executed

        same, counts = per_inference(checked)
    if abs(same - shipped) > 1e-3 * shipped:
        raise InputError(
            f"the program with symbols executes {same:.0f} instructions, the shipped one {shipped:.0f}",
            where=str(bundle), hint="compile the bundle again; if it stays so, report it",
        )  # fmt: skip
    return Count(shipped, tuple(LayerCount(layer, c) for layer, c in zip(manifest.layers, counts, strict=True)))


def _kernels(manifest: Manifest, isa: str) -> list[str]:
    """The function of each layer; a manifest may name that of another instruction set, or of the base of ``isa``."""
    known = {kernel.symbol for kernel in table()}
    stems = [layer.kernel.rsplit("__", 1)[0] for layer in manifest.layers]
    return [s if (s := f"{stem}__{isa}") in known else f"{stem}__{ISAS[isa].base}" for stem in stems]


def _check_order(executed: Executed, manifest: Manifest, program: Program, isa: str, bundle: Path) -> None:
    called = [program.at(layer.address) for layer in executed.layers]
    times = {layer.calls for layer in executed.layers}
    if called != _kernels(manifest, isa) or len(times) != 1:
        raise InputError(
            "the program does not call the kernels in the order of the manifest, so layers cannot be told apart",
            where=str(bundle), hint="this is a bug in bench/arm; please report it",
        )  # fmt: skip


def _link(bundle: Path, manifest: Manifest, isa: str, folder: Path) -> Path:
    """The program once more, with symbols."""
    flags = ["-target", manifest.triple, *COMMON_FLAGS, *ISAS[isa].flags, f"-I{RUNTIME_C}", "-nostdlib", "-static"]
    page = ["-Wl,--gc-sections", "-Wl,-z,max-page-size=16384"]
    out = folder / "model"
    zig("cc", [*flags, *page, *PROGRAM_SOURCES, (bundle / "libmodel.a").absolute(), "-o", out], folder)
    return out
