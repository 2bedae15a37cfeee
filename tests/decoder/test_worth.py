"""Rules that would make a layer slower are not used, and it is said; layers under one rule are stored as one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from edgesparse import runtimes
from edgesparse.cli import app
from edgesparse.decoder.blob import Blob
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import Decoder, InputRule, NeuronRule
from edgesparse.decoder.reference import logits
from edgesparse.decoder.store import Form, Store, StoredBlock
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.decoder.worth import only_worthwhile, pays_below
from edgesparse.importer import save
from edgesparse.runtimes.generation import Request
from edgesparse.tables_decoder import ranges
from tests.decoder.made import decoder, with_rules


def teal(share: float, threshold: float = 0.5, rank: int = 0) -> InputRule:
    return InputRule("teal", share, np.array([threshold], np.float32), rank=rank)


def kept(model: Decoder) -> list[set[str]]:
    return [{site for site, layer in block.linears() if layer.rule} for block in model.blocks]


def test_rules_that_leave_too_much_are_dropped() -> None:
    """int8, rows of less than 2 kB: below 60%."""
    shares = {"q": 0.2, "o": 0.4, "up": 0.9, "down": 0.41}
    model = with_rules(decoder(), lambda site, inputs: teal(shares[site]) if site in shares else None)
    found, dropped = only_worthwhile(model, "int8", "x86_64")
    assert kept(found) == [{"up", "down"}] * 2
    assert {one.place for one in dropped} == {(block, site) for block in (0, 1) for site in ("q", "o")}
    assert {round(one.active, 6) for one in dropped} == {0.8, 0.6} and {one.limit for one in dropped} == {0.6}
    assert dropped[0].why == "teal leaves 80% of its weights: skipping is faster below 60%"
    np.testing.assert_array_equal(found.blocks[0].q.weight, model.blocks[0].q.weight)


@pytest.mark.parametrize(
    ("form", "outputs", "limit"),
    [("int8", 2047, 0.6), ("int8", 2048, 0.65), ("int8", 11264, 0.75), ("int4", 2047, 0.45), ("int4", 2048, 0.55),
     ("int4", 11264, 0.75), ("f32", 64, 0.85)],
)  # fmt: skip
def test_long_rows_pay_earlier(form: Form, outputs: int, limit: float) -> None:
    assert pays_below(form, outputs, "x86_64") == limit


def test_webassembly_needs_more_to_be_left_out() -> None:
    for active, stays in ((0.35, True), (0.45, False)):
        model = with_rules(decoder(blocks=1), lambda site, inputs: teal(1 - active))  # noqa: B023
        assert bool(kept(only_worthwhile(model, "int8", "wasm32")[0])[0]) == stays
        assert kept(only_worthwhile(model, "int8", "x86_64")[0])[0]


def test_rows_are_those_of_all_layers_that_are_stored_as_one() -> None:
    """gate and up have 2048 outputs together, twice as many as each: int4, 54% active."""
    model = with_rules(decoder(hidden=1024, blocks=1), lambda site, inputs: teal(0.46))
    assert kept(only_worthwhile(model, "int4", "aarch64")[0]) == [{"gate", "up"}]


@pytest.mark.parametrize(
    "other", [None, teal(0.37, threshold=0.6), teal(0.37, rank=1)], ids=["no rule", "another threshold", "a low rank"]
)
def test_rows_are_those_of_one_layer_where_it_is_stored_by_itself(other: InputRule | None, tmp_path: Path) -> None:
    """q has 1024 outputs, k and v 512 each; int8, 63% active: worth it in rows of 2048, which all have together."""
    wide = decoder(dim=64, heads=64, kv_heads=32, blocks=1)
    same = with_rules(wide, lambda site, inputs: teal(0.37) if site in "qkv" else None)
    assert computed(stored(same, tmp_path))["q"] == 2048
    assert kept(only_worthwhile(same, "int8", "x86_64")[0]) == [{"q", "k", "v"}]
    alone = with_rules(wide, lambda site, inputs: {"q": teal(0.37), "v": other}.get(site))
    assert computed(stored(alone, tmp_path))["q"] is None
    found, dropped = only_worthwhile(alone, "int8", "x86_64")
    assert kept(found) == [set()] and {one.limit for one in dropped} == {0.6}


def test_what_goes_through_a_low_rank_counts_as_read() -> None:
    """down: 48 x 80; rank 10 is read besides: 10 * 128 of 3840 weights, a third."""
    for share, left in ((0.7, set()), (0.8, {"down"})):
        rule = teal(share, rank=10)
        model = with_rules(decoder(), lambda site, inputs: rule if site == "down" else None)  # noqa: B023
        assert kept(only_worthwhile(model, "int8", "x86_64")[0]) == [left] * 2


def test_neurons_go_as_a_whole() -> None:
    for share, stay in ((0.4, False), (0.41, True)):
        rule = NeuronRule("cats", share, np.array([0.1], np.float32))
        model = with_rules(decoder(), lambda site, inputs: teal(0.9) if site == "o" else None, rule)
        found, dropped = only_worthwhile(model, "int8", "x86_64")
        assert [block.neurons is not None for block in found.blocks] == [stay] * 2 and kept(found) == [{"o"}] * 2
        assert {one.place[1] for one in dropped} == (set() if stay else {"up", "down"})


def stored(model: Decoder, folder: Path) -> StoredBlock:
    return Store(model, "int8", "x86_64", 16, Blob(folder / "weights.bin")).all().blocks[0]


def computed(block: StoredBlock) -> dict[str, int | None]:
    return {site: matrix.computed for site, matrix in block.matrices.items()}


def test_layers_under_one_rule_are_stored_as_one(tmp_path: Path) -> None:
    block = stored(with_rules(decoder(bias=True), lambda site, inputs: teal(0.5)), tmp_path)
    assert computed(block) == {"q": 128, "k": 0, "v": 0, "o": None, "gate": 160, "up": 0, "down": None}
    assert block.matrices["gate"].bytes == block.matrices["up"].bytes
    assert block.matrices["q"].outputs == 2 * block.matrices["k"].outputs == 64


@pytest.mark.parametrize("other", [teal(0.5, threshold=0.6), teal(0.5, rank=3), None])
def test_layers_under_different_rules_are_not(other: InputRule | None, tmp_path: Path) -> None:
    model = with_rules(decoder(), lambda site, inputs: other if site in ("v", "up") else teal(0.5))
    assert set(computed(stored(model, tmp_path)).values()) == {None}


def test_gate_and_up_with_a_predictor_are_not(tmp_path: Path) -> None:
    model = with_rules(decoder(predictor=16), lambda site, inputs: teal(0.5))
    found = computed(stored(model, tmp_path))
    assert (found["gate"], found["up"]) == (None, None) and (found["q"], found["k"]) == (128, 0)


@pytest.mark.cpus(2)
def test_layers_that_are_stored_as_one_on_two_threads(tmp_path: Path) -> None:
    """Greedy tokens are those of the reference, and counts of inputs are told for each layer."""
    model = with_rules(decoder(bias=True, dim=64, hidden=192), lambda site, inputs: teal(0.5))
    bundle = compile_decoder(model, "host", tmp_path / "lm.edge", weights="f32", break_even=1)
    tokens = [5]
    for _ in range(8):
        tokens.append(int(np.argmax(logits(model, np.array([tokens]))[0, -1])))
    for threads in (1, 2):
        with runtimes.open(bundle, "local", threads=threads) as session:
            found = session.generate([5], Request(8))
            facts = session.manifest.decoder
        assert list(found.tokens) == tokens[1:] and facts is not None
        active = {(s.block, s.site): a for s, a in zip(facts.sites, found.cost.active, strict=True)}
        for index in (0, 1):
            assert active[index, "q"] == active[index, "k"] == active[index, "v"] != active[index, "o"]
            assert 0 < active[index, "gate"] == active[index, "up"] < 64


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    shares = {"q": 0.2, "k": 0.2, "v": 0.2, "down": 0.9}
    model = with_rules(decoder(vocabulary=256), lambda site, inputs: teal(shares[site]) if site in shares else None)
    save(to_onnx(model), tmp_path / "lm.onnx")
    return tmp_path / "lm.onnx"


def run(*arguments: object) -> None:
    app(list(map(str, arguments)), standalone_mode=False)


def test_compile_says_which_rules_it_does_not_use(onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = onnx.with_name("lm.edge")
    run("compile", onnx, "-o", bundle, "--weights", "int8", "--json")
    said = capsys.readouterr()
    assert json.loads(said.out)["dropped_rules"] == 6
    assert "6 of 14 layers compute with all of their inputs" in " ".join(said.err.split())
    assert f"edgesparse explain {bundle} says why, --keep-rules skips" in " ".join(said.err.split())

    run("explain", bundle)
    table = " ".join(capsys.readouterr().out.split())
    assert "0-1 q, k, v interleaved 0.02 teal leaves 80% of its weights: skipping is faster below 60%" in table
    assert "0-1 o, gate, up interleaved" in table and "no rule: all inputs count" in table
    assert "0-1 down columns 0.01 teal leaves out 90% of the inputs" in table

    run("explain", bundle, "--json")
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [one["site"] for one in layers if one["dropped"]] == ["q", "k", "v"] * 2
    assert {one["site"]: one["rule"] for one in layers}["down"]


def test_rules_can_be_kept(onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("compile", onnx, "-o", onnx.with_name("lm.edge"), "--weights", "int8", "--json", "--keep-rules")
    said = capsys.readouterr()
    assert json.loads(said.out)["dropped_rules"] == 0 and "compute with all" not in said.err


@pytest.mark.parametrize(
    ("numbers", "said"), [((0,), "0"), ((0, 1, 2, 5), "0-2, 5"), ((7, 3, 4), "3-4, 7"), (range(22), "0-21")]
)
def test_ranges(numbers: Iterable[int], said: str) -> None:
    assert ranges(numbers) == said
