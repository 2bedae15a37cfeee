"""Bundles in Deno, and their types, with tools that npm installs: needs the network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.web import digits, digits_expected, npm_install, run_packaged

RIGHT = """\
import { load, loadHere, LoadError, type Model, type Progress } from "digits";

const seen: Progress[] = [];
const abort = new AbortController();
const model: Model = await load(new URL("./digits.edge/", import.meta.url), {
  threads: "auto", relaxed: false, onProgress: (progress) => seen.push(progress), signal: abort.signal,
});
const outputs = await model.run({ [model.inputs[0].name]: new Float32Array(64) });
const values: Float32Array = outputs.linear as Float32Array;
const { wallMs, callMs } = await model.time({ input: values }, { perLayer: true, numRuns: 3 });
const sum: number = wallMs.reduce((a, b) => a + b, 0) + (callMs?.[0][0] ?? 0) + model.manifest.layers[0].macs;
const why: readonly string[] = model.why;
await model.close();
await load();
await load({ threads: 2 });
const here = await loadHere("digits.edge", { threads: 1 });
(here.inputViews().input as Float32Array).fill(0);
here.execute();
try {
  await load("nowhere");
} catch (error) {
  if (error instanceof LoadError && error.code === "fetch") console.log(error.hint, sum, why, here.outputViews());
}
"""
WRONG = {
    'await load("x", { threads: "many" });': "Type '\"many\"' is not assignable",
    'await load("x", { thread: 1 });': "'thread' does not exist",
    "(await load()).run({ x: [1, 2, 3] });": "not assignable to type 'TypedArray'",
    "(await loadHere({ worker: true }));": "'worker' does not exist",
    "(await load()).threads = 2;": "read-only property",
    "const y: Float32Array = (await load()).run({});": "is missing the following properties",
}
OPTIONS = ("--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "--types", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    digits(folder)
    return folder


def test_types(folder: Path) -> None:
    programs = npm_install(folder, "typescript@7", "./digits.edge")

    def check(text: str) -> str:
        (folder / "example.ts").write_text(text)
        return run_packaged(programs / "tsc", *OPTIONS, "example.ts", folder=folder).stdout

    assert check(RIGHT) == ""
    (readme,) = re.findall(r"^```ts\n(.*?)^```$", (PROJECT / "README.md").read_text(), re.M | re.S)
    assert check(readme.replace('"kws"', '"digits"')) == ""
    first = RIGHT.splitlines()[0]
    for line, words in WRONG.items():
        assert words in check(f"{first}\n{line}\n"), line


@pytest.mark.cpus(2)
@pytest.mark.parametrize(
    "options", ["{}", "{ threads: 2, strict: true }", "{ worker: true, threads: 2, strict: true }"]
)
def test_deno(folder: Path, options: str) -> None:
    """Permission to read is all it needs."""
    deno = npm_install(folder, "deno@2") / "deno"
    x, y = digits_expected()
    (folder / "run.mjs").write_text(f"""
    import {{ InputError, load }} from "./digits.edge/index.mjs";
    const model = await load({options});
    const outputs = await model.run({{ input: Float32Array.from({x.tolist()}) }});
    const refused = await model.run({{}}).catch((error) => error instanceof InputError && error.code);
    await model.close();
    console.log(JSON.stringify([[...outputs.linear], refused]));
    """)
    done = run_packaged(deno, "run", "--no-prompt", "--allow-read", "run.mjs", folder=folder)
    assert done.returncode == 0, done.stderr
    outputs, refused = json.loads(done.stdout)
    assert outputs == pytest.approx(y.tolist(), rel=1e-4, abs=1e-4) and refused == "missing"
