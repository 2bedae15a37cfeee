"""The child process around one engine: ``python -m bench.worker PEER CPU,..``, messages on stdin and stdout.

The clock runs in here, around each inference; the parent only says how many to run, so that engines take turns.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np

from bench.engine import CannotRun, Engine, Network
from bench.wire import Message, receive, send


def main() -> None:
    peer, cpus = sys.argv[1], {int(cpu) for cpu in sys.argv[2].split(",")}
    # before the engine is imported: some count the cores they may use as they load
    os.sched_setaffinity(0, cpus)
    replies = _private_stdout()
    engine: Engine | None = None
    while (request := receive(sys.stdin.buffer)) is not None:
        try:
            if request["do"] == "prepare":
                engine = None
                engine = _prepare(peer, request)
                send(replies, {"version": engine.version})
            elif engine is None:
                raise RuntimeError(f"'{request['do']}' before 'prepare'")
            elif request["do"] == "check":
                send(replies, _check(engine, request))
            else:
                send(replies, time_runs(engine, int(request["runs"]), int(request["warmup"])))
        except CannotRun as refusal:
            send(replies, {"cannot": str(refusal)})
        except Exception as error:  # noqa: BLE001  (the engine's own errors, of any type, are results here)
            send(replies, {"error": f"{type(error).__name__}: {error}"})


def _private_stdout() -> IO[bytes]:
    """The pipe to the parent. Engines print to stdout, from C too: from now on that is stderr."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _prepare(peer: str, request: Message) -> Engine:
    network = Network(
        Path(request["onnx"]),
        {name: tuple(shape) for name, shape in request["inputs"].items()},
        {name: tuple(shape) for name, shape in request["outputs"].items()},
        Path(request["folder"]), int(request["threads"]),
    )  # fmt: skip
    engine: Engine = importlib.import_module(f"bench.peers.{peer}").prepare(network)
    return engine


def _check(engine: Engine, request: Message) -> Message:
    """Feed the arrays of a file, run once, and write the outputs to another, in order."""
    with np.load(request["inputs_file"]) as arrays:
        engine.feed(list(arrays.values()))
    engine.run()
    outputs = [np.ascontiguousarray(y, np.float32) for y in engine.outputs()]
    np.savez(request["outputs_file"], *outputs)
    return {}


def time_runs(engine: Engine, runs: int, warmup: int) -> Message:
    """Nanoseconds of each of ``runs`` inferences, after ``warmup`` untimed ones.

    ``cpu_ns`` is that of all threads of this process; ``preempted`` counts the times something else took the core.
    """
    for _ in range(warmup):
        engine.run()
    wall_ns, cpu_ns = [], []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    for _ in range(runs):
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        engine.run()
        cpu_ns.append(time.process_time_ns() - cpu)
        wall_ns.append(time.perf_counter_ns() - wall)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return {"wall_ns": wall_ns, "cpu_ns": cpu_ns, "preempted": after - before}


if __name__ == "__main__":
    main()
