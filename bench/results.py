"""One JSON object per line and result, with everything that is needed to judge it later."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers import OURS
from bench.summary import Summary
from edgesparse.errors import InputError

SCHEMA = 1
TIMED = "timed"
STATUS = {
    TIMED: "outputs agreed, then timed",
    "differs": "outputs differ from onnxruntime's: not timed",
    "cannot": "the engine or our conversion does not take the network",
    "failed": "the engine failed",
    "unavailable": "the engine is not installed",
}


@dataclass(frozen=True, slots=True)
class Result:
    """One engine on one case.

    Lines of the same ``run`` (the time it started, UTC) were measured in turns with each other: only those may be
    divided by one another. ``zeros``: of all weights, the share in [0, 1]. ``max_rel_error``: the largest
    difference from onnxruntime's outputs over the largest of those. ``preempted``: how often something else took
    the core during timed runs.

    In WebAssembly, ``where`` is ``node`` or ``chromium``, ``backend`` the instruction set of the build, ``code_bytes``
    the size of its .wasm; pages know neither CPU time nor preemptions. Elsewhere these are empty.
    """

    run: str
    command: str
    model: str
    pattern: str
    sparsity: float
    zeros: float
    engine: str
    version: str
    threads: int
    status: str
    reason: str
    max_rel_error: float | None
    cpu: Summary | None
    wall: Summary | None
    preempted: int | None
    machine: Mapping[str, str]
    where: str = ""
    backend: str = ""
    code_bytes: int | None = None

    @property
    def clock(self) -> Summary | None:
        """What tables show: CPU time of one thread, which disturbance hardly touches. Threads are there to shorten the
        time that passes; and pages in WebAssembly know no other."""
        return self.wall if self.where or self.threads > 1 else self.cpu

    @property
    def case(self) -> tuple[object, ...]:
        return self.model, self.pattern, self.sparsity, self.engine, self.where

    @property
    def label(self) -> str:
        """The engine, and in WebAssembly its build."""
        return f"{self.engine} {self.backend}".strip()

    @property
    def brief(self) -> str:
        """The first line of ``reason``."""
        return self.reason.strip().partition("\n")[0]

    @property
    def key(self) -> tuple[object, ...]:
        """What there is one current result of."""
        # the backend of a peer is only known once it runs
        place = (self.where, self.backend if self.engine == OURS else "") if self.where else ()
        return self.model, self.pattern, self.sparsity, self.threads, self.engine, *place


def to_line(result: Result) -> str:
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(result)})


def from_line(text: str, where: str) -> Result:
    """Raises InputError that says ``where``."""
    try:
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("schema") != SCHEMA:
            raise ValueError("of another schema")
        for clock in ("cpu", "wall"):
            fields[clock] = None if fields[clock] is None else Summary(**fields[clock])
        result = Result(**fields)
        if result.status not in STATUS or (result.status == TIMED) != (result.clock is not None):
            raise ValueError(f"its status is {result.status!r}, with times {result.clock}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"not a result of bench: {type(error).__name__}: {error}", where=where,
            hint="measure again: python -m bench.networks --json FILE",
        ) from error  # fmt: skip
    return result


def read(path: Path) -> list[Result]:
    """All lines of a file, where a later line replaces an earlier one of the same case and engine.

    Raises:
        InputError: no such file, or a line that is no result.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="python -m bench.networks --json FILE writes one")
    latest: dict[tuple[object, ...], Result] = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if text.strip():
            result = from_line(text, f"{path}:{number}")
            latest[result.key] = result
    return list(latest.values())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line. Raises OSError where the disk refuses."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def save(path: Path | None, rows: Iterable[Mapping[str, Any]]) -> None:
    """`write_rows` where ``--json`` was given, and a word about it."""
    if path is not None:
        write_rows(path, rows)
        print(f"wrote {path}", file=sys.stderr)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file as they are.

    Raises:
        InputError: no such file, nothing in it, or a line that is no JSON object.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="the --json option of a benchmark writes one")
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(f"not JSON lines: {error}", where=str(path)) from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            "holds no result", where=str(path), hint="the --json option of a benchmark writes one per line"
        )
    return rows
