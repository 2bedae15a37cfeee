"""llvm-mca's estimate of the hot loops of spmm on arm64 cores: multiply-adds per cycle, nothing measured."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from bench.assembly import Loop, hot_loops
from edgesparse.errors import RuntimeFailure
from edgesparse.kernels import ISAS, table

PROGRAM = "llvm-mca-19"
ITERATIONS = 1000
MODELS = {
    "cortex-a53": "Cortex-A53",
    "cortex-a55": "Cortex-A55",
    "cortex-a72": "Cortex-A72, with LLVM's model of the A57",
    "neoverse-n1": "Cortex-A76, A78, X1, with the model of the Neoverse N1",
    "neoverse-n2": "Cortex-X2, with the model of the Neoverse N2",
    "neoverse-v1": "Neoverse V1",
}
"""llvm-mca's -mcpu -> the cores it stands for."""
WITHOUT_FP16 = frozenset({"cortex-a53", "cortex-a72"})


@dataclass(frozen=True, slots=True)
class Estimate:
    """One loop on one core, estimated: ``cycles`` and ``instructions`` per round of ``multiply_adds`` vectors."""

    kernel: str
    model: str
    multiply_adds: int
    instructions: int
    cycles: float

    @property
    def per_cycle(self) -> float:
        return self.multiply_adds / self.cycles


def estimate_tiles() -> list[Estimate]:
    """Every spmm tile of the arm64 kernels on every core of MODELS that can run it.

    Raises:
        RuntimeFailure: llvm-mca is missing or refused a loop.
    """
    path = program()
    kernels = [k for k in table() if k.op == "spmm" and ISAS[k.isa].architecture == "aarch64"]
    hot = [(kernel, hot_loops(kernel)[0]) for kernel in kernels]
    return [
        Estimate(k.symbol, model, loop.multiply_adds, len(loop.instructions), cycles(path, model, k.symbol, loop))
        for k, loop in hot
        for model in MODELS
        if k.isa == "neon" or model not in WITHOUT_FP16
    ]


def program() -> str:
    """Where llvm-mca is. Raises RuntimeFailure where it is not."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise RuntimeFailure(f"{PROGRAM} is not installed", where="bench.arm --mca", hint="apt-get install llvm-19")
    return path


def cycles(path: str, model: str, symbol: str, loop: Loop) -> float:
    """Cycles of a round, the mean of ITERATIONS."""
    text = "\n".join([".Lround:", *(re.sub(r"\.L\w+$", ".Lround", line) for line in loop.instructions), ""])
    command = [path, "-mtriple=aarch64-linux-gnu", f"-mcpu={model}", f"-iterations={ITERATIONS}", "-all-views=false"]
    done = subprocess.run(
        [*command, "-summary-view", "-"], input=text, capture_output=True, text=True, check=False
    )  # fmt: skip
    found = re.search(r"^Total Cycles:\s+(\d+)$", done.stdout, re.M)
    if done.returncode != 0 or found is None:
        raise RuntimeFailure(
            f"{PROGRAM} refused the loop: {done.stderr.strip()[-500:]}", where=f"{symbol} on {model}",
            hint="a model that this version does not know? see MODELS in bench/arm/mca.py",
        )  # fmt: skip
    return int(found[1]) / ITERATIONS
