"""Runs the program of a bundle on a board that ssh reaches, through the library asyncssh. Times are the board's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import queue
import shlex
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.runtimes.device import (
    LONGEST_OUTPUT_BYTES,
    QUESTION_S,
    DeviceSession,
    OnPush,
    answer,
    printable,
    too_long,
)
from edgesparse.runtimes.lines import Lines, OnLine
from edgesparse.runtimes.program import DEFAULT_TIMEOUT_S, Finished
from edgesparse.runtimes.ssh_login import log_in, parse

if TYPE_CHECKING:
    import asyncssh

KINDS = ("executable",)
TARGET = "host"
STORE = ".cache/edgesparse"  # below the home folder: /tmp often runs no programs
ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}  # other names of the same
BLOCK_BYTES = 1 << 15  # of what is sent: every server takes so many, and progress has steps

T = TypeVar("T")


def open(
    bundle: Path, manifest: Manifest, *, host: str = "", threads: int = 1, timeout_s: float = DEFAULT_TIMEOUT_S,
    keep: bool = False, on_push: OnPush | None = None,
) -> DeviceSession:  # fmt: skip
    """Connect as `ssh` would (~/.ssh/config, known_hosts, keys, agent), and push what the board does not have yet.

    Args:
        host: ``[user@]host[:port]``, or a name of ~/.ssh/config.
        threads: how many run the model; 0: one for each CPU of the board.
        timeout_s: the longest that one transfer or one call of the program may take.
        keep: leave program and weights on the board, where the next session finds them.
        on_push: told how far the copying of program and weights is, from another thread.

    Raises:
        RuntimeFailure: no asyncssh, no connection, an unknown host key, another CPU, or the bundle is damaged.
        InputError: no host, or more threads than CPUs.
    """
    link = connect(host)
    try:
        system, architecture, home = link.facts()
        needed = manifest.triple.split("-")[0]
        if system != "Linux" or ARCHITECTURES.get(architecture, architecture) != needed:
            raise RuntimeFailure(
                f"runs {system} on {architecture}, but the bundle was compiled for Linux on {needed}",
                where=link.description, hint="compile it for this board: `edgesparse devices` lists those known",
            )  # fmt: skip
        if not home.startswith("/"):
            raise RuntimeFailure("tells no home folder", where=link.description)
        machine = {"runtime": "ssh", "device": link.description, "cpu": architecture, "timing": "on the device"}
        store = f"{home.rstrip('/')}/{STORE}"
        return DeviceSession(
            bundle, manifest, machine, link, store, threads=threads, timeout_s=timeout_s, keep=keep, on_push=on_push
        )
    except BaseException:
        link.close()
        raise


def connect(host: str) -> SshLink:
    """The board at ``[user@]host[:port]``; to be closed. Raises RuntimeFailure and InputError as `open`."""
    return SshLink(host)


class SshLink:
    """A connection to a board. It lives in a thread of its own, where the event loop of asyncssh runs."""

    disk = '"$HOME"'

    def __init__(self, host: str) -> None:
        if importlib.util.find_spec("asyncssh") is None:
            raise RuntimeFailure("the Python package asyncssh is not installed", hint="pip install 'edgesparse[ssh]'")
        parse(host)  # what is no address is said at once
        self.description = host
        self._connected: asyncssh.SSHClientConnection | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name=f"ssh {host}")
        self._thread.start()
        try:
            self._connection = self._connected = self._wait(log_in(host), 3 * QUESTION_S)
            self._sftp = self._do(_start_sftp(self._connection), QUESTION_S, "before anything was copied")
        except BaseException:
            self.close()
            raise

    def facts(self) -> tuple[str, str, str]:
        """Operating system, architecture and home folder; "" where the board does not tell them."""
        said = answer(self, 'uname -sm; printf "%s\\n" "$HOME"')
        uname, home, *_ = [*said.decode(errors="replace").splitlines(), "", ""]
        system, _, architecture = printable(uname).partition(" ")
        return system, architecture, home

    def run(self, command: str, timeout_s: float, on_line: OnLine | None = None) -> Finished:
        heard: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None: it has ended
        lines = None if on_line is None else Lines(heard.put)
        future = self._begin(self._run(_in_sh(command), lines), timeout_s)
        if on_line is not None:
            future.add_done_callback(lambda _: heard.put(None))
            try:
                while (line := heard.get()) is not None:
                    on_line(line)
            except BaseException:
                future.cancel()
                raise
        done = self._heard(future, "while it ran a command")
        if done.returncode is None:
            raise self._lost("while it ran a command", "the command has no exit code")
        exit_code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Finished(exit_code, _bytes(done.stdout), _bytes(done.stderr))

    async def _run(self, command: str, lines: Lines | None) -> asyncssh.SSHCompletedProcess:
        process = await self._connection.create_process(command, encoding=None, stdin=asyncio.subprocess.DEVNULL)
        try:
            said = await asyncio.gather(self._all(process.stdout, lines), self._all(process.stderr))
            done = await process.wait()
        except BaseException:
            process.close()
            raise
        done.stdout, done.stderr = said
        return done

    async def _all(self, pipe: asyncssh.SSHReader[bytes], lines: Lines | None = None) -> bytes:
        said = bytearray()
        while more := await pipe.read(1 << 16):
            said += more
            if lines is not None:
                lines.feed(more)
            if len(said) > LONGEST_OUTPUT_BYTES:
                raise too_long(self.description)
        return bytes(said)

    def push(self, files: Sequence[Path], folder: str, timeout_s: float, on_push: OnPush | None = None) -> None:
        total = sum(file.stat().st_size for file in files)
        there: dict[bytes, int] = {}

        def progress(source: bytes, _: bytes, done: int, __: int) -> None:
            there[source] = done
            if on_push is not None:
                on_push(sum(there.values()), total, "sending bytes")

        copying = self._sftp.put(
            [str(file) for file in files], folder, sparse=False, block_size=BLOCK_BYTES, progress_handler=progress
        )
        self._copy(copying, timeout_s, "while files were copied to it", lambda: self._has_no_room(total, folder))

    def pull(self, names: Sequence[str], folder: str, into: Path, timeout_s: float) -> None:
        copying = self._sftp.get([f"{folder}/{name}" for name in names], str(into), sparse=False)
        self._copy(copying, timeout_s, "while outputs were copied from it")

    def guard(self, command: str) -> _SshGuard:
        guard = _SshGuard(self)
        said = self._do(guard.start(self._connection, _in_sh(command)), QUESTION_S, "before anything was copied")
        if said:
            raise self._failure(said)
        return guard

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        if self._connected is not None:
            self._connected.close()
            with contextlib.suppress(Exception):  # it may be broken
                self._wait(self._connected.wait_closed(), QUESTION_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, timeout_s), self._loop)

    def _wait(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """What the coroutine returns. Raises TimeoutError."""
        return self._result(self._begin(coroutine, timeout_s))

    def _result(self, future: Future[T]) -> T:
        try:
            return future.result()
        except asyncio.TimeoutError as error:  # another class before Python 3.11
            raise TimeoutError from error
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _do(self, coroutine: Coroutine[Any, Any, T], timeout_s: float, when: str) -> T:
        """As `_wait`; raises RuntimeFailure where the connection is broken, or it takes too long."""
        try:
            return self._heard(self._begin(coroutine, timeout_s), when)
        except TimeoutError as error:
            raise self._failure(f"no answer within {timeout_s:g} s {when}", "look whether it is busy") from error

    def _heard(self, future: Future[T], when: str) -> T:
        """What was begun. Raises TimeoutError, and RuntimeFailure where the connection is broken."""
        import asyncssh

        try:
            return self._result(future)
        except TimeoutError:
            raise
        except (asyncssh.Error, OSError) as error:
            raise self._lost(when, str(error)) from error

    def _copy(
        self, copying: Coroutine[Any, Any, None], timeout_s: float, when: str, is_full: Callable[[], bool] | None = None
    ) -> None:
        import asyncssh

        try:
            self._wait(copying, timeout_s)
        except TimeoutError as error:
            raise self._failure(f"copying did not finish within {timeout_s:g} s", "raise timeout_s") from error
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
            raise self._lost(when, error.reason) from error
        except asyncssh.SFTPError as error:
            # OpenSSH says no more than "Failure" of a full disk
            if is_full is not None and is_full():
                raise self._failure(f"no space left on the device {when}", "free some space there") from error
            hint = "look with `df -h` and `quota` whether there is space left, and at the permissions"
            raise self._failure(f"sftp failed {when}: {error.reason}", hint) from error
        except (asyncssh.Error, OSError) as error:
            raise self._lost(when, str(error)) from error

    def _has_no_room(self, needed_bytes: int, folder: str) -> bool:
        """Whether the disk of a folder of the board has less room; False where it does not tell."""
        try:
            done = self.run(f"df -Pk {shlex.quote(folder)} | tail -n 1", QUESTION_S)
        except (RuntimeFailure, TimeoutError):
            return False
        free_kb = [*done.stdout.split()[-3:], b""][0]  # free, share, and where
        return free_kb.isdigit() and int(free_kb) * 1024 < needed_bytes

    def _lost(self, when: str, words: str) -> RuntimeFailure:
        hint = "look whether it is still running; what was copied is removed by the board itself"
        return self._failure(f"the connection broke {when} ({words})", hint)

    def _failure(self, what: str, hint: str = "") -> RuntimeFailure:
        return RuntimeFailure(printable(what), where=self.description, hint=hint)


class _SshGuard:
    """See `device.Guard`: a channel of the connection."""

    def __init__(self, link: SshLink) -> None:
        self._link = link
        self._process: asyncssh.SSHClientProcess[bytes] | None = None

    async def start(self, connection: asyncssh.SSHClientConnection, command: str) -> str:
        """What it printed where it ended before it was ready, else ""."""
        process = await connection.create_process(command, encoding=None, stderr=asyncio.subprocess.STDOUT)
        said = ""
        while line := await process.stdout.readline():
            if line == b"ready\n":
                self._process = process
                return ""
            said = printable(line)
        return said or "no folder could be made there"

    def tell(self, line: str) -> None:
        async def write() -> None:
            assert self._process is not None
            self._process.stdin.write(f"{line}\n".encode())
            await self._process.stdin.drain()

        self._link._do(write(), QUESTION_S, "while files were copied to it")

    def finish(self) -> Finished | None:
        process, self._process = self._process, None
        if process is None:
            return None

        async def end() -> Finished | None:
            process.stdin.write_eof()
            done = await process.wait()
            return None if done.returncode is None else Finished(done.returncode, _bytes(done.stdout), b"")

        try:
            return self._link._do(end(), QUESTION_S, "while it was tidied up")
        except RuntimeFailure:
            return None


async def _start_sftp(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    return await connection.start_sftp_client()


def _bytes(said: bytes | str | None) -> bytes:
    return said if isinstance(said, bytes) else b""


def _in_sh(command: str) -> str:
    """``command`` for a board on which the user's own shell may be another."""
    return f"exec sh -c {shlex.quote(command)}"
