"""Runs a model in another process that speaks the options of the program in a bundle.

``COMMAND --input IN.bin .. --output OUT.bin .. --samples N --num-runs R --warmup-runs W --json``:
raw little-endian files, N samples one after the other, one JSON document on stdout; exit code 2 and
one line on stderr when something is wrong (see main.c and runner.mjs).
"""

from __future__ import annotations

import math
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.manifest_decoder import DecoderFacts
from edgesparse.runtimes import generation
from edgesparse.runtimes.arrays import Sample
from edgesparse.runtimes.facts import parse_facts
from edgesparse.runtimes.lines import OnLine, last_line, run_lines
from edgesparse.runtimes.session import Progress, Session
from edgesparse.types import DTYPES, Array, CallTimes
from edgesparse.workspace import workspace

DEFAULT_TIMEOUT_S = 600.0
SIZES = ("big", "little")
CORES = (*SIZES, "all")


class Finished(NamedTuple):
    """How a program ended: ``exit_code`` is 128 + N where signal N killed it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class ProgramSession(Session):
    """Every call starts ``command`` once, with its files in a temporary folder.

    ``bench_command`` is used for timed runs when it differs. Progress is reported once, at the end.
    ``OWN_PROGRAM``: what is started is the program of a bundle (main.c), which chooses cores and counts zeros.
    """

    OWN_PROGRAM = False

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
        self._cores = ""

    @property
    def chooses_cores(self) -> bool:
        return self.OWN_PROGRAM

    def renew(self) -> bool:
        return True  # every call starts the program

    def use_cores(self, cores: str) -> None:
        if not self.OWN_PROGRAM:
            super().use_cores(cores)
        if cores not in CORES and not re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,256}", cores):
            raise InputError(
                f"'{cores}' are no cores", where="cores", hint="big, little, all, or a mask of CPU numbers: 0xf0"
            )
        self._cores = cores

    def run_samples(self, samples: Sequence[Sample]) -> list[Sample]:
        return self._start(self._command, samples, [])[0]

    def time_sample_calls(
        self, sample: Sample, num_runs: int, warmup_runs: int, max_secs: int | None, on_progress: Progress | None
    ) -> CallTimes:
        more = ["--per-layer"]
        if self.OWN_PROGRAM and (places := zeros_option(self.manifest)):
            more += ["--zeros", places]
        outputs, wall_ns, facts = self._time(sample, num_runs, warmup_runs, max_secs, more)
        call_ns = tuple(without(run, facts.get("empty_call_ns", 0)) for run in facts.pop("call_ns", ()))
        calls = 1 + max((max(x.calls) for x in self.manifest.layers if x.calls), default=-1)
        if not wall_ns or len(call_ns) != len(wall_ns) or any(len(run) != calls for run in call_ns):
            raise self._failure(f"the program timed {len(wall_ns)} runs, {len(call_ns)} of them by kernel calls")
        if on_progress is not None:
            on_progress(len(wall_ns), len(wall_ns))
        return CallTimes(outputs, wall_ns, call_ns, facts)

    def time_sample_runs(self, sample: Sample, num_runs: int, warmup_runs: int, max_secs: int) -> CallTimes:
        outputs, wall_ns, facts = self._time(sample, num_runs, warmup_runs, max_secs, [])
        if not wall_ns:
            raise self._failure("the program timed no run")
        return CallTimes(outputs, wall_ns, (), facts)

    def time_sample(
        self, sample: Sample, num_runs: int, warmup_runs: int, on_progress: Progress | None
    ) -> tuple[Sample, tuple[int, ...]]:
        outputs, wall_ns, _ = self._time(sample, num_runs, warmup_runs, None, [])
        if len(wall_ns) != num_runs:
            raise self._failure(f"the program timed {len(wall_ns)} runs, not {num_runs}")
        if on_progress is not None:
            on_progress(num_runs, num_runs)
        return outputs, wall_ns

    def generate_tokens(
        self, decoder: DecoderFacts, prompt: Sequence[int], request: generation.Request,
        on_token: generation.OnToken | None,
    ) -> generation.Generated:  # fmt: skip
        def on_line(line: bytes) -> None:
            if on_token is not None and (word := line.strip()).isdigit():
                if len(word) > 9 or int(word) >= decoder.vocabulary:
                    raise self._failure(f"the program printed a token that there is not: {word[:20].decode()}")
                on_token(int(word))

        with self._files(np.asarray(prompt, np.int32)) as folder:
            words = [*self._command, *generation.options(decoder, request), "--json", "--stream"]
            facts = self._run(folder, words, ["in.bin"], [], on_line)
        return self._generated(facts, decoder)

    def score_tokens(self, decoder: DecoderFacts, windows: Array, dense: bool) -> tuple[Array, generation.Cost]:
        shape = windows.shape[0], windows.shape[1] - 1
        with self._files(windows.astype(np.int32)) as folder:
            words = [*self._command, "--score", str(windows.shape[1]), "--json", *(["--dense"] if dense else [])]
            facts = self._run(folder, words, ["in.bin"], ["out.bin"])
            losses = np.fromfile(folder / "out.bin", np.float32)
        if losses.size != shape[0] * shape[1]:
            raise self._failure(f"the program gave {losses.size} losses, not {shape[0] * shape[1]}")
        return losses.reshape(shape), self._generated(facts, decoder).cost

    def _generated(self, facts: dict[str, Any], decoder: DecoderFacts) -> generation.Generated:
        self.machine["isa"] = str(facts.get("isa", ""))
        try:
            return generation.said(facts, decoder)
        except RuntimeFailure as error:
            raise self._failure(error.what, error.hint) from error

    @contextmanager
    def _files(self, tokens: Array) -> Iterator[Path]:
        """A temporary folder with ``in.bin``."""
        with workspace(Path(tempfile.gettempdir())) as folder:
            try:
                tokens.tofile(folder / "in.bin")
            except OSError as error:
                what = f"cannot write {folder / 'in.bin'}: {error.strerror}"
                raise self._failure(what, "free some space, or set TMPDIR") from error
            yield folder

    def _time(
        self, sample: Sample, num_runs: int, warmup_runs: int, max_secs: int | None, more: Sequence[str]
    ) -> tuple[Sample, tuple[int, ...], dict[str, Any]]:
        """Outputs, nanoseconds of each timed run, and what else the program says."""
        options = ["--num-runs", str(num_runs), "--warmup-runs", str(warmup_runs), *more]
        options += ["--max-secs", str(max_secs)] if max_secs is not None else []
        options += ["--cores", self._cores] if self._cores else []
        (outputs,), facts = self._start(self._bench_command, [sample], options)
        if self._cores:
            cpus = facts.get("cpus") or (facts.get("watched_cpus") if self._cores not in SIZES else [])
            on = f"CPU {', '.join(map(str, cpus))}" if cpus else "not chosen: all cores are of one kind"
            self.machine["cores"] = f"{self._cores} ({on})"
        return outputs, tuple(facts.pop("wall_ns", ())), facts

    def _start(
        self, command: Sequence[str], samples: Sequence[Sample], more: Sequence[str]
    ) -> tuple[list[Sample], dict[str, Any]]:
        """Outputs of every sample, and what the program says of itself."""
        with workspace(Path(tempfile.gettempdir())) as folder:
            inputs = [f"in{i}.bin" for i in range(len(self.manifest.inputs))]
            outputs = [f"out{i}.bin" for i in range(len(self.manifest.outputs))]
            try:
                for i, name in enumerate(inputs):
                    with (folder / name).open("wb") as file:
                        for sample in samples:
                            file.write(sample[i].data)
            except OSError as error:
                what = f"cannot write {folder / name}: {error.strerror}"
                raise self._failure(what, "free some space, or set TMPDIR") from error
            facts = self._run(folder, [*command, "--json", "--samples", str(len(samples)), *more], inputs, outputs)
            columns = [self._read(folder / name, i, len(samples)) for i, name in enumerate(outputs)]
        self.machine["isa"] = str(facts.get("isa", ""))
        return [tuple(column[s] for column in columns) for s in range(len(samples))], facts

    def _run(
        self, folder: Path, arguments: Sequence[str], inputs: Sequence[str], outputs: Sequence[str],
        on_line: OnLine | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Run to the end, from and to these files of ``folder``; the JSON document. Raises RuntimeFailure.

        With ``on_line`` the document is the last line; the others are told as they come, where that can be."""
        arguments = [*arguments, *ports(str(folder), inputs, outputs)]
        try:
            done = run_lines(arguments, self._timeout_s, on_line)
        except subprocess.TimeoutExpired as error:
            raise self._late(arguments[0]) from error
        except OSError as error:
            raise self._failure(f"{arguments[0]} cannot be started: {error.strerror}") from error
        # qemu passes a signal on either way
        exit_code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return self._facts(Finished(exit_code, last_line(done.stdout) if on_line else done.stdout, done.stderr))

    def _facts(self, done: Finished) -> dict[str, Any]:
        """The JSON document that the program printed. Raises RuntimeFailure where it failed."""
        words = done.stderr.decode(errors="replace").strip()
        if done.exit_code > 128:
            number = done.exit_code - 128
            raise self._failure(
                f"the program was killed by {_signal_name(number)}" + (f": {words}" if words else ""),
                self._why_killed(number),
            )
        if done.exit_code != 0:
            raise self._failure(words or f"the program ended with exit code {done.exit_code}")
        try:
            return parse_facts(done.stdout)
        except ValueError as error:
            raise self._failure(f"the program printed {error}") from error

    def _why_killed(self, number: int) -> str:
        """What signal ``number`` says of the cause, or nothing."""
        return "the CPU lacks an instruction the bundle was compiled for" if number == signal.SIGILL else ""

    def _late(self, program: str) -> RuntimeFailure:
        what = f"{program} did not finish within {self._timeout_s:g} s and was stopped"
        return self._failure(what, "raise timeout_s")

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


def without(call_ns: Sequence[int], empty_ns: float) -> tuple[int, ...]:
    """Times of calls less what calling itself takes. What is more than a call took (by a clock of large steps it may
    seem to take nothing) is taken from the next ones, so that the sum stays right."""
    found, owed = [], 0.0
    for ns in call_ns:
        left = ns - empty_ns - owed
        found.append(max(round(left), 0))
        owed = max(-left, 0.0)
    return tuple(found)


def ports(folder: str, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """The options that name these files of ``folder``."""
    named = [("--input", name) for name in inputs] + [("--output", name) for name in outputs]
    return [word for option, name in named for word in (option, f"{folder}/{name}")]


def zeros_option(manifest: Manifest) -> str:
    """Where the program finds what each layer has written (see main.c), in the order of the calls."""
    places = [(x.calls[-1], x.held) for x in (manifest.layers[i] for i in manifest.held_in_arena())]
    return ",".join(
        f"{call}:{h.offset}:{h.planes}:{h.elements}:{h.pitch}:{h.element_bytes}" for call, h in places if h is not None
    )


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
