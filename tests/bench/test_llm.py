"""Whole decoders by published methods: what their rules skip, what is timed, what stands beside the papers' figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bench import llm, llm_published
from bench.llm_rules import METHODS, RHO, random_decoder, random_tokens
from bench.llm_shape import SHAPES, Shape
from bench.sections import section
from edgesparse.decoder.model import SITES, Decoder
from edgesparse.decoder.reference import logits
from edgesparse.runtimes.generation import Request
from edgesparse.runtimes.session import Session
from edgesparse.types import Array


@pytest.fixture(scope="module")
def plain() -> Decoder:
    return random_decoder(SHAPES["tiny"])


def skipped(decoder: Decoder) -> dict[tuple[int, str], float]:
    """By layer: of the inputs that it reads in another text, the share that its rule skips; "act": of the neurons."""
    found: dict[tuple[int, str], float] = {}

    def watch(index: int, site: str, x: Array) -> None:
        block = decoder.blocks[index]
        rule = block.neurons if site == "act" else getattr(block, site).rule
        if rule is not None:
            found[index, site] = float(np.mean(np.abs(x) <= rule.threshold))

    logits(decoder, np.random.default_rng(5).integers(0, decoder.vocabulary, (8, 32)), watch)
    return found


@pytest.mark.parametrize(
    ("method", "sites", "share"),
    [("teal", SITES, 0.5), ("cats", ("act",), 0.5), ("chess", ("q", "o", "act"), 0.5),
     ("rsparse", SITES, 1 - 0.5 * RHO)],
)  # fmt: skip
def test_as_much_is_skipped_as_was_asked_for(plain: Decoder, method: str, sites: Sequence[str], share: float) -> None:
    found = skipped(METHODS[method](plain, random_tokens(plain), 0.5))
    assert sorted(found) == sorted((i, site) for i in range(len(plain.blocks)) for site in sites)
    for site in sites:
        assert np.mean([s for (_, where), s in found.items() if where == site]) == pytest.approx(share, abs=0.04)


def test_layers_that_read_the_same_have_the_same_threshold(plain: Decoder) -> None:
    for block in METHODS["teal"](plain, random_tokens(plain), 0.5).blocks:
        rules = {site: layer.rule for site, layer in block.linears()}
        for first, other in (("q", "k"), ("q", "v"), ("gate", "up")):
            one, two = rules[first], rules[other]
            assert one is not None and two is not None and one.threshold.tobytes() == two.threshold.tobytes()


def test_the_budget_of_rsparse_is_that_of_its_sparsity(plain: Decoder) -> None:
    for block in METHODS["rsparse"](plain, random_tokens(plain), 0.5).blocks:
        for site, layer in block.linears():
            assert layer.rule is not None
            low = layer.rule.rank * (layer.inputs + layer.outputs) / layer.weight.size
            # a rank is a whole number
            assert layer.rule.rank > 0 and 1 - layer.rule.sparsity + low == pytest.approx(0.5, abs=0.02), site


def ignored(token: int) -> None:
    """For prompts, whose token nobody asked for."""


class Slow:
    """A session for whose runs a clock is put forward: 100 for a prompt, 2 for a token."""

    def __init__(self) -> None:
        self.now = 0.0

    def generate(self, prompt: Sequence[int], request: Request, on_token: Callable[[int], None] = ignored) -> Any:
        for number in range(request.max_tokens):
            self.now += 2 if number else 100
            on_token(0)
        return SimpleNamespace(cost=None)


def test_the_token_that_comes_out_of_the_prompt_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(llm, "_clock", lambda threads: lambda: slow.now)
    timed = llm.Timed(llm.Variant("int8"), cast(Session, slow), 0.0)
    timed.turn([1] * 64, 16, threads=1)
    assert timed.speeds == [0.5] and timed.prompts == [0.64]


def test_rows_and_their_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.json"
    methods = list(METHODS)
    options = ["--shape", "tiny", "--methods", ",".join(methods), "--weights", "int8,int4-blocks", "--threads", "1"]
    llm.main([*options, "--active", "0.5", "--rounds", "2", "--tokens", "4", "--json", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["variant"] for r in rows] == ["int8", *(f"int8, {m} 50%" for m in methods), "int4-blocks"]
    dense, teal, cats = rows[:3]
    assert dense["x_dense"] == dense["active"] == 1 and dense["mb"] > cats["mb"] > teal["mb"]
    assert teal["active"] == pytest.approx(0.5, abs=0.1)
    shape = SHAPES["tiny"]
    up_and_down = 2 * shape.hidden * shape.dim / sum(o * i for _, o, i in shape.linears())
    assert cats["active"] == pytest.approx(1 - 0.5 * up_and_down, abs=0.07)
    text = section(rows)
    assert text.count("\n| tiny |") == len(rows) and "other machines" in text
    assert all(f'| {m}: "' in text for m in methods) and "int8, chess 50%" in capsys.readouterr().out


def test_rounds_where_memory_is_slow_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, speeds, kept = tmp_path / "rows.json", iter([9.0, 50, 50, 9, 50, 51, 52, 53]), set()
    monkeypatch.setattr(llm.Reader, "gbs", lambda self, threads: next(speeds))
    over = llm._over

    def counted(speeds: Sequence[float], others: Sequence[float]) -> float:
        kept.add(len(speeds))
        return over(speeds, others)

    monkeypatch.setattr(llm, "_over", counted)
    options = ["--shape", "tiny", "--weights", "int8", "--threads", "1", "--rounds", "2", "--tokens", "4"]
    llm.main([*options, "--memory", "40", "--json", str(out)])
    assert {json.loads(line)["read_gbs"] for line in out.read_text().splitlines()} == {51.0}  # of 50 and 52
    assert kept == {2} and next(speeds, None) is None
    monkeypatch.setattr(llm.Reader, "gbs", lambda self, threads: 9.0)
    with pytest.raises(SystemExit, match="streamed 40 GB/s in 0 rounds, not in 2"):
        llm.main([*options, "--memory", "40", "--active", "0.5"])


class Llama:
    """As fast as it is told to be, in place of llama.cpp."""

    version, running = "7", False

    def __init__(self, shape: Shape, kind: str, cpus: tuple[int, ...]) -> None:
        assert (shape.name, kind, len(cpus)) == ("tiny", "q4_0", 1)

    def __enter__(self) -> None:
        self.running = True

    def __exit__(self, *error: object) -> None:
        self.running = False

    def seconds(self, tokens: int) -> list[float]:
        assert self.running
        return [0.002] * tokens


def test_llama_cpp_takes_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(llm, "LlamaCpp", Llama)
    out = tmp_path / "rows.json"
    options = ["--shape", "tiny", "--methods", "teal", "--active", "0.5", "--weights", "int4", "--threads", "1"]
    llm.main([*options, "--rounds", "1", "--tokens", "4", "--llama-cpp", "--json", str(out)])
    for row in map(json.loads, out.read_text().splitlines()):
        assert (row["peer"], row["peer_tokens_s"]) == ("7", pytest.approx(500))
        assert row["x_peer"] == pytest.approx(row["tokens_s"] / 500)
    assert "(500.0 tokens/s)" in capsys.readouterr().out


def test_the_shape_of_tinyllama() -> None:
    per_layer = 2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632
    assert SHAPES["tinyllama"].weights == 22 * per_layer + 32000 * 2048


def test_words_that_are_no_methods(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        llm.main(["--methods", "teal,dogs"])
    assert "there is no 'dogs'" in capsys.readouterr().err


def row(method: str, shape: str, threads: int, x_dense: float, skipped: float = 0.5, active: float = 0.5) -> Any:
    return {
        "method": method, "weights": "int8", "skipped": skipped, "shape": shape, "threads": threads,
        "x_dense": x_dense, "active": active,
    }  # fmt: skip


def judged(method: str, allocation: str, bits: float, sparsity: float = 0.5) -> dict[str, Any]:
    return {
        "method": method, "allocation": allocation, "sparsity": sparsity, "bits_per_byte": bits,
        "dense_bits_per_byte": 1.8,
    }  # fmt: skip


def test_published_beside_ours() -> None:
    rows = [
        row("", "a", 1, 1.0, 0.0), row("teal", "a", 1, 1.4), row("teal", "a", 1, 1.9, 0.7),
        row("cats", "a", 1, 1.2, active=0.74), row("teal", "a", 2, 1.6), row("teal", "b", 1, 1.7, active=0.52),
    ]  # fmt: skip
    lines = [
        {"percent": 1.0}, judged("teal", "uniform", 1.85), judged("teal", "block", 1.83),
        judged("teal", "block", 1.81, 0.4), judged("cats", "uniform", 1.81), judged("cats", "neurons", 1.82),
    ]  # fmt: skip
    header, (teal, cats) = llm_published.table(rows, lines)
    assert header[4:7] == ["here, a, 1 core", "here, a, 2 cores", "here, b, 1 core"]
    assert teal[4:] == ["1.40x", "1.60x", "1.70x", "50% / 52%", "+0.030 (block)"]
    assert cats[4:] == ["1.20x", "", "", "74% / ", "+0.020"]


def test_nothing_is_published_of_what_was_not_run() -> None:
    assert (
        llm_published.table([row("", "a", 1, 1.0, 0.0), {"variant": "int8", "shape": "a", "threads": 1}], [])[1] == []
    )
