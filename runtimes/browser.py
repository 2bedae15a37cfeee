"""Runs a WebAssembly bundle in a browser of the user's: what the runtimes chromium and firefox share.

The browser is started without a window, on a profile of its own, and shows one page (page.py), whose worker runs the
model until the session is closed. It keeps its processes in one group, which is killed in the end.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.lines import OnLine
from edgesparse.runtimes.node import cpu_count, read_files
from edgesparse.runtimes.page import Job, Page
from edgesparse.runtimes.program import Finished, ProgramSession, ports
from edgesparse.runtimes.session import Session, thread_count

START_S = 120.0  # the longest that a browser may take to show its page
LOOK_S = 0.2  # so often it is looked at whether the browser still lives

# "$1" is the folder to remove, the rest the browser with its options. Before it becomes the browser, the shell leaves
# behind a watcher whose input ends when this process does, however that ends.
GUARD = """
folder=$1; shift
exec 3<&0
{ trap '' TERM; cat <&3 >/dev/null; kill -s TERM 0; sleep 1; rm -rf -- "$folder"; kill -s KILL 0; } &
exec "$@" 3<&- </dev/null
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """A browser. ``name`` is that of its runtime, ``title`` what people call it.

    ``agent`` finds its major version in what it calls itself; before ``oldest`` it lacked ``oldest_with``.
    ``flags`` are what makes its code optimised from the start, for the record. ``options`` turns the folder of the new
    profile into options; ``sandbox`` tells why it runs without one, or nothing.
    """

    name: str
    title: str
    variable: str
    programs: Sequence[str]
    install: str
    agent: str
    oldest: int
    oldest_with: str
    flags: str
    options: Callable[[Path], Sequence[str]]
    sandbox: Callable[[], str] = lambda: ""


def open(engine: Engine, bundle: Path, manifest: Manifest, threads: int, timeout_s: float) -> BrowserSession:
    """Start the browser with a page that has the bundle.

    Raises:
        RuntimeFailure: no such browser, one that does not start or is too old, or the bundle is damaged or needs what
            this browser has not.
        InputError: more threads than CPUs.
    """
    program = find(engine, bundle)
    threads = thread_count(threads, cpu_count())
    files = {**read_files(bundle, manifest, threads), "manifest.json": manifest.model_dump_json().encode()}
    return BrowserSession(engine, bundle, manifest, program, files, threads, timeout_s)


def find(engine: Engine, bundle: Path) -> str:
    """The program: what its variable of the environment names, or the first on $PATH. Raises RuntimeFailure."""
    chosen = os.environ.get(engine.variable)
    for name in [chosen] if chosen else engine.programs:
        if path := shutil.which(name):
            return path
    missing = f"${engine.variable} is {chosen}, which is no program" if chosen else f"{engine.title} is not installed"
    raise RuntimeFailure(missing, where=str(bundle), hint=f"{engine.install}, or set ${engine.variable} to where it is")


