"""Runs a model in another process that speaks the options of the program in a bundle.

``COMMAND --input IN.bin .. --output OUT.bin .. --samples N --num-runs R --warmup-runs W --json``:
raw little-endian files, N samples one after the other, one JSON document on stdout; exit code 2 and
one line on stderr when something is wrong (see main.c and runner.mjs).
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.session import Progress, Sample, Session
from edgesparse.types import DTYPES, Array

DEFAULT_TIMEOUT_S = 600.0


class ProgramSession(Session):
    """Every call starts ``command`` once, with its files in a temporary folder.

    ``bench_command`` is used for timed runs when it differs. Progress is reported once, at the end.
    """

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        machine: Mapping[str, str],
        command: Sequence[str],
        *,
        bench_command: Sequence[str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        super().__init__(bundle, manifest, machine)
        if not (timeout_s > 0 and math.isfinite(timeout_s)):
            raise InputError(f"{timeout_s} is not a time limit in seconds", where="timeout_s")
        self._command = tuple(command)
        self._bench_command = tuple(bench_command or command)
        self._timeout_s = timeout_s

    def run_samples(self, samples: Sequence[Sample]) -> list[Sample]:
        return self._start(self._command, samples, [])[0]

    def time_sample(
        self, sample: Sample, num_runs: int, warmup_runs: int, on_progress: Progress | None
    ) -> tuple[Sample, tuple[int, ...]]:
        more = ["--num-runs", str(num_runs), "--warmup-runs", str(warmup_runs)]
        results, wall_ns = self._start(self._bench_command, [sample], more)
        if len(wall_ns) != num_runs:
            raise self._failure(f"the program timed {len(wall_ns)} runs, not {num_runs}")
        if on_progress is not None:
            on_progress(num_runs, num_runs)
        return results[0], wall_ns

    def _start(
        self, command: Sequence[str], samples: Sequence[Sample], more: Sequence[str]
    ) -> tuple[list[Sample], tuple[int, ...]]:
        """Outputs of every sample and the program's timings."""
        with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
            arguments = [*command, "--json", "--samples", str(len(samples)), *more]
            outputs = [Path(folder, f"out{i}.bin") for i in range(len(self.manifest.outputs))]
            try:
                for i in range(len(self.manifest.inputs)):
                    path = Path(folder, f"in{i}.bin")
                    with path.open("wb") as file:
                        for sample in samples:
                            file.write(sample[i].data)
                    arguments += ["--input", str(path)]
            except OSError as error:
                what = f"cannot write {path}: {error.strerror}"
                raise self._failure(what, "free some space, or set TMPDIR") from error
            for path in outputs:
                arguments += ["--output", str(path)]
            facts = self._finish(arguments)
            columns = [self._read(path, i, len(samples)) for i, path in enumerate(outputs)]
        self.machine["isa"] = str(facts.get("isa", ""))
        return [tuple(column[s] for column in columns) for s in range(len(samples))], tuple(facts.get("wall_ns", ()))

    def _finish(self, arguments: Sequence[str]) -> dict[str, list[int]]:
        """Run to the end and parse the JSON document. Raises RuntimeFailure."""
        try:
            done = subprocess.run(arguments, capture_output=True, timeout=self._timeout_s, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:
            raise self._failure(
                f"{arguments[0]} did not finish within {self._timeout_s:g} s and was stopped", "raise timeout_s"
            ) from error
        except OSError as error:
            raise self._failure(f"{arguments[0]} cannot be started: {error.strerror}") from error
        words = done.stderr.decode(errors="replace").strip()
        if done.returncode < 0 or done.returncode > 128:  # qemu passes a signal on either way
            number = -done.returncode if done.returncode < 0 else done.returncode - 128
            raise self._failure(
                f"the program was killed by {_signal_name(number)}" + (f": {words}" if words else ""),
                "the CPU lacks an instruction the bundle was compiled for" if number == signal.SIGILL else "",
            )
        if done.returncode != 0:
            raise self._failure(words or f"the program ended with exit code {done.returncode}")
        try:
            facts: dict[str, list[int]] = json.loads(done.stdout)
        except ValueError as error:
            raise self._failure(f"the program printed no JSON document: {done.stdout[:200]!r}") from error
        return facts

    def _read(self, path: Path, index: int, samples: int) -> Array:
        """Output ``index`` of all samples, (samples, *shape)."""
        port = self.manifest.outputs[index]
        content = path.read_bytes() if path.exists() else b""
        if len(content) != port.bytes * samples:
            raise self._failure(f"output '{port.name}' has {len(content)} bytes, expected {port.bytes * samples}")
        # A copy, because arrays over bytes are read-only.
        values: Array = np.frombuffer(content, DTYPES[port.dtype]).copy()
        return values.reshape(samples, *port.shape)

    def _failure(self, what: str, hint: str = "") -> RuntimeFailure:
        return RuntimeFailure(what, where=str(self.bundle), hint=hint)


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
