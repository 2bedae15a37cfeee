"""What the command lines of bench.networks and bench.wasm have in common: options, errors, words on the way."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from bench import results
from bench.results import Result
from edgesparse.errors import EdgeSparseError, InputError

# Winograd in fp32 through 50 layers was seen to be 2e-3 off; a wrong graph is off by more than 1e-1
TOLERANCE = 5e-3


def run(
    parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace, dict[str, str]], int],
    arguments: Sequence[str] | None,
) -> int:  # fmt: skip
    """The exit code of ``body(options, stamp)``, where ``stamp`` is ``run`` and ``command`` of the results."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = parser.parse_args(given)
        # in results the file has its name only: folders are of one machine
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return body(options, {"run": now, "command": as_typed(parser, given, options.json)})
    except EdgeSparseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the results so far are in the file, and --resume goes on", file=sys.stderr)
        return 130


def add_measuring(parser: argparse.ArgumentParser, warmup: int) -> None:
    """How often, how exactly, and to which file."""
    add = parser.add_argument
    add("--runs", type=int, default=30, help="timed inferences an engine and case (%(default)s)")
    add("--per-turn", type=int, default=5, help="of these, before the next engine (%(default)s)")
    add("--warmup", type=int, default=warmup, help="untimed ones first (%(default)s)")
    add("--tolerance", type=float, default=TOLERANCE, help="of the largest output (%(default)s)")
    add("--json", type=Path, required=True, metavar="FILE", help="the results, one line each")
    add("--force", action="store_true", help="replace FILE")
    add("--resume", action="store_true", help="add to FILE the cases that it lacks")


def earlier(options: argparse.Namespace) -> list[Result]:
    """What --resume finds in the file.

    Raises:
        InputError: no runs to time, or a file that is there already.
    """
    if min(options.runs, options.per_turn) < 1 or options.warmup < 0:
        raise InputError("there must be runs to time", where="--runs, --per-turn, --warmup", hint="give 1 or more")
    if not options.json.exists():
        return []
    if not (options.force or options.resume):
        hint = "--force replaces it, --resume adds what it lacks"
        raise InputError("exists already", where=str(options.json), hint=hint)
    return results.read(options.json) if options.resume else []


def parse_cpu(cpu: int | None) -> int:
    """The core to use. Raises InputError where this process may not."""
    allowed = sorted(os.sched_getaffinity(0))
    if cpu is None:
        return allowed[-1]
    if cpu not in allowed:
        raise InputError(f"this process may not run on core {cpu}", where="--cpu", hint=f"one of {allowed}")
    return cpu


def left(started: float, done: int, all: int) -> str:
    """How long it will still take, from the cases so far."""
    if done == 0:
        return ""
    seconds = (time.monotonic() - started) / done * (all - done)
    return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"


def noter(prefix: str) -> Callable[[str], None]:
    return lambda text: note(f"{prefix}: {text}", passing=True)


def note(text: str, *, passing: bool = False) -> None:
    """To stderr. A ``passing`` note is overwritten by the next one, and left out where nobody watches."""
    watched = sys.stderr.isatty()
    if passing and not watched:
        return
    print(f"\r\x1b[K{text}" if watched else text, end="" if passing else "\n", file=sys.stderr, flush=True)


def as_typed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, json: Path | None) -> str:
    """The command line, to be typed again; of the path of ``--json`` the name, since folders are this machine's."""
    given = sys.argv[1:] if arguments is None else arguments
    words = [word.replace(str(json), json.name) if json is not None else word for word in given]
    return f"{parser.prog} {shlex.join(words)}".strip()
