"""The page of a browser runtime: a server on 127.0.0.1 that gives it the bundle and jobs, and takes what it says.

Everything lies behind a random word that only our browser was told; only files named beforehand are served, each from
memory, as it was when its SHA-256 was compared. A job is the command line of a program (runtimes/web/worker.mjs).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import select
import shutil
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

FOLDER = Path(__file__).parent / "web"
FILES = ("page.html", "page.mjs", "worker.mjs", "program.mjs")
TYPES = {".html": "text/html; charset=utf-8", ".mjs": "text/javascript", ".wasm": "application/wasm"}
# With these the page is cross-origin isolated: it may share memory among threads, and its clock has finer steps.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
}  # fmt: skip
POLL_S = 20.0  # a page that asks for a job is answered after so long, with one or without
SILENCE_S = 60.0  # of a connection that sends nothing, except for the one that says that the page lives
BEAT_S = 2.0  # so often something is sent over that
SAID_BYTES, DONE_BYTES = 1 << 16, 1 << 28


@dataclass(frozen=True, slots=True)
class Job:
    """``words`` are a command line; in it, ``inputs`` and ``outputs`` are files under their names in URLs, outputs with
    their size in bytes."""

    number: int
    words: Sequence[str]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, tuple[Path, int]]


class Page(ThreadingHTTPServer):
    """Serves from `__init__` to `close`.

    ``said``: documents of the page by their names: ``hello`` once its worker is ready, ``done`` after a job (exit code,
    stdout and stderr as of a program), ``failed`` where it cannot go on. ``gone``: it lives no longer. Look at them
    holding ``changed``, which is notified of each.
    """

    daemon_threads = False  # so that server_close() waits for them

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """``files``: of the bundle."""
        self.token = secrets.token_urlsafe(24)
        self.files = {name: (FOLDER / name).read_bytes() for name in FILES}
        self.files |= {f"bundle/{name}": content for name, content in files.items()}
        self.changed = threading.Condition()
        self.said: dict[str, dict[str, Any]] = {}
        self.gone = False
        self.job: Job | None = None
        self.taken = 0  # the number of the last job that was given away
        self.closed = False
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="edgesparse-page", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/page.html"

    def give(self, job: Job) -> None:
        """What the page gets when it next asks."""
        with self.changed:
            self.job = job
            self.said.pop("done", None)
            self.changed.notify_all()

    def next_job(self) -> Job | None:
        """The job that nobody has taken yet, once there is one; None after `POLL_S`."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self._waiting() is not None, POLL_S)
            job = None if self.closed else self._waiting()
            if job is not None:
                self.taken = job.number
            return job

    def _waiting(self) -> Job | None:
        return self.job if self.job is not None and self.job.number > self.taken else None

    def take(self, name: str, value: dict[str, Any]) -> bool:
        """Into ``said``; False where it is no answer to what was asked."""
        with self.changed:
            if name in self.said or (name == "done" and (self.job is None or value.get("number") != self.job.number)):
                return False
            self.said[name] = value
            self.changed.notify_all()
            return True

    def left(self) -> None:
        """The connection that the page holds as long as it lives has ended."""
        with self.changed:
            self.gone = True
            self.changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are no news: what matters is in ``gone``."""

    def close(self) -> None:
        """Stop serving, and end every thread; closing twice is harmless."""
        with self.changed:
            if self.closed:
                return
            self.closed = True
            self.changed.notify_all()
        self.shutdown()
        self._thread.join()
        with self.changed:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request; connections are not kept."""

    server: Page
    timeout = SILENCE_S

    def setup(self) -> None:
        super().setup()
        with self.server.changed:
            self.server.connections.add(self.connection)
            if self.server.closed:
                self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        with self.server.changed:
            self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        name = self._name()
        job = self.server.job
        if name in self.server.files:
            self._answer(200, self.server.files[name], TYPES.get(PurePosixPath(name).suffix, ""))
        elif name == "job":
            found = self.server.next_job()
            if found is None:
                self._answer(204)
            else:
                body = {"number": found.number, "words": list(found.words)}
                self._answer(200, json.dumps(body).encode(), "application/json")
        elif name == "alive":
            self._head(200, {})
            with contextlib.suppress(OSError):
                self._wait_for_end()
            self.server.left()
        elif job is not None and name in job.inputs:
            with job.inputs[name].open("rb") as file:
                size = job.inputs[name].stat().st_size
                self._head(200, {"Content-Type": "application/octet-stream", "Content-Length": str(size)})
                shutil.copyfileobj(file, self.wfile)
        else:
            self._answer(404)

    def do_POST(self) -> None:
        name = self._name()
        job = self.server.job
        if name in ("hello", "failed", "done"):
            body = self._body(DONE_BYTES if name == "done" else SAID_BYTES)
            if body is not None:
                value = _document(body)
                self._answer(400 if value is None else 204 if self.server.take(name, value) else 409)
        elif job is not None and name in job.outputs:
            path, size = job.outputs[name]
            body = self._body(size)
            if body is not None:
                self._answer(self._write(path, body))
        else:
            self._answer(404)

    def _wait_for_end(self) -> None:
        """Until the page, which says nothing here, ends the connection. Raises OSError where it broke."""
        while not select.select([self.connection], [], [], BEAT_S)[0]:
            # Firefox closes a dead page's connections only when there is something that it cannot deliver.
            self.wfile.write(b".")

    def _write(self, path: Path, body: bytes) -> int:
        """The HTTP status."""
        try:
            path.write_bytes(body)
        except OSError as error:
            self.server.take("failed", {"why": f"cannot write {path}: {error.strerror}"})
            return 507
        return 204

    def _name(self) -> str:
        """What is asked for, behind the token; nothing without it."""
        path = self.path.partition("?")[0]
        prefix = f"/{self.server.token}/"
        return path[len(prefix) :] if path.startswith(prefix) else ""

    def _body(self, most: int) -> bytes | None:
        """Of at most so many bytes; None where it was refused already."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            self._answer(411)
        elif len(length) > 15 or int(length) > most:
            self._answer(413)
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self._answer(400)
        return None

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, status: int, body: bytes = b"", kind: str = "") -> None:
        length = {} if status == 204 else {"Content-Length": str(len(body))}
        self._head(status, {"Content-Type": kind or "application/octet-stream", **length})
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def _document(body: bytes) -> dict[str, Any] | None:
    """A JSON object, or None."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
