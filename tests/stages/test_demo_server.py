"""The server of the demo page: what it gives, what it refuses, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgesparse.demo_server import FIRST_PORT, POLICY, DemoServer
from edgesparse.errors import InputError, RuntimeFailure

from .conftest import Call

PAGE = b"<!doctype html>"
PATIENCE_S = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DemoServer]:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 1000)
    content: dict[str, Path | bytes] = {
        "index.html": PAGE, "app.mjs": b"1", "style.css": b"a{}", "samples/1.jpg": b"\xff\xd8", "demo.json": b"{}",
        "networks/a/model.wasm": b"\0asm", "networks/a/weights.bin": folder / "weights.bin",
        "gone.bin": folder / "gone",
    }  # fmt: skip
    made = DemoServer(content, port=free_port())
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(
    server: DemoServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE_S)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?a=b", "text/html; charset=utf-8"),
        ("/app.mjs", "text/javascript"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/samples/1.jpg", "image/jpeg"),
        ("/demo.json", "application/json"),
        ("/networks/a/model.wasm", "application/wasm"),
        ("/networks/a/weights.bin", "application/octet-stream"),
    ],
)
def test_what_is_there(server: DemoServer, path: str, kind: str) -> None:
    response, body = ask(server, path)
    assert (response.status, response.headers["Content-Type"]) == (200, kind)
    assert int(response.headers["Content-Length"]) == len(body) > 0
    same, nothing = ask(server, path, "HEAD")
    assert (same.status, nothing) == (200, b"")
    assert same.headers["Content-Length"] == response.headers["Content-Length"]


@pytest.mark.parametrize("path", ["/", "/networks/a/model.wasm", "/no/such"])
def test_headers_isolate_the_page(server: DemoServer, path: str) -> None:
    headers = ask(server, path)[0].headers
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == f"{POLICY}; frame-ancestors 'none'"
    assert "'unsafe-eval'" not in POLICY and "'unsafe-inline'" not in POLICY and "http" not in POLICY


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/networks/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/networks/a/%2e%2e/%2e%2e/%2e%2e/secret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/networks/a",
        "/networks/a/",
        "/index.html%00",
        "/index.html/",
        "/demo_server.py",
    ],
)
def test_nothing_else_is_served(server: DemoServer, path: str) -> None:
    response, body = ask(server, path)
    assert response.status == 404 and b"secret" not in body and b"root" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "NONSENSE"])
def test_only_reading(server: DemoServer, method: str) -> None:
    response, _ = ask(server, "/", method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_a_file_that_vanished(server: DemoServer) -> None:
    response, body = ask(server, "/gone.bin")
    assert response.status == 410 and b"start edgesparse demo again" in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", "", "[", "a:b:c"]
)
def test_other_names_for_this_machine_are_refused(server: DemoServer, host: str) -> None:
    response, body = ask(server, "/", host=host)
    assert response.status == 421 and body != PAGE


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:80"])
def test_loopback_names_are_fine(server: DemoServer, host: str) -> None:
    assert ask(server, "/", host=host)[1] == PAGE


def test_requests_at_once(server: DemoServer) -> None:
    """A connection that says nothing holds nobody up, and each gets the whole file."""
    with socket.create_connection(("127.0.0.1", server.server_port)), ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda _: ask(server, "/networks/a/weights.bin")[1], range(64)))
    assert set(bodies) == {bytes(range(256)) * 1000}


def test_garbage_is_answered_and_forgotten(server: DemoServer) -> None:
    for garbage in (
        b"\0\xff\n\n",
        b"GET\n\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost" + b"x" * 70000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            assert b"<!doctype" not in connection.recv(100)
    assert ask(server, "/")[1] == PAGE


def test_close_ends_connections() -> None:
    server = DemoServer({}, port=free_port())
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")  # and no more
        while not server._connections:
            pass
        server.shutdown()
        thread.join()
        server.close()
        assert connection.recv(1) == b""


class TestPorts:
    def test_one_that_is_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(RuntimeFailure, match=f"127.0.0.1:{port}: another program listens there") as caught:
                DemoServer({}, port=port)
        assert "--port" in caught.value.hint and caught.value.exit_code == 4

    def test_the_next_one_where_none_was_asked_for(self) -> None:
        first, second = DemoServer({}), DemoServer({})
        assert first.server_port != second.server_port
        assert first.server_port >= FIRST_PORT and second.server_port >= FIRST_PORT
        first.close()
        second.close()

    def test_a_host_that_is_not_ours(self) -> None:
        with pytest.raises(InputError, match="cannot listen there"):
            DemoServer({}, host="192.0.2.1")

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
    def test_every_loopback_address_refuses_other_names(self, host: str) -> None:
        server = DemoServer({}, port=free_port())
        server.host = host  # not every system has each of them
        assert not server.may_ask("evil.example") and server.may_ask("127.0.0.2:80")
        server.close()

    def test_addresses(self) -> None:
        server = DemoServer({}, host="0.0.0.0", port=free_port())
        assert server.url == f"http://127.0.0.1:{server.server_port}/"
        here = socket.gethostname()
        for name in ("192.168.1.7:8400", "[fe80::1]:8400", "localhost", here, f"{here.partition('.')[0]}.local:8400"):
            assert server.may_ask(name), name
        for name in ("anything.example", "192.168.1.7.rebind.example", "", "[", f"{here}.example"):
            assert not server.may_ask(name), name
        server.close()


class TestCommand:
    def test_a_port_in_use_is_said_before_anything_is_built(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGESPARSE_CACHE", "/nowhere/that/could/be/written")
        with socket.create_server(("127.0.0.1", 0)) as other:
            code, _, err = call("demo", "--port", str(other.getsockname()[1]))
        assert code == 4 and "another program listens there" in err and "hint: give another --port" in err

    def test_ctrl_c(self) -> None:
        command = [sys.executable, "-m", "edgesparse", "demo", "--race", "none", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stderr is not None
            text = ""
            while not text.endswith("}\n"):
                line = process.stdout.readline()
                assert line, process.stderr.read()
                text += line
            url = json.loads(text)["url"]
            connection = http.client.HTTPConnection(url.split("/")[2], timeout=PATIENCE_S)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out, err) == (0, "", "note: stopped\n")
