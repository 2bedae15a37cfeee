"""load() in a page of Firefox, which tells by a request what it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edgesparse.runtimes import firefox
from tests.conftest import require
from tests.web import ISOLATED, digits, digits_expected, serve

LIMIT_S = 120
PAGE = """<!doctype html><title>test</title>
<script type="module">
import { load } from "./digits.edge/model.mjs";

const found = [];
for (const options of [{ threads: 2 }, { threads: 2, worker: false, relaxed: false, verify: true }]) {
  const model = await load(options);
  const { linear } = await model.run({ input: Float32Array.from(INPUT) });
  found.push({ backend: model.backend, why: model.why, outputs: [...linear] });
  await model.close();
}
found.push(await load("none.edge").catch(({ name, code }) => `${name} ${code}`));
fetch(`/found/${encodeURIComponent(JSON.stringify(found))}`);
</script>
"""


@pytest.mark.cpus(2)
@pytest.mark.parametrize("isolated", [True, False])
def test_firefox(tmp_path: Path, isolated: bool) -> None:
    require("firefox")
    site_folder, profile = tmp_path / "site", tmp_path / "profile"
    site_folder.mkdir()
    profile.mkdir()
    x, y = digits_expected()
    digits(site_folder)
    (site_folder / "index.html").write_text(PAGE.replace("INPUT", str(x.tolist())))
    program = shutil.which(os.environ.get("FIREFOX", "firefox")) or "firefox-esr"
    with serve(site_folder, ISOLATED if isolated else {}) as site:
        command = [program, *firefox.options(profile), site.url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                end = time.monotonic() + LIMIT_S
                while not (told := [path for path in site.asked if path.startswith("/found/")]):
                    assert process.poll() is None and time.monotonic() < end, site.asked
                    time.sleep(0.1)
            finally:
                process.terminate()
    first, second, error = json.loads(told[0].removeprefix("/found/"))
    threads, why = ("2 threads", []) if isolated else ("1 thread", ["1 thread: crossOriginIsolated is false"])
    assert first["backend"].endswith(f"{threads}, worker") and second["backend"] == f"SIMD128, {threads}"
    assert first["why"] == second["why"] == why and error == "LoadError fetch"
    for found in (first, second):
        assert np.allclose(found["outputs"], y, rtol=1e-4, atol=1e-4)
