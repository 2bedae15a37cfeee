"""Models in Chromium and Firefox, and in browsers that only pretend: every way in which one can fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgesparse.runtimes as runtimes
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes import browser, chromium, firefox, page
from edgesparse.runtimes.browser import BrowserSession

from .conftest import K, MakeBundle, W, X, write_manifest
from .test_open import need

ENGINES = {"chromium": chromium.ENGINE, "firefox": firefox.ENGINE}
PATIENCE_S = 60.0  # for what happens at once on a machine with nothing else to do


@pytest.fixture(params=sorted(ENGINES))
def name(request: pytest.FixtureRequest, require: object) -> str:
    need(require, request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where profiles are made. In the end there is none, no thread that a test started, and no process that was told
    of the folder. (Not ``tmp_path``: the path of a socket must be short.)"""
    before = set(threading.enumerate())
    with tempfile.TemporaryDirectory(prefix="es", dir="/tmp") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)
        assert list(Path(path).iterdir()) == []
        assert set(threading.enumerate()) == before
        end = time.monotonic() + PATIENCE_S
        while processes(path) and time.monotonic() < end:  # a killed one needs a moment
            time.sleep(0.05)
        assert processes(path) == {}


def processes(folder: str) -> dict[int, str]:
    """Those with the folder in their environment or arguments: their arguments by their number."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                arguments, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if folder.encode() in arguments + environment:
                found[int(entry.name)] = arguments.replace(b"\0", b" ").decode(errors="replace")
    return found


def opened(bundle: Path, name: str, threads: int = 1) -> BrowserSession:
    session = runtimes.open(bundle, name, timeout_s=PATIENCE_S, threads=threads)
    assert isinstance(session, BrowserSession)
    return session


class TestReal:
    def test_what_the_machine_is(self, name: str, built: Callable[..., Path]) -> None:
        with opened(built("wasm"), name) as session:
            found = session.machine
            session.run({"x": X, "k": K})
        assert found["engine"].startswith(ENGINES[name].title) and found["engine"][-1].isdecimal()
        assert (found["cross_origin_isolated"], found["shared_memory"]) == ("yes", "on")
        assert found["relaxed_simd"] == "on" or found["relaxed_simd"].startswith(f"off: {found['engine']}")
        assert found["threads"] == "1" and found["isa"] == "toy" and int(found["clock_step_ns"]) > 0
        assert found["timing"] == "WebAssembly in a browser on this machine, not a device timing"
        assert ("sandbox" in found) == (name == "chromium" and os.geteuid() == 0)

    def test_calls_are_timed_with_one_browser_for_all(
        self, name: str, toy: MakeBundle, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[object] = []
        popen = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k))  # type: ignore[func-returns-value]
        bundle = toy("wasm")
        layer = {
            "name": "l", "op": "add", "kernel": "k", "reads": ("x",), "writes": ("y",), "shape": (1, 5), "macs": 5,
            "weight_bytes": 20, "pattern": "", "zeros": 0.0, "calls": (0,),
        }  # fmt: skip
        write_manifest(bundle, "wasm", layers=(layer,))
        with opened(bundle, name) as session:
            for runs in (3, 5):
                found = session.time_calls({"x": X, "k": K}, num_runs=runs, warmup_runs=1)
                assert len(found.wall_ns) == len(found.call_ns) == runs
                assert all(len(calls) == 1 and calls[0] >= 0 for calls in found.call_ns)
                assert np.array_equal(found.outputs[0], 2 * X + W) and found.facts["clock_step_ns"] > 0
            few = session.time_calls({"x": X, "k": K}, num_runs=10**7, max_secs=1)
            assert 1 <= len(few.wall_ns) < 10**8
        assert len(started) == 1

    @pytest.mark.cpus(2)
    def test_threads(self, name: str, built: Callable[..., Path]) -> None:
        with opened(built("wasm"), name, threads=2) as session:
            assert np.array_equal(session.run({"x": X, "k": K})["y"], 2 * X + W)
            assert session.machine["threads"] == "2"
        with opened(built("wasm"), name, threads=0) as session:
            assert session.machine["threads"] == str(len(os.sched_getaffinity(0)))

    @pytest.mark.cpus(2)
    def test_a_page_that_is_not_isolated_says_so(
        self, name: str, built: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(page, "HEADERS", {"Cache-Control": "no-store"})
        with opened(built("wasm"), name, threads=2) as session:
            assert session.machine["cross_origin_isolated"] == "no"
            assert session.machine["shared_memory"] == "off: crossOriginIsolated is false"
            with pytest.raises(RuntimeFailure, match="2 threads, but crossOriginIsolated is false"):
                session.run({"x": X, "k": K})
        with opened(built("wasm"), name) as session:
            assert np.array_equal(session.run({"x": X, "k": K})["n"], K + 1), "one thread needs no isolation"

    def test_more_threads_than_cpus(self, name: str, built: Callable[..., Path]) -> None:
        with pytest.raises(InputError, match="200 threads"):
            runtimes.open(built("wasm"), name, threads=200)

    def test_a_model_that_fails_leaves_the_session_open(self, name: str, toy: MakeBundle) -> None:
        with opened(toy("wasm", "-DTOY_FAILS"), name) as session:
            for _ in range(2):
                with pytest.raises(RuntimeFailure, match="model_run returned 1"):
                    session.run({"x": X, "k": K})

    def test_a_model_that_hangs_is_stopped(self, name: str, toy: MakeBundle) -> None:
        with opened(toy("wasm", "-DTOY_HANGS"), name) as session:
            session._timeout_s = 0.5
            with pytest.raises(RuntimeFailure, match=r"did not finish within 0.5 s") as caught:
                session.run({"x": X, "k": K})
            assert caught.value.exit_code == 4 and "timeout_s" in caught.value.hint
            with pytest.raises(RuntimeFailure, match="has ended"):
                session.run({"x": X, "k": K})

    @pytest.mark.parametrize("what", ["browser", "page"])
    def test_killed_in_the_middle(self, name: str, toy: MakeBundle, folder: Path, what: str) -> None:
        with opened(toy("wasm", "-DTOY_HANGS"), name) as session:
            threading.Timer(0.5, lambda: self.kill(session, what, str(folder))).start()
            words = r"ended: signal 9 \(Killed\)" if what == "browser" else "the page in .* ended"
            with pytest.raises(RuntimeFailure, match=words) as caught:
                session.run({"x": X, "k": K})
            assert caught.value.exit_code == 4

    @staticmethod
    def kill(session: BrowserSession, what: str, folder: str) -> None:
        if what == "browser":
            os.kill(session._process._started.pid, signal.SIGKILL)
            return
        for pid, arguments in processes(folder).items():
            if "--type=renderer" in arguments or ("-contentproc" in arguments and arguments.rstrip().endswith(" tab")):
                os.kill(pid, signal.SIGKILL)

    def test_nothing_is_left_when_we_are_killed(self, name: str, built: Callable[..., Path], folder: Path) -> None:
        """The fixture looks for processes; the folder is removed by the browser's own watcher."""
        text = f"""
import time
from edgesparse import runtimes
with runtimes.open({str(built("wasm"))!r}, {name!r}):
    print("open", flush=True)
    time.sleep(600)
"""
        command = [sys.executable, "-c", text]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder)}) as ours:
            assert ours.stdout is not None and ours.stdout.readline() == b"open\n"
            assert len(list(folder.iterdir())) == 1 and len(processes(str(folder))) > 1
            ours.kill()
        end = time.monotonic() + PATIENCE_S
        while list(folder.iterdir()) and time.monotonic() < end:
            time.sleep(0.1)

    def test_nobody_else_disturbs(self, name: str, built: Callable[..., Path]) -> None:
        from .test_page import ask

        with opened(built("wasm"), name) as session:
            assert ask(session._page, "POST", "done", b"{}").status == 409
            assert ask(session._page, "POST", "/guess/done", b"{}").status == 404
            assert np.array_equal(session.run({"x": X, "k": K})["y"], 2 * X + W)

    def test_an_output_disk_that_is_full(self, name: str, built: Callable[..., Path]) -> None:
        """The page says that it cannot send before anybody has seen why."""
        with opened(built("wasm"), name) as session:
            write, take, said = Path.write_bytes, page.Page.take, session._page.said
            with pytest.MonkeyPatch.context() as patch:

                def full(self: Path, data: bytes) -> int:
                    if self.name == "out0.bin":
                        raise OSError(28, "No space left on device")
                    return write(self, data)

                def unnoticed(self: page.Page, name: str, value: dict[str, Any]) -> bool:
                    if name != "failed":
                        return take(self, name, value)
                    with self.changed:
                        self.said[name] = value
                    return True

                patch.setattr(Path, "write_bytes", full)
                patch.setattr(page.Page, "take", unnoticed)
                patch.setattr(browser, "LOOK_S", 60)
                with pytest.raises(RuntimeFailure, match=r"cannot write .*out0.bin: No space left"):
                    session.run({"x": X, "k": K})
            assert "done" in said


