"""Networks in WebAssembly, ours and other engines', in turns on one core: ``python -m bench.wasm --json out.json``.

For every model, sparsity and pattern all engines, in node.js and in pages of Chromium, get the same weights and the
same input; outputs are compared with the native onnxruntime's first. Results go to the JSON lines as they come;
beside them, at the end, a table and a plot a model.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import cases, command, machine, report, results
from bench.environments import Unavailable, packages_for
from bench.results import Result
from bench.rounds import Plan
from bench.wasm import places
from bench.wasm.engines import ISAS, PEERS
from bench.wasm.rounds import run_case
from bench.wasm.seating import PLACES, Seating, seatings
from bench.wasm.server import serve
from edgesparse.errors import RuntimeFailure

# Otherwise V8 starts in its baseline compiler, and moves function by function to the optimising one as it goes.
V8_FLAGS = "--no-liftoff"


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_parser(), _run, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.wasm", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--models", default="mobilenet_v1,mobilenet_v2", help="functions of examples/models.py (%(default)s)")
    add("--sparsity", default="0,0.5,0.7,0.9", help="shares of zeros (%(default)s)")
    add("--patterns", default="unstructured,block:4x1", help="%(default)s")
    add("--against", default=",".join(PEERS), help="%(default)s; or none")
    add("--in", dest="places", default=",".join(PLACES), help="%(default)s")
    add("--backends", default=",".join(ISAS), help="which of our builds (%(default)s)")
    add("--cpu", type=int, help="the core to pin everything to (the last one this process may use)")
    add("--v8-flags", default=V8_FLAGS, help="of node.js and Chromium both (%(default)s: optimised from the start)")
    command.add_measuring(parser, warmup=10)
    return parser


def _run(options: argparse.Namespace, stamp: dict[str, str]) -> int:
    todo = cases.parse_cases(options.models, options.sparsity, options.patterns)
    wanted = seatings(options.against, options.places, options.backends)
    cpu = command.parse_cpu(options.cpu)
    plan = Plan(cpu, 1, options.runs, options.per_turn, options.warmup, options.tolerance)
    out: Path = options.json
    done = {r.case for r in command.earlier(options)}
    todo = [
        c for c in todo if any((c.model, c.pattern, c.sparsity, s.engine.name, s.place) not in done for s in wanted)
    ]
    flags = shlex.split(options.v8_flags)
    for model in dict.fromkeys(case.model for case in todo):
        command.note(f"{model}: exporting, unless it is in the cache")
        cases.exported(model)
    with ExitStack() as stack, out.open("a" if options.resume else "w") as file:
        mounts = {"web": places.WEB, **_packages(wanted)}
        origin = stack.enter_context(serve(mounts))
        opened = _open(wanted, origin, mounts, cpu, flags, stack)
        started = time.monotonic()
        for i, case in enumerate(todo):
            note = command.noter(f"[{i + 1}/{len(todo)}{command.left(started, i, len(todo))}] {case}")
            facts = {**machine.facts(cpu), "v8_flags": " ".join(flags)}
            for result in run_case(case, wanted, opened, mounts, plan, stamp, facts, note):
                file.write(results.to_line(result) + "\n")
                command.note(f"  {report.one_line(result)}")
            file.flush()
    _report(results.read(out), out)
    return 0


def _packages(wanted: Sequence[Seating]) -> dict[str, Path]:
    """``npm-ENGINE`` -> its node_modules. Raises RuntimeFailure where npm cannot install one."""
    found = {}
    for engine in {s.engine.name: s.engine for s in wanted}.values():
        if engine.packages:
            try:
                found[f"npm-{engine.name}"] = packages_for(engine.name, engine.packages)
            except Unavailable as error:
                raise RuntimeFailure(
                    str(error), where=engine.name, hint=f"{error.command}; --against without it leaves it out"
                ) from error
    return found


def _open(
    wanted: Sequence[Seating], origin: str, mounts: dict[str, Path], cpu: int, flags: Sequence[str], stack: ExitStack
) -> Mapping[str, places.Place]:
    """Raises RuntimeFailure for a place that cannot be had: a table without it would say nothing of it."""
    opened: dict[str, places.Place] = {}
    try:
        for name in dict.fromkeys(s.place for s in wanted):
            if name == "node":
                opened[name] = places.Node(origin, mounts, cpu, flags)
            else:
                opened[name] = places.Chromium(origin, cpu, flags, stack)
    except places.Unavailable as error:
        hint = f"or leave it out with --in {','.join(opened) or 'node'}"
        raise RuntimeFailure(str(error), where="--in", hint=hint) from error
    return opened


def _report(found: Sequence[Result], out: Path) -> None:
    written = report.write(found, out.with_suffix(".md"))
    print(f"wrote {out} and {', '.join(str(path) for path in written)}")


if __name__ == "__main__":
    sys.exit(main())
