"""Whole networks, ours and other engines', in turns on the same cores: ``python -m bench.networks --json out.json``.

For every model, sparsity and pattern all engines get the same ONNX file and the same input; outputs are compared with
onnxruntime's first. Results go to the JSON lines as they come; beside them, at the end, a table and a plot a model.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from bench import cases, machine, peers, report, results
from bench.rounds import Plan, run_case
from edgesparse.errors import EdgeSparseError, InputError

MODELS = "mobilenet_v1,mobilenet_v2,efficientnet_lite0,resnet50,squeezenet,vit"
PATTERNS = "unstructured,block:2x1,block:4x1,block:8x1"
# Winograd in fp32 through 50 layers was seen to be 2e-3 off; a wrong graph is off by more than 1e-1
TOLERANCE = 5e-3


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(given)
        # in results the file has its name only: folders are of one machine
        words = [word.replace(str(options.json), options.json.name) for word in given]
        return _run(options, f"python -m bench.networks {shlex.join(words)}")
    except EdgeSparseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the results so far are in the file, and --resume goes on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.networks", description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=MODELS, help="functions of examples/models.py (%(default)s)")
    parser.add_argument("--sparsity", default="0,0.3,0.5,0.7,0.8,0.9", help="shares of zeros (%(default)s)")
    parser.add_argument("--patterns", default=PATTERNS, help="%(default)s")
    parser.add_argument("--against", default="onnxruntime", help=f"of {','.join(peers.known())} (%(default)s)")
    parser.add_argument("--threads", default="1", help="numbers of threads, a core for each: 1,2 (%(default)s)")
    parser.add_argument("--cpu", type=int, help="the first core to pin to (the last one this process may use)")
    parser.add_argument("--runs", type=int, default=30, help="timed inferences an engine and case (%(default)s)")
    parser.add_argument("--per-turn", type=int, default=5, help="of these, before the next engine (%(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="untimed ones first (%(default)s)")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="of the largest output (%(default)s)")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="the results, one line each")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.add_argument("--resume", action="store_true", help="add to FILE the cases that it lacks")
    return parser


def _run(options: argparse.Namespace, command: str) -> int:
    todo = cases.parse_cases(options.models, options.sparsity, options.patterns)
    engines = parse_engines(options.against)
    cpu = parse_cpu(options.cpu)
    plans = [
        Plan(cpu, threads, options.runs, options.per_turn, options.warmup, options.tolerance)
        for threads in parse_threads(options.threads)
    ]
    if min(options.runs, options.per_turn) < 1 or options.warmup < 0:
        raise InputError("there must be runs to time", where="--runs, --per-turn, --warmup", hint="give 1 or more")
    out: Path = options.json
    if out.exists() and not (options.force or options.resume):
        raise InputError("exists already", where=str(out), hint="--force replaces it, --resume adds what it lacks")
    done = {r.key for r in results.read(out)} if options.resume and out.exists() else set()
    stamp = {"run": datetime.now(timezone.utc).isoformat(timespec="seconds"), "command": command}
    for model in dict.fromkeys(case.model for case in todo):
        _note(f"{model}: exporting, unless it is in the cache")
        cases.exported(model)
    started = time.monotonic()
    rounds = [
        (case, plan) for case in todo for plan in plans
        if any((case.model, case.pattern, case.sparsity, plan.threads, e) not in done for e in engines)
    ]  # fmt: skip
    with out.open("a" if options.resume else "w") as file:
        for i, (case, plan) in enumerate(rounds):
            on = "" if plan.threads == 1 else f", {plan.threads} threads"
            note = _noter(f"[{i + 1}/{len(rounds)}{_left(started, i, len(rounds))}] {case}{on}")
            for result in run_case(case, engines, plan, stamp, machine.facts(*plan.cpus), note):
                file.write(results.to_line(result) + "\n")
                _note(f"  {report.one_line(result)}")
            file.flush()
    report.write(results.read(out), out.with_suffix(".md"))
    print(f"wrote {out} and {out.with_suffix('.md')}")
    return 0


def parse_engines(against: str) -> list[str]:
    """Ours first, then those of ``--against``. Raises InputError for one that has no file."""
    wanted = cases.split(against, "--against")
    for name in wanted:
        if name not in peers.known():
            hint = f"known: {', '.join(peers.known())}"
            raise InputError(f"there is no engine '{name}'", where="--against", hint=hint)
    return [peers.OURS, *wanted]


def parse_threads(text: str) -> list[int]:
    """``"1,2"``: numbers of threads. Raises InputError for more than there are cores: they would take turns."""
    allowed, found = len(os.sched_getaffinity(0)), []
    for word in cases.split(text, "--threads"):
        if not word.isdecimal() or not 1 <= int(word) <= allowed:
            raise InputError(f"{word} is not a number of threads", where="--threads", hint=f"from 1 to {allowed} cores")
        found.append(int(word))
    return found


def parse_cpu(cpu: int | None) -> int:
    """The core to use. Raises InputError where this process may not."""
    allowed = sorted(os.sched_getaffinity(0))
    if cpu is None:
        return allowed[-1]
    if cpu not in allowed:
        raise InputError(f"this process may not run on core {cpu}", where="--cpu", hint=f"one of {allowed}")
    return cpu


def _left(started: float, done: int, all: int) -> str:
    """How long it will still take, from the cases so far."""
    if done == 0:
        return ""
    seconds = (time.monotonic() - started) / done * (all - done)
    return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"


def _noter(prefix: str) -> Callable[[str], None]:
    return lambda text: _note(f"{prefix}: {text}", passing=True)


def _note(text: str, *, passing: bool = False) -> None:
    """To stderr. A ``passing`` note is overwritten by the next one, and left out where nobody watches."""
    watched = sys.stderr.isatty()
    if passing and not watched:
        return
    print(f"\r\x1b[K{text}" if watched else text, end="" if passing else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
