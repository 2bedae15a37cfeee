"""The server of a browser runtime: what it serves, what it takes, and everything else that may be sent to it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgesparse.runtimes import page as module
from edgesparse.runtimes.page import FILES, Job, Page


@pytest.fixture
def page() -> Iterator[Page]:
    before = set(threading.enumerate())
    with_bundle = Page({"model.wasm": b"\0asm", "weights.bin": b"1234"})
    yield with_bundle
    with_bundle.close()
    with_bundle.close()
    assert set(threading.enumerate()) == before


def ask(page: Page, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
    """``path`` as it is, behind the token where it does not begin with /."""
    url = urlsplit(page.url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)
    target = path if path.startswith("/") else url.path.replace("page.html", path)
    connection.request(method, target, body, headers)
    return connection.getresponse()


def give(page: Page, folder: Path, number: int = 1) -> Job:
    (folder / "in").write_bytes(b"abc")
    job = Job(number, ["--json"], {"files/in": folder / "in"}, {"files/out": (folder / "out", 4)})
    page.give(job)
    return job


def test_the_page_and_the_bundle_with_types_and_isolation(page: Page) -> None:
    types = {".html": "text/html; charset=utf-8", ".mjs": "text/javascript"}
    for name in FILES:
        found = ask(page, "GET", name)
        assert (found.status, found.getheader("Content-Type")) == (200, types[Path(name).suffix])
        assert found.getheader("Cross-Origin-Opener-Policy") == "same-origin"
        assert found.getheader("Cross-Origin-Embedder-Policy") == "require-corp"
        assert found.read() == (module.FOLDER / name).read_bytes()
    found = ask(page, "GET", "bundle/model.wasm")
    assert (found.getheader("Content-Type"), found.read()) == ("application/wasm", b"\0asm")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/", "/page.html", "/favicon.ico", "/wrong-token/page.html", "/wrong-token/hello", "", "none", "bundle/",
        "bundle/none", "../page.html", "bundle/../page.html", "bundle/../../../../../../etc/passwd",
        "bundle/%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc/passwd", "//etc/passwd", "bundle//etc/passwd", "files/in",
        "files/out", "files/../files/in", "page.html%00",
    ],
)  # fmt: skip
def test_everything_else_is_not_found(page: Page, method: str, path: str) -> None:
    assert ask(page, method, path, b"{}" if method == "POST" else None).status == 404
    assert page.said == {}


def test_a_job_is_given_once_and_its_files_are_served(page: Page, tmp_path: Path) -> None:
    give(page, tmp_path)
    assert json.loads(ask(page, "GET", "job").read()) == {"number": 1, "words": ["--json"]}
    assert ask(page, "GET", "files/in").read() == b"abc"
    assert ask(page, "POST", "files/out", b"wxyz").status == 204
    assert (tmp_path / "out").read_bytes() == b"wxyz"
    assert ask(page, "GET", "files/out").status == ask(page, "POST", "files/in", b"x").status == 404


def test_who_asks_early_waits_for_the_job(page: Page, tmp_path: Path) -> None:
    found: list[bytes] = []
    asking = threading.Thread(target=lambda: found.append(ask(page, "GET", "job").read()))
    asking.start()
    give(page, tmp_path)
    asking.join(30)
    assert json.loads(found[0])["number"] == 1


def test_who_asks_in_vain_is_told_to_ask_again(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    assert ask(page, "GET", "job").status == 204


def test_the_answer_must_be_to_the_question(page: Page, tmp_path: Path) -> None:
    def done(number: object) -> int:
        return ask(page, "POST", "done", json.dumps({"number": number}).encode()).status

    assert done(1) == 409, "nothing was asked"
    give(page, tmp_path, 7)
    assert done(6) == done(None) == done("7") == 409 and page.said == {}
    assert done(7) == 204 and page.said["done"] == {"number": 7}
    assert done(7) == 409, "it was answered"
    give(page, tmp_path, 8)
    assert "done" not in page.said and done(7) == 409


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"3", b"[" * 60_000, b"\0" * 1000])
@pytest.mark.parametrize("name", ["hello", "failed", "done"])
def test_what_is_no_document_is_refused(page: Page, name: str, body: bytes) -> None:
    assert ask(page, "POST", name, body).status == 400
    assert page.said == {}


def test_too_much_is_refused_unread(page: Page, tmp_path: Path) -> None:
    give(page, tmp_path)
    for name, length in (
        ("hello", module.SAID_BYTES + 1), ("done", module.DONE_BYTES + 1), ("files/out", 5), ("hello", 10**30),
    ):  # fmt: skip
        assert ask(page, "POST", name, None, **{"Content-Length": str(length)}).status == 413
    for length_text in ("-1", "x", "1_0", "²"):
        assert (
            ask(page, "POST", "hello", None, **{"Content-Length": length_text.encode().decode("latin-1")}).status == 411
        )
    assert page.said == {} and not (tmp_path / "out").exists()


def test_half_a_body_is_not_taken(page: Page) -> None:
    url = urlsplit(page.url)
    with socket.create_connection((str(url.hostname), url.port or 0), timeout=30) as half:
        target = url.path.replace("page.html", "hello")
        half.sendall(f"POST {target} HTTP/1.1\r\nContent-Length: 10\r\n\r\n{{}}".encode())
        half.shutdown(socket.SHUT_WR)
        assert b" 400 " in half.makefile("rb").readline()
    assert page.said == {}


def test_other_methods_and_what_is_no_request(page: Page) -> None:
    assert ask(page, "PUT", "hello", b"{}").status == 501
    url = urlsplit(page.url)
    with socket.create_connection((str(url.hostname), url.port or 0), timeout=30) as other:
        other.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        assert b"400" in other.makefile("rb").read()
    assert ask(page, "GET", "page.html").status == 200, "and goes on"


def test_an_output_that_cannot_be_written_is_a_failure(page: Page, tmp_path: Path) -> None:
    page.give(Job(1, [], {}, {"files/out": (tmp_path / "none" / "out", 4)}))
    assert ask(page, "POST", "files/out", b"1234").status == 507
    assert "cannot write" in page.said["failed"]["why"] and "No such file" in page.said["failed"]["why"]


def test_the_end_of_the_page_is_seen(page: Page) -> None:
    alive = ask(page, "GET", "alive")
    assert alive.status == 200 and not page.gone
    alive.close()
    with page.changed:
        assert page.changed.wait_for(lambda: page.gone, 30)


def test_closing_ends_connections_that_say_nothing() -> None:
    """Their threads, too; without it each would last `SILENCE_S`."""
    before = set(threading.enumerate())
    page = Page({})
    url = urlsplit(page.url)
    silent = [socket.create_connection((str(url.hostname), url.port or 0), timeout=30) for _ in range(3)]
    alive = ask(page, "GET", "alive")
    page.close()
    assert alive.read().strip(b".") == b"" and all(each.recv(1) == b"" for each in silent)
    assert set(threading.enumerate()) == before
