"""Language models in JavaScript: the texts that others write, streamed, ended, refused; in node.js and browsers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.texts import continue_text, tokenizer_in
from edgesparse.runtimes.generation import Request
from tests.conftest import require
from tests.decoder.made import decoder
from tests.decoder.test_tokenizer import byte_level
from tests.web import ISOLATED, NO_EVAL, chromium, npm, run_packaged, serve

from .firefox_page import told_by_firefox
from .language_scripts import language_bundles, relaxed_flags, run

PROMPTS = ("a", "the edge", "é日 of the sparse")
CHANCE = Request(max_tokens=24, temperature=8, top_p=0.9, seed=7)  # below 4 the last token is hardly ever not repeated
OPTIONS = {"maxTokens": 24, "temperature": 8, "topP": 0.9, "seed": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    language_bundles(folder)
    return folder


def _expected(bundle: Path, prompt: str, request: Request) -> tuple[str, Any]:
    with runtimes.open(bundle, "wasmtime") as session:
        assert session.manifest.decoder is not None
        request = replace(request, stops=session.manifest.decoder.stops)
        return continue_text(session, tokenizer_in(bundle, session.manifest), prompt, request)


@pytest.mark.parametrize("name", ["lm", "words"])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("chance", [False, True])
def test_the_same_text_as_by_edgesparse_generate(folder: Path, name: str, prompt: str, chance: bool) -> None:
    """With relaxed SIMD, which wasmtime has, too."""
    require("wasmtime")
    bundle = folder / f"{name}.edge"
    text, expected = _expected(bundle, prompt, CHANCE if chance else Request(max_tokens=20))
    options = OPTIONS if chance else {"maxTokens": 20}
    flags = relaxed_flags()
    found = run(bundle, f"""
    const lm = await edge.loadHere({{ threads: 1 }});
    told(await written(lm, {json.dumps(prompt)}, {json.dumps(options)}));
    """, *flags)  # fmt: skip
    assert found["tokens"] == list(expected.tokens)
    assert (found["text"], found["finish"]) == (text, expected.stopped)
    stats = found["stats"]
    assert (stats["promptTokens"], stats["decoded"]) == (expected.prompt_tokens, expected.cost.decoded)


def test_tokens_that_pad_the_vocabulary_write_nothing(tmp_path: Path) -> None:
    require("tokenizers")
    file, theirs = byte_level(tmp_path)
    known = theirs.get_vocab_size()
    model = decoder(vocabulary=known + 64, blocks=1, tied=False)
    compile_decoder(model, "browser", tmp_path / "lm.edge", weights="f32", tokenizer=(file.name, file.read_bytes()))
    found = run(tmp_path / "lm.edge", """
    const lm = await edge.loadHere();
    told(await written(lm, "he", { maxTokens: 30, temperature: 5, seed: 1 }));
    """)  # fmt: skip
    drawn = found["tokens"]
    assert len(drawn) == 30 and any(token >= known for token in drawn)
    assert found["text"] == theirs.decode([token for token in drawn if token < known])


def test_characters_are_whole(folder: Path) -> None:
    """Bytes that are no UTF-8 become U+FFFD; what a piece begins, another does not end."""
    found = run(folder / "lm.edge", f"""
    const lm = await edge.loadHere();
    const {{ pieces, tokens, text }} = await written(lm, "a", {{ ...{json.dumps(OPTIONS)}, maxTokens: 28 }});
    told({{ pieces, tokens, text }});
    """)  # fmt: skip
    assert bytes(found["tokens"]).decode("utf-8", "replace") == found["text"] and "\ufffd" in found["text"]
    assert all(found["pieces"])


def test_what_it_costs(folder: Path) -> None:
    bundle = folder / "lm.edge"
    manifest = json.loads((bundle / "manifest.json").read_text())
    first, last, seen = run(bundle, """
    const lm = await edge.loadHere();
    assert.equal(lm.stats, null);
    const seen = [];
    const { stats } = await written(lm, "abcdef", { maxTokens: 10, onStats: (stats) => seen.push(stats) });
    told(seen[0]); told(stats); told(seen.map(({ decoded }) => decoded));
    """)  # fmt: skip
    assert seen == list(range(10)) and first["finish"] == "" and last["finish"] == "length"
    assert first["promptTokens"] == 6 and last["promptMs"] > 0 and last["tokensPerSecond"] > 0
    sites = manifest["decoder"]["sites"]
    assert [(x["block"], x["site"]) for x in last["layers"]] == [(x["block"], x["site"]) for x in sites]
    assert all(0 < x["active"] < 1 for x in last["layers"])
    read = sum(s["unit_bytes"] * s["entries"] * x["active"] for s, x in zip(sites, last["layers"], strict=True))
    assert last["bytesPerToken"] == pytest.approx(manifest["decoder"]["always_bytes"] + read)


@pytest.mark.parametrize("worker", ["false", "true"])
def test_how_texts_end(folder: Path, worker: str) -> None:
    """By their length, a token, the context, a signal; and a model goes on after each."""
    run(folder / "lm.edge", f"""
    const lm = await edge.load({{ worker: {worker}, threads: 1 }});
    assert.equal(lm.context, 32);
    const greedy = await written(lm, "abc", {{ maxTokens: 12 }});
    const stop = greedy.tokens[4];
    const early = await written(lm, "abc", {{ stops: [stop] }});
    assert.equal(early.finish, "stop");
    assert.deepEqual(early.tokens, greedy.tokens.slice(0, greedy.tokens.indexOf(stop)));
    const full = await written(lm, "abc", {{ maxTokens: 1000 }});
    assert.deepEqual([full.finish, full.tokens.length], ["context", 30]);
    const sliding = await written(lm, "abc", {{ maxTokens: 100, sliding: true }});
    assert.deepEqual([sliding.finish, sliding.tokens.length], ["length", 100]);
    const late = await written(lm, "abc", {{ maxTokens: 1e9, sliding: true, signal: AbortSignal.timeout(300) }});
    assert.equal(late.finish, "aborted");
    const never = await written(lm, "abc", {{ signal: AbortSignal.abort() }});
    assert.deepEqual([never.finish, never.tokens], ["aborted", []]);
    for await (const piece of lm.generate("abc")) break;
    assert.deepEqual((await written(lm, "abc", {{ maxTokens: 12 }})).tokens, greedy.tokens);
    await lm.close();
    await lm.close();
    await assert.rejects(written(lm, "abc"), {{ name: "RunError", code: "closed" }});
    told(0);
    """)  # fmt: skip


def test_what_is_refused(folder: Path) -> None:
    run(folder / "lm.edge", """
    const lm = await edge.loadHere();
    const refused = (prompt, options, expected) => assert.rejects(written(lm, prompt, options), expected);
    const prompt = { name: "InputError", code: "prompt" };
    await refused("", {}, { ...prompt, message: /the prompt is empty/ });
    await refused("x".repeat(33), {}, { ...prompt, message: /33 tokens, the context is 32/ });
    await refused([1, 2], {}, { ...prompt, message: /no text/ });
    const refusedWith = (options, what, hint) => (
      refused("a", options, { ...prompt, message: `${what}\\n  hint: ${hint}` }));
    const limits = { temperature: "0 to 1000", maxTokens: "1 to 1073741824", seed: "0 to 2147483647",
      topP: "more than 0, and at most 1" };
    const bad = { temperature: [-1, 1000.5, Infinity, NaN, "1"], maxTokens: [0, -1, 1.5, Infinity, 2 ** 31],
      seed: [-1, 0.5, 2 ** 31], topP: [0, 2, NaN] };
    for (const [name, values] of Object.entries(bad)) {
      for (const value of values) await refusedWith({ [name]: value }, `${name}: ${value}`, `give ${limits[name]}`);
    }
    await refusedWith({ stops: Array(65).fill(1) }, "65 tokens that end the text", "give 64 at most");
    const first = lm.generate("a");
    await first.next();
    await refused("a", {}, { name: "RunError", code: "busy" });
    await first.return();
    assert.equal((await written(lm, "a", { maxTokens: 2 })).finish, "length");
    told(0);
    """)  # fmt: skip


@pytest.mark.parametrize("worker", ["false", "true"])
def test_a_signal_ends_a_text_that_nobody_reads_any_more(folder: Path, worker: str) -> None:
    """At once; and what its reader does later leaves the texts after it alone."""
    run(folder / "lm.edge", f"""
    const lm = await edge.load({{ worker: {worker}, threads: 1 }});
    const chance = {{ maxTokens: 25, temperature: 8, seed: 3 }};
    const expected = await written(lm, "abc", chance);
    const abort = new AbortController();
    const first = lm.generate("xy", {{ maxTokens: 1e9, sliding: true, temperature: 8, signal: abort.signal }});
    await first.next();
    await assert.rejects(written(lm, "abc"), {{ code: "busy", message: /end it: its signal or return\\(\\)/ }});
    abort.abort();
    assert.equal(lm.stats.finish, "aborted");
    const second = lm.generate("abc", chance);
    const pieces = [(await second.next()).value];
    assert.deepEqual(await first.next(), {{ value: "aborted", done: true }});
    await assert.rejects(written(lm, "abc"), {{ code: "busy" }});
    for await (const piece of second) pieces.push(piece);
    assert.deepEqual(pieces, expected.pieces);
    assert.deepEqual([lm.tokens, lm.stats.finish], [expected.tokens, "length"]);

    const again = new AbortController();
    const third = lm.generate("xy", {{ maxTokens: 1e9, sliding: true, signal: again.signal }});
    await third.next();
    again.abort();
    for (let last; !last?.done; ) {{ // a reader who does go on hears that it ended
      last = await third.next();
      if (last.done) assert.equal(last.value, "aborted");
    }}
    const late = new AbortController();
    const fourth = lm.generate("xy", {{ maxTokens: 1e9, sliding: true, signal: late.signal }});
    for (let i = 0; i < 3; i++) await fourth.next();
    const asked = fourth.next();
    late.abort();
    await asked; // what is there already is given; then nobody asks for more
    assert.deepEqual((await written(lm, "abc", chance)).tokens, expected.tokens);
    await lm.close();
    told(0);
    """)  # fmt: skip


def test_tokens_that_cannot_be_scored(folder: Path) -> None:
    """The last one, too, which is not read."""
    bundle = folder / "lm.edge"
    run(bundle, f"""
    const model = await (await import({json.dumps((bundle / "model.mjs").as_uri())})).loadHere();
    const {{ generate, score }} = await import({json.dumps((bundle / "generate.mjs").as_uri())});
    for (const bad of [-1, 256, 2 ** 32 + 5, NaN, 0.5, undefined, "7"]) {{
      for (const tokens of [[5, 7, bad], [5, bad, 7]]) {{
        const place = tokens.findIndex((token) => Object.is(token, bad)) + 1;
        const words = `tokens are 0 to 255, number ${{place}} is ${{bad}}\\n  hint: is it the right tokenizer?`;
        const expected = {{ name: "InputError", code: "prompt", message: words }};
        await assert.rejects(score(model, tokens), expected);
        await assert.rejects(generate(model, tokens).next(), expected);
      }}
    }}
    assert.equal((await score(model, Array(33).fill(3))).length, 32);
    told(0);
    """)  # fmt: skip


@pytest.mark.cpus(2)
def test_threads_write_the_same(folder: Path) -> None:
    one, two = run(folder / "lm.edge", """
    for (const threads of [1, 2]) {
      const lm = await edge.load({ threads, strict: true });
      told((await written(lm, "abc", { maxTokens: 25, temperature: 1, seed: 3 })).tokens);
      await lm.close();
    }
    """)  # fmt: skip
    assert one == two


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


PAGE = """async () => {
  const { load } = await import("/lm.edge/index.mjs");
  const lm = await load({ threads: THREADS, relaxed: false });
  let text = "";
  for await (const piece of lm.generate("abc", { maxTokens: 20, temperature: 1, seed: 3 })) text += piece;
  const found = { text, backend: lm.backend, why: lm.why, decoded: lm.stats.decoded };
  await lm.close();
  return found;
}"""


def test_in_chromium(browser: Any, folder: Path) -> None:
    """In a worker, under a policy without eval; the second time from the cache."""
    expected = run(folder / "lm.edge", """
    const lm = await edge.loadHere({ threads: 1, relaxed: false });
    told((await written(lm, "abc", { maxTokens: 20, temperature: 1, seed: 3 })).text);
    """)  # fmt: skip
    with serve(folder, {**ISOLATED, **NO_EVAL}) as site:
        context = browser.new_context()
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(site.url)
        first = page.evaluate(PAGE.replace("THREADS", "1"))
        assert first["text"] == expected and first["decoded"] == 19 and first["backend"].endswith("worker")
        asked = len(site.asked)
        assert page.evaluate(PAGE.replace("THREADS", '"auto"'))["text"] == expected
        again = [path for path in site.asked[asked:] if "/weights." in path]
        assert not again and errors == []
        context.close()


def test_in_firefox(folder: Path, tmp_path: Path) -> None:
    found = told_by_firefox(folder, tmp_path, PAGE.replace("THREADS", "1"))
    assert found["decoded"] == 19 and found["text"] and found["backend"] == "SIMD128, 1 thread, worker"


def test_a_package_of_npm(folder: Path, tmp_path: Path) -> None:
    """Packed and installed as any other, it finds its files by itself."""
    npm("pack", folder / "words.edge", folder=tmp_path)
    (archive,) = tmp_path.glob("*.tgz")
    (tmp_path / "package.json").write_text("{}")
    npm("install", archive, folder=tmp_path)
    (tmp_path / "use.mjs").write_text("""
    import { load } from "words";
    const lm = await load();
    let text = "";
    for await (const piece of lm.generate("the edge", { maxTokens: 5 })) text += piece;
    console.log(JSON.stringify([lm.tokens.length, lm.tokenizer.decode(lm.encode("the edge"))]));
    await lm.close();
    """)
    done = run_packaged("node", "use.mjs", folder=tmp_path)
    assert json.loads(done.stdout) == [5, "the edge"], done.stderr
