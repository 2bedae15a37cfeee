"""Language models as packages of npm: their types, and in a project of Vite; needs the network, for npm."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgesparse.decoder.compile import compile_decoder
from tests.conftest import PROJECT
from tests.decoder.made import decoder
from tests.web import ISOLATED, chromium, npm_install, run_packaged, serve

from .language_scripts import run
from .test_web_tokenizer import tokenizer_bin

RIGHT = """\
import { load, loadHere, LoadError, type Finish, type LanguageModel, type Progress, type Stats } from "words";

const seen: Progress[] = [];
const abort = new AbortController();
const lm: LanguageModel = await load({ threads: "auto", onProgress: (progress) => seen.push(progress) });
let text = "";
const last: Stats[] = [];
for await (const piece of lm.generate("the", { maxTokens: 5, temperature: 0.8, topP: 0.9, seed: 1, signal: abort.signal,
  onStats: (stats) => last.push(stats) })) text += piece;
const { value, done } = await lm.generate("the").next();
const ended: Finish | string = value ?? (done ? "stop" : "length");
const share: number = (lm.stats?.layers[0].active ?? 0) + last[0].tokensPerSecond + lm.manifest.decoder.context;
const here = await loadHere("words.edge");
console.log(text, ended, share, here.tokenizer.decode(here.encode("the")), lm.backend, LoadError.name);
await lm.close();
"""
WRONG = {
    'lm.generate(["the"]);': "not assignable to parameter of type 'string'",
    'lm.generate("the", { max_tokens: 2 });': "'max_tokens' does not exist",
    "lm.run({});": "Property 'run' does not exist",
    "lm.context = 2;": "read-only property",
}
OPTIONS = ("--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "--types", "")
PAGE = (
    '<!doctype html><title>waiting</title><link rel="icon" href="data:,"><script type="module" src="/main.js"></script>'
)
MAIN = """\
import { load } from "words";

async function main() {
  const lm = await load({ threads: 1, relaxed: false });
  let text = "";
  for await (const piece of lm.generate("the edge", { maxTokens: 9 })) text += piece;
  return { text, backend: lm.backend, why: lm.why };
}

main().catch((error) => ({ error: error.stack })).then((found) => { document.title = JSON.stringify(found); });
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    model, words = decoder(vocabulary=285, bos=1), ("tokenizer.bin", tokenizer_bin())
    compile_decoder(model, "browser", folder / "words.edge", weights="int8", tokenizer=words)
    return folder


def test_types(folder: Path) -> None:
    programs = npm_install(folder, "typescript@7", "./words.edge")

    def check(text: str) -> str:
        (folder / "example.ts").write_text(text)
        return run_packaged(programs / "tsc", *OPTIONS, "example.ts", folder=folder).stdout

    assert check(RIGHT) == ""
    (readme,) = re.findall(r"^```javascript\n(.*?)^```$", (PROJECT / "README.md").read_text(), re.M | re.S)
    assert check(readme.replace('"./lm.edge/index.mjs"', '"words"').replace("show(", "console.log(")) == ""
    first = "\n".join(RIGHT.splitlines()[:5])
    for line, words in WRONG.items():
        assert words in check(f"{first}\n{line}\n"), line


def test_a_built_project_runs_in_chromium(folder: Path, tmp_path: Path) -> None:
    programs = npm_install(tmp_path, "vite@8", str(folder / "words.edge"))
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "main.js").write_text(MAIN)
    done = run_packaged(programs / "vite", "build", "--base", "./", folder=tmp_path)
    assert done.returncode == 0 and "warn" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    expected = run(folder / "words.edge", """
    const lm = await edge.loadHere({ threads: 1, relaxed: false });
    told((await written(lm, "the edge", { maxTokens: 9 })).text);
    """)  # fmt: skip
    with chromium() as browser, serve(tmp_path / "dist", ISOLATED) as site:
        page = browser.new_page()
        page.goto(site.url)
        page.wait_for_function("document.title !== 'waiting'", timeout=60_000)
        found = json.loads(page.title())
    assert found.get("text") == expected and found["backend"] == "SIMD128, 1 thread, worker", found
