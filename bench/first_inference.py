"""``python -m bench.first_inference``: what a visitor waits for, and downloads, until a page has its first outputs.

Ours and onnxruntime-web in turns, one thread, each time in a new context of Chromium that has nothing in its caches.
The server is on this machine, so that downloading costs next to nothing: bytes are given beside the time. Outputs are
compared with onnxruntime's before any time counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, parse_cases, pruned, random_input
from bench.command import as_typed
from bench.environments import Unavailable as NoPackages
from bench.environments import packages_for
from bench.machine import facts
from bench.results import save
from bench.rounds import largest_error, reference
from bench.wasm.engines import ENGINES
from bench.wasm.places import WEB, Chromium, Unavailable
from bench.wasm.server import serve
from edgesparse.compile import compile_model
from edgesparse.errors import EdgeSparseError, RuntimeFailure
from edgesparse.importer import load
from edgesparse.report import print_table, progress

PEER = "onnxruntime-web"
COLUMNS = ("model", "pattern", "engine", "first outputs, ms", "fastest", "runtime, kB", "model, kB", "times ours")
TOLERANCE = 1e-4
PATTERNS, SPARSITY = "block:4x1", "0,0.9"


def rows(case: Case, chromium: Chromium, mounts: dict[str, Path], origin: str, sent: dict[str, int], times: int) -> (
    list[dict[str, Any]]
):  # fmt: skip
    """One for each engine."""
    with tempfile.TemporaryDirectory(prefix="bench-") as path, progress(str(case)) as on_progress:
        folder = Path(path)
        mounts["case"] = folder
        network = pruned(case, folder)
        compile_model(load(network.onnx), "browser", folder / "ours.edge")
        shutil.copyfile(network.onnx, folder / "served.onnx")
        (x,) = inputs = random_input(list(network.inputs.values()))
        (folder / "x.bin").write_bytes(np.ascontiguousarray(x).tobytes())
        expected = reference(network, inputs)
        common = {"input": {"path": "/case/x.bin", "shape": list(x.shape)}}
        engines: Mapping[str, dict[str, Any]] = {
            "edgesparse": {**common, "bundle": f"{origin}/case/ours.edge"},
            PEER: {
                **common, "dist": f"/npm-{PEER}/{PEER}/dist", "model": "/case/served.onnx",
            },
        }  # fmt: skip
        ms: dict[str, list[float]] = {name: [] for name in engines}
        bytes_: dict[str, dict[str, int]] = {}
        for turn in range(times):
            for name, options in engines.items():
                on_progress(turn * len(engines) + len(ms[name]), times * len(engines), name)
                sent.clear()
                found = _first(chromium, options)
                outputs = [np.asarray(found["outputs"], np.float32).reshape(expected[0].shape)]
                if not largest_error(expected, outputs) <= TOLERANCE:
                    raise RuntimeFailure(f"{name} has other outputs than onnxruntime", where=str(case))
                ms[name].append(found["ms"])
                bytes_[name] = dict(sent)
    return [
        {
            "model": case.model, "pattern": case.pattern, "zeros": case.sparsity, "engine": name, "ms": ms[name],
            "runtime_bytes": sum(n for p, n in bytes_[name].items() if _is_runtime(p)),
            "model_bytes": sum(n for p, n in bytes_[name].items() if _is_model(p)),
            "over_ours": statistics.median(ms[name]) / statistics.median(ms["edgesparse"]),
        }
        for name in engines
    ]  # fmt: skip


def _is_model(path: str) -> bool:
    return path.endswith((".onnx", ".packed", "manifest.json"))


def _is_runtime(path: str) -> bool:
    return path.startswith(("/npm-", "/case/ours.edge/")) and not _is_model(path)


def _first(chromium: Chromium, options: Mapping[str, Any]) -> dict[str, Any]:
    with ExitStack() as stack:
        found: dict[str, Any] = chromium.page(stack).evaluate(
            "async (options) => (await import('/web/first.mjs')).first(options)", dict(options)
        )
        return found


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    pattern = row["pattern"] + (f" {row['zeros']:g}" if row["zeros"] else "")
    return (
        row["model"], pattern, row["engine"], f"{statistics.median(row['ms']):.0f}", f"{min(row['ms']):.0f}",
        f"{row['runtime_bytes'] / 1e3:.0f}", f"{row['model_bytes'] / 1e3:.0f}", f"{row['over_ours']:.2f}",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.first_inference", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--models", default="mobilenet_v1", help="functions of examples/models.py (%(default)s)")
    parser.add_argument("--times", type=int, default=9, help="new contexts for each (default %(default)s)")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="Chromium's core")
    parser.add_argument("--json", type=Path, help="write one JSON line per row to this file")
    given = parser.parse_args(arguments)
    common = {"what": "first inference", "command": as_typed(parser, arguments, given.json)}
    sent: dict[str, int] = {}
    mounts = {"web": WEB}
    try:
        cases = parse_cases(given.models, SPARSITY, PATTERNS)
        mounts[f"npm-{PEER}"] = packages_for(PEER, ENGINES[PEER].packages)
        with ExitStack() as stack:
            origin = stack.enter_context(serve(mounts, lambda path, count: sent.__setitem__(path, count)))
            chromium = Chromium(origin, given.cpu, (), stack)
            found = [row for case in cases for row in rows(case, chromium, mounts, origin, sent, given.times)]
    except (Unavailable, NoPackages) as error:
        print(f"bench.first_inference: {error}", file=sys.stderr)
        return 4
    except EdgeSparseError as error:
        print(f"bench.first_inference: {error}", file=sys.stderr)
        return error.exit_code
    print_table("", COLUMNS, [cells(row) for row in found])
    machine = {**facts(given.cpu), "chromium": chromium.version}
    save(given.json, [{**common, "machine": machine, **row} for row in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
