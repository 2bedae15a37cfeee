"""A bundle as a package of npm in a project of Vite: needs the network, for npm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.web import (
    ISOLATED,
    chromium,
    digits,
    digits_expected,
    node_environment,
    npm,
    npm_install,
    run_packaged,
    serve,
)

PAGE = (
    '<!doctype html><title>waiting</title><link rel="icon" href="data:,"><script type="module" src="/main.js"></script>'
)
MAIN = """\
import { load, LoadError } from "PACKAGE";

async function main() {
  const threads = Number(new URLSearchParams(location.search).get("threads"));
  const model = await load({ threads });
  const { linear } = await model.run({ input: Float32Array.from(INPUT) });
  const [error] = await Promise.allSettled([load("/none.edge/")]);
  await model.close();
  const { backend, why } = model;
  return { outputs: [...linear], backend, why, is_ours: error.reason instanceof LoadError && error.reason.name };
}

main().catch((error) => ({ error: error.stack })).then((found) => { document.title = JSON.stringify(found); });
"""


def project(folder: Path, packed: bool) -> Path:
    """A project that has the package, as a link to the folder or from a tarball; the folder of its programs."""
    bundle = digits(folder)
    name = json.loads((bundle / "package.json").read_text())["name"]
    package = f"./{bundle.name}"
    if packed:
        package = "./" + npm("pack", "--silent", package, folder=folder).stdout.strip()
    programs = npm_install(folder, "vite@8", package)
    assert (folder / "node_modules" / name).is_symlink() != packed
    (folder / "index.html").write_text(PAGE)
    (folder / "main.js").write_text(MAIN.replace("PACKAGE", name).replace("INPUT", str(digits_expected()[0].tolist())))
    return programs


def found_by(page: Any, url: str) -> dict[str, Any]:
    """What main.js says; the page's console and network must stay without errors, but for the bundle that is none."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(f"{request.url} {request.failure}"))
    page.goto(url)
    page.wait_for_function("document.title !== 'waiting'", timeout=60_000)
    assert not [error for error in errors if "/none.edge/" not in error], errors
    found: dict[str, Any] = json.loads(page.title())
    assert "error" not in found, found["error"]
    return found


def is_right(found: Mapping[str, Any]) -> bool:
    return bool(np.allclose(found["outputs"], digits_expected()[1], rtol=1e-4, atol=1e-4))


@pytest.mark.cpus(2)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tarball"])
@pytest.mark.parametrize("base", ["/", "./"], ids=["absolute", "relative"])
def test_a_built_project_runs_in_chromium(tmp_path: Path, packed: bool, base: str) -> None:
    programs = project(tmp_path, packed)
    done = run_packaged(programs / "vite", "build", "--base", base, folder=tmp_path)
    assert done.returncode == 0 and "warn" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    with chromium() as browser:
        with serve(tmp_path / "dist", ISOLATED) as site:
            found = found_by(browser.new_page(), f"{site.url}?threads=2")
            assert is_right(found) and found["is_ours"] == "LoadError"
            assert (found["backend"], found["why"]) == ("relaxed SIMD, 2 threads, worker", [])
            assert sum(path.endswith(".wasm") for path in site.asked) == 1
        with serve(tmp_path / "dist") as site:
            found = found_by(browser.new_page(), f"{site.url}?threads=2")
            assert is_right(found) and found["backend"] == "relaxed SIMD, 1 thread, worker"
            assert found["why"] == ["1 thread: crossOriginIsolated is false"]


@contextmanager
def developing(folder: Path, programs: Path) -> Iterator[str]:
    """Vite's own server, on a port of its choice."""
    log = folder / "vite.log"
    with log.open("w") as out:
        command = [str(programs / "vite"), "--host", "127.0.0.1", "--port", "0"]
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=out, start_new_session=True, env=node_environment()
        )
    try:
        end = time.monotonic() + 60
        while "http://" not in (text := log.read_text()):
            assert process.poll() is None and time.monotonic() < end, text
            time.sleep(0.1)
        yield "http://" + text.split("http://")[1].split()[0].replace("\x1b[1m", "").replace("\x1b[22m", "")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tarball"])
def test_the_development_server_runs_it_too(tmp_path: Path, packed: bool) -> None:
    programs = project(tmp_path, packed)
    with developing(tmp_path, programs) as url, chromium() as browser:
        found = found_by(browser.new_page(), f"{url}?threads=2")
        assert is_right(found) and found["backend"] == "relaxed SIMD, 1 thread, worker"
