"""The server of the demo page: it reads, on loopback unless told otherwise, and serves only files named beforehand."""

from __future__ import annotations

import errno
import shutil
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from edgesparse.demo_site import Site
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes.page import HEADERS as ISOLATED
from edgesparse.runtimes.page import TYPES as PAGE_TYPES

TYPES = {
    **PAGE_TYPES, ".css": "text/css; charset=utf-8", ".js": "text/javascript", ".json": "application/json",
    ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
}  # fmt: skip
# index.html says the same for hosts that send no headers; frame-ancestors counts only here.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    **ISOLATED, "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}  # fmt: skip
FIRST_PORT, PORTS = 8400, 20  # tried in this order where no port was asked for, then any that is free
SILENCE_S = 60.0  # of a connection that sends nothing


def _is_number(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _own_names() -> set[str]:
    """Of this machine, with and without the domain, and as multicast DNS has it."""
    short = socket.gethostname().lower().partition(".")[0]
    return {socket.gethostname().lower(), short, f"{short}.local", f"{short}.lan"}


def is_loopback(host: str) -> bool:
    """Whether it is this machine alone: localhost, ::1, and all of 127.0.0.0/8."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name
        return False


class DemoServer(ThreadingHTTPServer):
    """Listens from `__init__` on, serves in `serve_forever`, ends in `close`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, content: Site, host: str = "127.0.0.1", port: int | None = None) -> None:
        """``port`` None: the first that is free from `FIRST_PORT` on, so that addresses stay the same from day to day.

        Raises:
            RuntimeFailure: the port is in use, or may not be listened on.
            InputError: ``host`` is no address of this machine.
        """
        self.content = content
        self.host = host
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        wanted = [*range(FIRST_PORT, FIRST_PORT + PORTS), 0] if port is None else [port]
        for number in wanted:
            try:
                super().__init__((host, number), _Handler)
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or number == wanted[-1]:
                    raise _refused(error, host, number) from error

    def server_bind(self) -> None:
        # HTTPServer asks the resolver for the name of the host here, which nobody needs and which can take seconds
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        shown = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(
            self.host, f"[{self.host}]" if ":" in self.host else self.host
        )
        return f"http://{shown}:{self.server_port}/"

    def may_ask(self, host: str) -> bool:
        """Whether the ``Host`` of a request is one of ours: a page of another name that resolves to this address must
        not read what is served here (DNS rebinding). Numbers cannot be rebound, nor can the names of this machine."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:  # no name at all
            return False
        if is_loopback(self.host):
            return is_loopback(name)
        return is_loopback(name) or _is_number(name) or name in {self.host.lower(), *_own_names()}

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers break connections off all the time: when a page is left, when a video ends."""

    def close(self) -> None:
        """End every connection and stop listening."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request; connections are not kept."""

    server: DemoServer
    timeout = SILENCE_S
    server_version = "edgesparse"
    sys_version = ""

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def _serve(self, with_body: bool) -> None:
        if not self.server.may_ask(self.headers.get("Host", "127.0.0.1")):
            advice = b"open it at http://127.0.0.1, or by the number of its address"
            return self._refuse(421, b"this server does not go by that name: " + advice + b"\n")
        name = unquote(self.path.partition("?")[0]).removeprefix("/") or "index.html"
        found = self.server.content.get(name)
        if found is None:
            return self._refuse(404, b"not found\n")
        kind = TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
        if isinstance(found, bytes):
            self._head(200, kind, len(found))
            if with_body:
                self.wfile.write(found)
            return None
        return self._send(found, kind, with_body)

    def _send(self, path: Path, kind: str, with_body: bool) -> None:
        try:
            file = path.open("rb")
        except OSError:  # the cache was emptied under us
            return self._refuse(410, b"the file is gone: start edgesparse demo again\n")
        with file:
            self._head(200, kind, path.stat().st_size)
            if with_body:
                shutil.copyfileobj(file, self.wfile)
        return None

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Also what the base class says of methods it does not know and of requests that are none."""
        self._refuse(405 if code == 501 else code, f"{message or 'refused'}\n".encode())

    def _refuse(self, status: int, body: bytes) -> None:
        self._head(status, "text/plain; charset=utf-8", len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, kind: str, size: int) -> None:
        self.send_response(status)
        allowed = {"Allow": "GET, HEAD"} if status == 405 else {}
        for name, value in {**HEADERS, **allowed, "Content-Type": kind, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def _refused(error: OSError, host: str, port: int) -> InputError | RuntimeFailure:
    where, why = f"{host}:{port}", (error.strerror or str(error)).lower()
    if error.errno == errno.EADDRINUSE:
        return RuntimeFailure(
            "another program listens there", where=where, hint="give another --port, or none: a free one is found"
        )
    if error.errno == errno.EACCES:
        return RuntimeFailure("this port is not for everybody", where=where, hint="give a --port from 1024 on")
    return InputError(f"cannot listen there: {why}", where=where, hint="--host is an address of this machine")
