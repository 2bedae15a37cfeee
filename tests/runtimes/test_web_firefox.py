"""load() in a page of Firefox, which tells by a request what it found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.runtimes.firefox_page import told_by_page
from tests.web import ISOLATED, digits, digits_expected

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
    folder = tmp_path / "site"
    folder.mkdir()
    x, y = digits_expected()
    digits(folder)
    (folder / "index.html").write_text(PAGE.replace("INPUT", str(x.tolist())))
    first, second, error = told_by_page(folder, tmp_path, "", ISOLATED if isolated else {})
    threads, why = ("2 threads", []) if isolated else ("1 thread", ["1 thread: crossOriginIsolated is false"])
    assert first["backend"].endswith(f"{threads}, worker") and second["backend"] == f"SIMD128, {threads}"
    assert first["why"] == second["why"] == why and error == "LoadError fetch"
    for found in (first, second):
        assert np.allclose(found["outputs"], y, rtol=1e-4, atol=1e-4)
