"""What a result depends on beside the engine: CPU, kernel, core, load."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

# the sets of instructions that engines choose their kernels by
FLAGS = (
    "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx_vnni", "amx_tile", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip


def facts(*cpus: int) -> dict[str, str]:
    """Of this machine. Nothing that names it or its user."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model, flags = parse_cpuinfo(text)
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "flags": " ".join(flags),
        "cores": str(os.cpu_count()),
        "core": ",".join(map(str, cpus)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        # above 1 beside our own process: other programs took time, memory bandwidth and cache
        "load_before": f"{os.getloadavg()[0]:.2f}",
        "commit": _commit(),
    }


def parse_cpuinfo(text: str) -> tuple[str, list[str]]:
    """The CPU's name with family and model, because hypervisors shorten the name; and those of `FLAGS` it has."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip().lower(), value.strip())
    name = found.get("model name", "")
    if name and "cpu family" in found:
        name = f"{name} (family {found['cpu family']}, model {found.get('model', '?')})"
    has = set((found.get("flags") or found.get("features") or "").split())
    return name, [flag for flag in FLAGS if flag in has]


def _commit() -> str:
    """Of this checkout; "+" where files differ from it, "" outside of a clone."""
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=root, capture_output=True, text=True, check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # only look: another git may be at work
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
