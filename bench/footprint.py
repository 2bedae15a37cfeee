"""``python -m bench.footprint``: memory of a run beside onnxruntime's, the arena beside its bound, time to compile.

Every figure is of a process of its own. Resident memory is the highest that Linux saw (``VmHWM``), so it holds
Python, NumPy and the engine; "nothing" is the same process without an engine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cases import DENSE, Case, pruned
from bench.machine import facts
from bench.results import save
from edgesparse.errors import BuildError, EdgeSparseError
from edgesparse.manifest import read_manifest
from edgesparse.report import print_table

RUNS = 3  # the highest of so many; the median of so many compilations
_FEED = (
    "import numpy as np, re, sys; from pathlib import Path; path, name, *shape = sys.argv[1:];"
    " x = np.ones([int(n) for n in shape], 'f');"
)
_PEAK = "print(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])"
ENGINES = {
    "nothing": f"{_FEED} {_PEAK}",
    "edgesparse": (
        f"{_FEED} import edgesparse as es; s = es.open(path); [s.run({{name: x}}) for _ in range(3)]; {_PEAK}"
    ),
    "onnxruntime": (
        f"{_FEED} import onnxruntime as ort; o = ort.SessionOptions(); o.intra_op_num_threads = 1;"
        f" s = ort.InferenceSession(path, o); [s.run(None, {{name: x}}) for _ in range(3)]; {_PEAK}"
    ),
}


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """One row: bytes and seconds.

    Raises:
        BuildError: a process failed; its words.
    """
    network = pruned(case, folder)
    bundle = folder / "model.edge"
    cold_s = _compile_s(network.onnx, bundle, {"EDGESPARSE_CACHE": str(folder / "cache")})
    warm_s = [_compile_s(network.onnx, bundle, {}) for _ in range(RUNS + 1)][1:]  # the first one fills the user's cache
    manifest = read_manifest(bundle)
    ((name, shape),) = network.inputs.items()
    row: dict[str, Any] = {
        "model": case.model, "pattern": case.pattern, "sparsity": case.sparsity,
        "arena_bytes": manifest.arena_bytes, "arena_lower_bound_bytes": manifest.arena_lower_bound_bytes,
        "weights_bytes": manifest.weights_bytes, "code_bytes": manifest.code_bytes,
        "compile_cold_s": cold_s, "compile_warm_s": statistics.median(warm_s),
    }  # fmt: skip
    for engine, code in ENGINES.items():
        path = bundle if engine == "edgesparse" else network.onnx
        arguments = [sys.executable, "-c", code, str(path), name, *map(str, shape)]
        row[f"{engine}_peak_bytes"] = max(int(_output(arguments, {})) for _ in range(RUNS)) * 1024
    return row


def _compile_s(model: Path, bundle: Path, environment: Mapping[str, str]) -> float:
    """Seconds of ``edgesparse compile`` as a user waits for it, the start of Python included."""
    before = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "edgesparse",
        "compile",
        str(model),
        "--device",
        "host",
        "-o",
        str(bundle),
        "--force",
    ]
    _output(command, environment)
    return time.perf_counter() - before


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr.strip()[-2000:], where=" ".join(command)[:200])
    return done.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__)
    parser.add_argument("--models", default="mobilenet_v1,mobilenet_v2,resnet50", help="default %(default)s")
    parser.add_argument("--sparsity", default="0", help="shares of zeros in blocks of 4x1 (default %(default)s)")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core to run on")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {given.cpu})
    command = "python -m bench.footprint " + " ".join(sys.argv[1:] if arguments is None else arguments)
    common = {"what": "footprint", "command": command.strip(), "machine": facts(given.cpu)}
    rows = []
    try:
        for model in given.models.split(","):
            for sparsity in map(float, given.sparsity.split(",")):
                case = Case(model, "block:4x1" if sparsity else DENSE, sparsity)
                with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
                    rows.append({**common, **measure(case, Path(folder))})
    except EdgeSparseError as error:
        print(f"bench.footprint: {error}", file=sys.stderr)
        return error.exit_code
    print_table("", COLUMNS, [cells(row) for row in rows])
    save(given.json, rows)
    return 0


COLUMNS = (
    "model", "zeros", "arena kB", "over bound", "weights kB", "code kB", "compile cold s", "warm s",
    "peak MB", "onnxruntime", "nothing",
)  # fmt: skip


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the table, in the order of COLUMNS."""
    over = row["arena_bytes"] / row["arena_lower_bound_bytes"] - 1
    kilo = [f"{row[key] / 1e3:.0f}" for key in ("weights_bytes", "code_bytes")]
    peaks = [f"{row[f'{engine}_peak_bytes'] / 1e6:.0f}" for engine in ("edgesparse", "onnxruntime", "nothing")]
    return [
        row["model"], f"{row['sparsity']:g}", f"{row['arena_bytes'] / 1e3:.0f}", f"{over:+.1%}", *kilo,
        f"{row['compile_cold_s']:.1f}", f"{row['compile_warm_s']:.2f}", *peaks,
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