class BrowserSession(ProgramSession):
    """One page of one browser, from `open` to `close`; its worker keeps the model loaded.

    When the browser fails (not the model) the session is closed: there is nothing left that could run.
    """

    def __init__(
        self, engine: Engine, bundle: Path, manifest: Manifest, program: str, files: Mapping[str, bytes], threads: int,
        timeout_s: float,
    ) -> None:  # fmt: skip
        command = [program, "--bundle", "bundle", "--threads", str(threads)]
        super().__init__(bundle, manifest, {}, command, timeout_s=timeout_s)
        self._engine = engine
        self._jobs = 0
        self._held = ExitStack()
        try:
            self._page = self._serve(files)
            self._held.callback(self._page.close)
            self._process = self._held.enter_context(_Process(engine, program, self._page.url, self._failure))
            by_hand = f"try it by hand: {program} --version"
            hello = self._said("hello", min(START_S, timeout_s), "showed no page that answers", by_hand)
            self.machine.update(_machine(engine, hello, threads))
            self._check(hello)
        except BaseException:
            self.close()
            raise

    def _serve(self, files: Mapping[str, bytes]) -> Page:
        try:
            return Page(files)
        except OSError as error:
            raise self._failure(f"cannot listen on 127.0.0.1: {error.strerror}") from error

    def close(self) -> None:
        """End the browser and the server, and remove the profile."""
        self._held.close()

    # pages generate by themselves, with generate.mjs: there is no program that does
    generate_tokens, score_tokens = Session.generate_tokens, Session.score_tokens

    def _run(
        self, folder: Path, arguments: Sequence[str], inputs: Sequence[str], outputs: Sequence[str],
        on_line: OnLine | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        if self._page.closed:
            raise self._failure(f"{self._engine.title} has ended", "open the bundle again")
        samples = int(arguments[arguments.index("--samples") + 1])
        self._jobs += 1
        to = {
            f"files/{name}": (folder / name, port.bytes * samples)
            for name, port in zip(outputs, self.manifest.outputs, strict=True)
        }
        words = [*arguments[1:], *ports("files", inputs, outputs)]
        self._page.give(Job(self._jobs, words, {f"files/{name}": folder / name for name in inputs}, to))
        try:
            done = self._said("done", self._timeout_s, "did not finish", "raise timeout_s")
        except BaseException:
            self.close()
            raise
        return self._facts(_finished(done))

    def _said(self, name: str, limit_s: float, late: str, hint: str) -> dict[str, Any]:
        """What the page says under ``name``, once it does. Raises RuntimeFailure where the browser ends, or takes too
        long (what that is called, and what helps)."""
        page, end = self._page, time.monotonic() + limit_s
        while True:
            with page.changed:
                page.changed.wait_for(lambda: name in page.said or "failed" in page.said or page.gone, LOOK_S)
                found, failed, gone = page.said.get(name), page.said.get("failed"), page.gone
            if failed is not None:  # what follows from it may have been said since
                raise self._page_failed(failed)
            if found is not None:
                return found
            title = self._engine.title
            if why := self._process.ended(wait_s=1.0 if gone else 0.0):
                raise self._failure(f"{title} ended: {why}", f"try it by hand: {self._process.program} --version")
            if gone:
                raise self._failure(f"the page in {title} ended, though {title} runs", "is there enough memory?")
            if time.monotonic() > end:
                raise self._failure(f"{title} {late} within {limit_s:g} s and was stopped", hint)

    def _page_failed(self, failed: Mapping[str, Any]) -> RuntimeFailure:
        if old := self._too_old(str(failed.get("agent", ""))):
            return old
        return self._failure(f"the page in {self._engine.title} failed: {_plain(failed.get('why'))}")

    def _check(self, hello: Mapping[str, Any]) -> None:
        """Whether it has what the bundle needs; threads are the loader's to refuse. Raises RuntimeFailure."""
        if old := self._too_old(str(hello.get("agent", ""))):
            raise old
        if all("relaxed" in isa for isa in self.manifest.isas) and hello.get("relaxed_simd") is not True:
            raise self._failure(
                f"the bundle uses WebAssembly relaxed SIMD, which {self.machine['engine']} does not have",
                "compile with --device browser, which also has a build without",
            )

    def _too_old(self, agent: str) -> RuntimeFailure | None:
        engine, major = self._engine, re.search(self._engine.agent, agent)
        if major is None or int(major[1]) >= engine.oldest:
            return None
        return self._failure(
            f"{self._process.program} is {engine.title} {major[1]}; {engine.oldest}, the first with "
            f"{engine.oldest_with}, or newer is needed", engine.install,
        )  # fmt: skip


class _Process:
    """The browser, on the profile in a folder of its own, until the end of the context."""

    def __init__(self, engine: Engine, program: str, url: str, failure: Callable[[str, str], RuntimeFailure]) -> None:
        self.program = program
        self._held = ExitStack()
        try:
            self._start(engine, url)
        except BaseException as error:
            self._held.close()
            if isinstance(error, OSError):
                raise failure(f"{program} cannot be started: {error}", "free some space, or set TMPDIR") from error
            raise

    def _start(self, engine: Engine, url: str) -> None:
        """Raises OSError."""
        self._folder = Path(tempfile.mkdtemp(prefix="edgesparse-"))
        self._held.callback(_remove, self._folder)
        profile = self._folder / "profile"
        profile.mkdir()
        command = ["sh", "-c", GUARD, "sh", str(self._folder), self.program, *engine.options(profile), url]
        # what browsers write outside of their profile goes to the same folder
        homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR"), str(self._folder))
        log = self._held.enter_context((self._folder / "log").open("wb"))
        self._started = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**os.environ, **homes}, start_new_session=True
        )
        self._held.callback(self._kill)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def ended(self, wait_s: float) -> str:
        """How it ended, with its own words; nothing while it runs, which is asked for so long."""
        with suppress(subprocess.TimeoutExpired):
            code = self._started.wait(wait_s)
            how = f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"
            words = _last_words(self._folder / "log")
            return f"{how}: {words}" if words else how
        return ""

    def _kill(self) -> None:
        """All of its processes: it has nothing that it should save."""
        with suppress(ProcessLookupError):
            os.killpg(self._started.pid, signal.SIGKILL)
        self._started.wait()
        if self._started.stdin is not None:
            self._started.stdin.close()


def _machine(engine: Engine, hello: Mapping[str, Any], threads: int) -> dict[str, str]:
    agent = re.search(engine.agent, str(hello.get("agent", "")))
    version = _plain(hello.get("version")) or (agent[1] if agent else "")
    found = f"{engine.title} {version}".strip()
    why_no_threads = _plain(hello.get("why_no_threads"))
    facts = {
        "runtime": engine.name, "engine": found, "cpu": platform.machine(), "flags": engine.flags,
        "threads": str(threads),
        "cross_origin_isolated": "yes" if hello.get("cross_origin_isolated") is True else "no",
        "shared_memory": f"off: {why_no_threads}" if why_no_threads else "on",
        "relaxed_simd": "on" if hello.get("relaxed_simd") is True else f"off: {found} does not have it",
        "clock_step_ns": _plain(hello.get("clock_step_ns")),
        "timing": "WebAssembly in a browser on this machine, not a device timing",
    }  # fmt: skip
    return {**facts, "sandbox": f"off: {why}"} if (why := engine.sandbox()) else facts


def _finished(done: Mapping[str, Any]) -> Finished:
    """As a program's end; what is no such document becomes one that failed."""
    code, out, err = done.get("exit_code"), done.get("stdout"), done.get("stderr")
    if type(code) is not int or not 0 <= code <= 255 or not isinstance(out, str) or not isinstance(err, str):
        return Finished(2, b"", b"the page gave an answer that is none")
    return Finished(code, out.encode(errors="replace"), _plain(err, 4000).encode())


def _plain(value: object, most: int = 500) -> str:
    """Text without characters that move a terminal's cursor."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text[:most]).strip()


def _last_words(log: Path) -> str:
    """Of a browser: the fatal line, or the last one."""
    with suppress(OSError):
        lines = [line for line in log.read_bytes()[-100_000:].decode(errors="replace").splitlines() if line.strip()]
        fatal = [line for line in lines if "FATAL" in line or "No usable sandbox" in line]
        return _plain([*lines[-1:], *fatal[:1]][-1]) if lines else ""
    return ""


def _remove(folder: Path) -> None:
    """The kernel may still be at ending processes that were writing there."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
