"""Runs all cases in worker processes; one that dies costs its case and no other."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.conftest import PROJECT
from tests.onnx_nodes.cases import CRASHED, Outcome, node_cases

WORKERS = 2
LIMIT_S = 120


def run_all() -> list[Outcome]:
    """The outcome of every case, in ONNX's order."""
    names = list(node_cases())
    with ThreadPoolExecutor(WORKERS) as pool:
        parts = pool.map(run, (names[i::WORKERS] for i in range(WORKERS)))
        outcomes = {o.case: o for part in parts for o in part}
    return [outcomes[name] for name in names]


def run(names: Sequence[str]) -> list[Outcome]:
    """The outcomes of ``names``, in as many processes as it takes."""
    left, outcomes = list(names), []
    while left:
        done, running, ending = _batch(left)
        outcomes += done
        left = left[len(done) :]
        if left:
            # one that dies before it names a case would do so forever
            assert running == left[0], f"the worker died before its first case: {ending}"
            outcomes.append(Outcome(running, node_cases()[running].operator, CRASHED, ending))
            left = left[1:]
    return outcomes


def _batch(names: Sequence[str]) -> tuple[list[Outcome], str, str]:
    """What one worker finished, the case it was at when it ended, and how it ended."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.onnx_nodes.worker", *names]
    done: list[Outcome] = []
    running = ""
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:  # fmt: skip
        assert worker.stdout is not None and worker.stderr is not None
        said: list[str] = []
        listener = threading.Thread(target=lambda: said.extend(worker.stderr or ()))
        listener.start()
        timer = threading.Timer(LIMIT_S, worker.kill)
        timer.start()
        for line in worker.stdout:
            timer.cancel()
            timer = threading.Timer(LIMIT_S, worker.kill)
            timer.start()
            if line.startswith("{"):
                done.append(Outcome(**json.loads(line)))
            else:
                running = line.strip()
        timer.cancel()
        listener.join()
    return done, running, f"exit {worker.returncode}: {''.join(said)[-1000:]}"


def counts(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(o.status for o in outcomes)
