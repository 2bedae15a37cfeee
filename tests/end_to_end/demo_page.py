"""What the tests of the demo page share: networks, servers, pages that must stay without errors, a hand that draws."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from PIL import Image
from playwright.sync_api import Error

from edgesparse import demo
from edgesparse.demo_server import DemoServer
from edgesparse.demo_site import Site
from edgesparse.importer import load
from edgesparse.types import Array
from tests.tiny_models import f32, model, numbers

SIDE, CLASSES = 16, 12
HOSTILE = '<img src=x onerror="window.hacked=1">'
LABELS = (HOSTILE, *(f"class of number {i}" for i in range(1, CLASSES)))
PATIENCE_MS = 120_000
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
THREE = [(0.3, 0.2), (0.45, 0.13), (0.65, 0.2), (0.65, 0.35), (0.45, 0.47), (0.68, 0.55), (0.7, 0.75), (0.5, 0.87),
         (0.3, 0.8)]  # fmt: skip
Points = Sequence[tuple[float, float]]


def classifier(path: Path) -> Path:
    """Images of 3 x 16 x 16 -> logits (1, 12), with a pointwise convolution that can be pruned."""
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["entry"], "entry", pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Relu", ["entry"], ["x"], "relu"),
        helper.make_node("Conv", ["x", "b"], ["y"], "pointwise", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["y"], ["z"], "relu2"),
        helper.make_node("GlobalAveragePool", ["z"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "c"], ["logits"], "classifier"),
    ]
    weights = {"a": numbers(32, 3, 3, 3), "b": numbers(64, 32, 1, 1), "c": numbers(64, CLASSES) / 100}
    onnx.save(model(nodes, [f32("image", 1, 3, SIDE, SIDE)], [f32("logits", 1, CLASSES)], weights), path)
    return path


def recipe(path: Path, labels: Sequence[str] = LABELS) -> demo.Recipe:
    return demo.own(path.name, lambda: load(path), str(path.read_bytes()), [0, 0.5, 0.9], ["block:4x1"], labels)


def photo(path: Path) -> Array:
    """Write an image of the size of the classifier; (16, 16, 3) of 0 to 255."""
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@contextmanager
def running(server: ThreadingHTTPServer, end: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        end()
        thread.join()


@contextmanager
def served(content: Site, port: int | None = None) -> Iterator[str]:
    """By the server of `edgesparse demo`: its address."""
    server = DemoServer(content, port=port)
    with running(server, server.close):
        yield server.url


class _Plain(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def plain(folder: Path) -> Iterator[str]:
    """By Python's http.server, which sends neither COOP nor COEP."""
    handler: Callable[..., BaseHTTPRequestHandler] = partial(_Plain, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with running(server, server.server_close):
        yield f"http://127.0.0.1:{server.server_address[1]}/"


def until(page: Any, script: str) -> None:
    """Until it is true, or resolves to what is, whatever is loaded meanwhile.

    Playwright's own way evaluates text in the page, which our policy forbids, and takes a promise itself for true.
    """
    end = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            if page.evaluate(script):
                return
        except Error as error:
            if "context was destroyed" not in error.message:  # by what is loaded
                raise
        assert time.monotonic() < end, script
        page.wait_for_timeout(50)


@dataclass
class Opened:
    """A page, with everything that went wrong in it, and whatever it asked for."""

    page: Any
    url: str
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def go(self, hash: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}#{hash}")
        self.page.wait_for_selector("html[data-ready]", timeout=PATIENCE_MS)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).first.inner_text())

    def draw(self, points: Points) -> None:
        """With the mouse; ``points`` from 0 to 1."""
        box = self.page.locator(".pad").bounding_box()
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for x, y in at[1:]:
            self.page.mouse.move(x, y, steps=4)
        self.page.mouse.up()

    def says(self, digit: str) -> bool:
        """Whether both networks come to say it, and say how long that took."""
        said = self.page.locator(".summary strong", has_text=f"Both say {digit}.")
        said.wait_for(timeout=PATIENCE_MS)
        return bool(self.page.locator(".big").all_inner_texts() == [digit, digit])

    def wait(self, script: str) -> None:
        until(self.page, script)


@contextmanager
def opened(browser: Any, url: str, hash: str = "", script: str = "", **options: Any) -> Iterator[Opened]:
    """A page in a context of its own, which runs ``script`` before anything else.

    In the end nothing went wrong, and nothing was asked of anybody else.
    """
    context = browser.new_context(**options)
    context.add_init_script(script)
    found = Opened(context.new_page(), url)
    found.page.on("pageerror", lambda error: found.wrong.append(str(error)))
    found.page.on("console", lambda m: found.wrong.append(m.text) if m.type in ("error", "warning") else None)
    context.on("requestfailed", lambda r: found.wrong.append(f"{r.url} {r.failure}"))
    context.on("request", lambda r: found.asked.append(r.url))
    try:
        found.go(hash)
        yield found
        assert found.wrong == [], found.wrong
        assert [x for x in found.asked if not x.startswith((url, "blob:", "data:", "about:"))] == []
        assert found.page.locator("#trouble").is_hidden(), found.text("#trouble")
    finally:
        context.close()
