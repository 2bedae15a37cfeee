"""Whole networks, ours and other engines', in turns on the same cores: ``python -m bench.networks --json out.json``.

For every model, sparsity and pattern all engines get the same ONNX file and the same input; outputs are compared with
onnxruntime's first. Results go to the JSON lines as they come; beside them, at the end, a table and a plot a model.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import cases, command, machine, peers, report, results
from bench.rounds import Plan, run_case
from edgesparse.errors import InputError

MODELS = "mobilenet_v1,mobilenet_v2,efficientnet_lite0,resnet50,squeezenet,vit"
PATTERNS = "unstructured,block:2x1,block:4x1,block:8x1"


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_parser(), _run, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.networks", description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=MODELS, help="functions of examples/models.py (%(default)s)")
    parser.add_argument("--sparsity", default="0,0.3,0.5,0.7,0.8,0.9", help="shares of zeros (%(default)s)")
    parser.add_argument("--patterns", default=PATTERNS, help="%(default)s")
    parser.add_argument("--against", default="onnxruntime", help=f"of {','.join(peers.known())} (%(default)s)")
    parser.add_argument("--threads", default="1", help="numbers of threads, a core for each: 1,2 (%(default)s)")
    parser.add_argument("--cpu", type=int, help="the first core to pin to (the last one this process may use)")
    command.add_measuring(parser, warmup=5)
    return parser


def _run(options: argparse.Namespace, stamp: dict[str, str]) -> int:
    todo = cases.parse_cases(options.models, options.sparsity, options.patterns)
    engines = parse_engines(options.against)
    cpu = command.parse_cpu(options.cpu)
    plans = [
        Plan(cpu, threads, options.runs, options.per_turn, options.warmup, options.tolerance)
        for threads in parse_threads(options.threads)
    ]
    done = {r.key for r in command.earlier(options)}
    out: Path = options.json
    for model in dict.fromkeys(case.model for case in todo):
        command.note(f"{model}: exporting, unless it is in the cache")
        cases.exported(model)
    started = time.monotonic()
    rounds = [
        (case, plan) for case in todo for plan in plans
        if any((case.model, case.pattern, case.sparsity, plan.threads, e) not in done for e in engines)
    ]  # fmt: skip
    with out.open("a" if options.resume else "w") as file:
        for i, (case, plan) in enumerate(rounds):
            on = "" if plan.threads == 1 else f", {plan.threads} threads"
            note = command.noter(f"[{i + 1}/{len(rounds)}{command.left(started, i, len(rounds))}] {case}{on}")
            for result in run_case(case, engines, plan, stamp, machine.facts(*plan.cpus), note):
                file.write(results.to_line(result) + "\n")
                command.note(f"  {report.one_line(result)}")
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


if __name__ == "__main__":
    sys.exit(main())