FAKE = f"""#!{sys.executable}
import json, os, sys, time, urllib.request
url = sys.argv[-1].replace("page.html", "")
def get(name): return urllib.request.urlopen(url + name).read()
def post(name, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(url + name, data, method="POST")).status
hello = {{
    "agent": "HeadlessChrome/150.0", "version": "", "cross_origin_isolated": True, "simd": True, "relaxed_simd": True,
    "why_no_threads": "", "clock_step_ns": 5000,
}}
"""


class TestPretended:
    """Programs that are started as if they were Chromium."""

    @pytest.fixture
    def start(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: Callable[..., Path]
    ) -> Callable[..., BrowserSession]:
        def start(text: str, bundle: Path | None = None) -> BrowserSession:
            program = tmp_path / "browser"
            program.write_text(FAKE + text)
            program.chmod(0o755)
            monkeypatch.setenv("CHROMIUM", str(program))
            return opened(bundle or built("wasm"), "chromium")

        return start

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("sys.exit('no display')", "Chromium ended: exit code 1: no display"),
            ("print('x FATAL: No usable sandbox!\\n#0 0xabc', file=sys.stderr); os.abort()",
             r"signal 6 \(Aborted\): x FATAL: No usable sandbox!"),
            ("print('\\x1b[2J\\x07gone', file=sys.stderr); sys.exit(3)", r"exit code 3: \[2J gone"),
            ("post('failed', {'why': 'no workers'}); time.sleep(99)", "the page in Chromium failed: no workers"),
            ("post('failed', {'why': 'x', 'agent': 'Chrome/80.0'}); time.sleep(99)", "is Chromium 80; 91, the first"),
            ("hello['agent'] = 'Chrome/90.0'; post('hello', hello); time.sleep(99)", "is Chromium 90; 91, the first"),
        ],
    )  # fmt: skip
    def test_at_the_start(self, start: Callable[..., BrowserSession], text: str, words: str) -> None:
        with pytest.raises(RuntimeFailure, match=words) as caught:
            start(text)
        assert caught.value.exit_code == 4

    def test_one_that_cannot_be_executed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: Callable[..., Path]
    ) -> None:
        program = tmp_path / "browser"
        program.write_text("#!/no/such/interpreter\n")
        program.chmod(0o755)
        monkeypatch.setenv("CHROMIUM", str(program))
        with pytest.raises(RuntimeFailure, match=r"ended: exit code 12[67]"):
            runtimes.open(built("wasm"), "chromium")

    def test_a_page_that_never_answers(
        self, start: Callable[..., BrowserSession], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(browser, "START_S", 0.5)
        with pytest.raises(RuntimeFailure, match=r"showed no page that answers within 0.5 s") as caught:
            start("get('page.html'); time.sleep(99)")
        assert "by hand" in caught.value.hint

    def test_processes_that_ignore_being_asked_are_killed(
        self, start: Callable[..., BrowserSession], folder: Path
    ) -> None:
        """It has a child that would live on, and neither ends when asked."""
        text = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0: time.sleep(999)
post('hello', hello); time.sleep(999)
"""
        with start(text):
            assert len(processes(str(folder))) >= 3

    def test_relaxed_simd_that_it_lacks(self, start: Callable[..., BrowserSession], toy: MakeBundle) -> None:
        bundle = toy("wasm")
        write_manifest(bundle, "wasm", isas=("relaxed",))
        text = "hello['relaxed_simd'] = False; post('hello', hello); time.sleep(99)"
        with pytest.raises(RuntimeFailure, match="relaxed SIMD, which Chromium 150 does not have") as caught:
            start(text, bundle)
        assert "--device browser" in caught.value.hint
        write_manifest(bundle, "wasm", isas=("simd128",))
        with start(text, bundle) as session:
            assert session.machine["relaxed_simd"] == "off: Chromium 150 does not have it"

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            ("{}", "an answer that is none"),
            ("{'exit_code': 'x', 'stdout': '', 'stderr': ''}", "an answer that is none"),
            ("{'exit_code': 10**9, 'stdout': '', 'stderr': ''}", "an answer that is none"),
            ("{'exit_code': 0, 'stdout': 'nothing', 'stderr': ''}", "no JSON document"),
            ("{'exit_code': 0, 'stdout': '\\ud800', 'stderr': ''}", "no JSON document"),
            ("{'exit_code': 0, 'stdout': '{}', 'stderr': ''}", "output 'y' has 0 bytes, expected 20"),
            ("{'exit_code': 2, 'stdout': '', 'stderr': '\\x1b]0;x\\x07bad'}", r"\]0;x bad"),
        ],
    )
    def test_answers_that_are_none(self, start: Callable[..., BrowserSession], answer: str, words: str) -> None:
        text = f"""
post('hello', hello)
job = json.loads(get('job'))
post('done', {{'number': job['number'], **{answer}}})
time.sleep(99)
"""
        with start(text) as session, pytest.raises(RuntimeFailure, match=words) as caught:
            session.run({"x": X, "k": K})
        assert "\x1b" not in str(caught.value)

    def test_one_that_ends_in_the_middle(self, start: Callable[..., BrowserSession]) -> None:
        with start("post('hello', hello); get('job'); sys.exit(5)") as session:
            with pytest.raises(RuntimeFailure, match="ended: exit code 5"):
                session.run({"x": X, "k": K})
            with pytest.raises(RuntimeFailure, match="has ended"):
                session.run({"x": X, "k": K})

    def test_what_it_is_told(self, start: Callable[..., BrowserSession]) -> None:
        text = """
post('hello', hello)
job = json.loads(get('job'))
words = job['words']
assert words[:4] == ['--bundle', 'bundle', '--threads', '1'], words
assert len(get('files/in0.bin')) == 2 * 20 and len(get('files/in1.bin')) == 2 * 24
post('files/out0.bin', bytes(40)); post('files/out1.bin', bytes(48))
post('done', {'number': job['number'], 'exit_code': 0, 'stdout': '{"isa": "toy"}', 'stderr': ''})
time.sleep(99)
"""
        with start(text) as session:
            found = session.run({"x": np.repeat(X, 2, 0), "k": np.stack([K, K])}, each=True)
        assert found["y"].shape == (2, 5) and not found["y"].any()


def test_profiles_are_new_and_private() -> None:
    with tempfile.TemporaryDirectory() as path:
        options = firefox.options(Path(path))
        assert options[-2:] == ["--profile", path]
        lines = Path(path, "user.js").read_text().splitlines()
        assert 'user_pref("javascript.options.wasm_baselinejit", false);' in lines
        assert all(json.loads(f"[{line[10:-2]}]") for line in lines)


@pytest.mark.parametrize(("user", "expected"), [(0, True), (1000, False)])
def test_only_root_goes_without_a_sandbox(monkeypatch: pytest.MonkeyPatch, user: int, expected: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert ("--no-sandbox" in chromium.options(Path("/p"))) == expected == bool(chromium.why_no_sandbox())
