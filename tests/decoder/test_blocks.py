"""Blocks of 4 x 16 weights of a language model, pruned on a text: layer by layer, as a network, as a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_format
import onnxruntime
import pytest

from edgesparse import runtimes
from edgesparse.cli import app
from edgesparse.decoder.blocks_layer import largest, left, removed, rounded, salient
from edgesparse.decoder.blocks_network import METHODS, prune_blocks, prune_on, ranked
from edgesparse.decoder.gqsa import blocks_of, gqsa, in_blocks, zero_share
from edgesparse.decoder.pack_qb4 import quantise_qb4
from edgesparse.decoder.reference import logits
from edgesparse.decoder.sites import layer as layer_at
from edgesparse.errors import EdgeSparseError, InputError
from edgesparse.manifest import read_manifest
from edgesparse.patterns import parse_pattern, zero_count
from edgesparse.sparsity.moments import Accumulator, Moments
from edgesparse.sparsity.reconstruct import refit
from edgesparse.sparsity.removal import remove
from edgesparse.types import Array
from tests.decoder.made import decoder as made
from tests.decoder.made import load_decoder, tokens, written
from tests.tiny_models import linear as not_a_decoder

SHAPES = [(32, 64), (30, 100), (5, 17), (4, 16)]


def layer(seed: int, outputs: int, inputs: int, samples: int = 600) -> tuple[Array, Array, Moments]:
    """Weights, activations of a few hidden causes, and their moments with what the dense layer gives."""
    random = np.random.default_rng(seed)
    causes = random.normal(size=(samples, max(1, inputs // 3))) @ random.normal(size=(max(1, inputs // 3), inputs))
    x = causes + 0.3 * random.normal(size=(samples, inputs))
    w = random.normal(size=(outputs, inputs)).astype(np.float32)
    sums = Accumulator(bias=False)
    sums.add(x, x @ w.T)
    return w, x, sums.moments()


def error(x: Array, w: Array, other: Array) -> float:
    return float(np.square(x @ (other - w).T.astype(np.float64)).mean())


def alive(w: Array) -> Array:
    """Which blocks have a weight that is not zero."""
    return np.asarray(in_blocks(w).any(axis=(2, 3)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sparsity", [0.3, 0.5])
def test_what_is_moved_errs_less_than_what_is_not(seed: int, sparsity: float) -> None:
    """Even with 4 bits, beside the largest and the most salient blocks with all of theirs."""
    w, x, moments = layer(seed, 32, 128)
    by_size = error(x, w, left(w, largest(w, sparsity)))
    best = rounded(w, moments, removed(w, moments, sparsity))
    once = rounded(w, moments, salient(w, moments, sparsity))
    assert error(x, w, best) < 0.5 * by_size and error(x, w, once) < 0.7 * by_size
    assert error(x, w, best) < error(x, w, gqsa(w, None, sparsity).dense())


@pytest.mark.parametrize("seed", range(3))
def test_rounding_is_made_up_for(seed: int) -> None:
    """Beside the nearest integers of the best weights in these places, which nothing can be better than."""
    w, x, moments = layer(seed, 32, 128)
    kept = removed(w, moments, 0.5)
    best = refit(kept.repeat(4, 0).repeat(16, 1), moments, w.astype(np.float64))
    nearest = error(x, w, blocks_of(best.astype(np.float32)).dense())
    assert error(x, w, best) <= error(x, w, rounded(w, moments, kept)) < 0.75 * nearest


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_that_of_obc(seed: int) -> None:
    """The project's own, which goes column by column, on whole blocks."""
    w, _, moments = layer(seed, 24, 96)
    exact = remove(moments.best(w.astype(np.float64)), w.shape, parse_pattern("block:4x16"), moments)
    for sparsity in (0.25, 0.5):
        assert np.array_equal(removed(w, moments, sparsity).repeat(4, 0).repeat(16, 1), exact.mask(w.shape, sparsity))


CHOICES: dict[str, Callable[[Array, Moments, float], Array]] = {
    "largest": lambda w, _, s: largest(w, s), "salient": salient, "removed": removed,
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("choice", CHOICES)
def test_whole_blocks_go_and_exactly_so_many(choice: str, shape: tuple[int, int]) -> None:
    w, _, moments = layer(0, *shape)
    for sparsity in (0.0, 0.3, 0.5, 0.99):
        kept = CHOICES[choice](w, moments, sparsity)
        assert (~kept).sum() == zero_count(kept.size, sparsity)
        found = rounded(w, moments, kept)
        assert found.shape == w.shape and found.dtype == np.float32 and np.isfinite(found).all()
        assert not alive(found)[~kept].any()
        assert np.array_equal(left(w, kept) != 0, np.isin(left(w, kept), w) & (left(w, kept) != 0))


def test_too_much_work_shares_one_factorisation(monkeypatch: pytest.MonkeyPatch) -> None:
    w, x, moments = layer(1, 32, 128)
    kept = salient(w, moments, 0.5)
    apart = error(x, w, rounded(w, moments, kept))
    monkeypatch.setattr("edgesparse.decoder.blocks_layer.MOST_WORK", 0)
    shared = rounded(w, moments, kept)
    assert not alive(shared)[~kept].any()
    assert apart < error(x, w, shared) < error(x, w, left(w, kept))


def test_long_rows_are_ranked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(vocabulary=64)
    text = np.random.default_rng(0).integers(0, 64, (40, 32))
    monkeypatch.setattr("edgesparse.decoder.blocks_layer.COLUMNS", 48)  # all but down, which has 80
    for allocation in ("uniform", "global"):
        found = prune_on(model, text, 0.4, "obc", allocation)
        other = np.random.default_rng(1).integers(0, 64, (8, 32))
        lost = [
            np.square(logits(x, other) - logits(model, other)).mean()
            for x in (found.decoder, prune_on(model, text, 0.4, "magnitude").decoder)
        ]
        assert lost[0] < lost[1]


def test_groups_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    w, _, moments = layer(2, 30, 64)
    whole = rounded(w, moments, removed(w, moments, 0.4))
    monkeypatch.setattr("edgesparse.decoder.blocks_layer.MEMORY_BYTES", 1)
    np.testing.assert_array_equal(rounded(w, moments, removed(w, moments, 0.4)), whole)


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_fewer_samples_than_inputs_and_inputs_that_are_always_zero(samples: int) -> None:
    w, x, _ = layer(3, 16, 64, samples)
    x[:, 5:40] = 0
    sums = Accumulator(bias=False)
    sums.add(x, x @ w.T)
    moments = sums.moments()
    for choice in (salient, removed):
        found = rounded(w, moments, choice(w, moments, 0.5))
        assert np.isfinite(found).all() and zero_share(found) >= 0.5
        assert error(x, w, found) <= error(x, w, left(w, largest(w, 0.5)))


def test_what_has_4_bits_is_stored_without_loss_also_as_halves() -> None:
    w, _, moments = layer(4, 30, 100)
    found = rounded(w * np.float32(3e-4), moments, removed(w, moments, 0.5))
    assert np.array_equal(found.astype(np.float16).astype(np.float32), found)
    stored = blocks_of(found)
    assert np.array_equal(stored.dense(), found) and stored.sparsity == zero_share(found) >= 0.5


def test_a_matrix_of_zeros_has_no_blocks() -> None:
    stored = blocks_of(np.zeros((8, 32), np.float32))
    assert not len(stored.u) and stored.sparsity == 1 and not stored.dense().any()
    with pytest.raises(InputError, match="more than"):
        blocks_of(np.zeros((4, (1 << 20) + 16), np.float32))


KINDS: dict[str, dict[str, Any]] = {
    "gated": {}, "no gate": {"gate": False, "activation": "relu"}, "bias and norms": {"bias": True, "qk_norm": True},
    "norms after": {"post_norm": True, "tied": False}, "predictor": {"predictor": 16}, "windows": {"windows": (0, 5)},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_changes_less_than_by_magnitude(kind: str) -> None:
    """By its logits on other tokens than those of calibration."""
    model = made(vocabulary=64, **KINDS[kind])
    text = np.random.default_rng(0).integers(0, 64, (40, 32))
    other = np.random.default_rng(1).integers(0, 64, (8, 32))
    dense = logits(model, other)
    lost = {}
    for method in ("magnitude", "obc"):
        found = prune_on(model, text, 0.4, method)
        assert [x.place for x in found.layers] == [(i, s) for i, b in enumerate(model.blocks) for s, _ in b.linears()]
        for block, old in zip(found.decoder.blocks, model.blocks, strict=True):
            for (_, new), (_, was) in zip(block.linears(), old.linears(), strict=True):
                blocks = in_blocks(was.weight).shape[:2]
                count = blocks[0] * blocks[1]
                assert zero_share(new.weight) == pytest.approx(zero_count(count, 0.4) / count)
                assert new.bias is was.bias and new.weight.dtype == was.weight.dtype
        lost[method] = float(np.square(logits(found.decoder, other) - dense).mean())
    assert lost["obc"] < 0.7 * lost["magnitude"]


def test_blocks_of_all_layers_compete() -> None:
    """Of a layer that gives next to nothing all but one go, and as many go as of each layer alone."""
    model = made(vocabulary=64)
    block = model.blocks[1]
    noise = np.random.default_rng(5).normal(size=(40, 48)).astype(np.float32)
    gate = replace(block.gate, weight=np.concatenate([block.gate.weight[:40], 1e-3 * noise]))  # type: ignore[type-var,union-attr]
    model = replace(model, blocks=(model.blocks[0], replace(block, gate=gate)))
    text = np.random.default_rng(0).integers(0, 64, (40, 32))
    shares = ranked(model, text, 0.4)
    assert shares[1, "gate"] > 0.5 and shares[1, "gate"] == max(shares.values())
    found = prune_on(model, text, 0.4, "obc", "global")
    sizes = {x.place: in_blocks(layer_at(model, x.place).weight).shape[:2] for x in found.layers}
    gone = {x.place: round(x.zeros * int(np.prod(sizes[x.place]))) for x in found.layers}
    assert gone == {place: round(share * int(np.prod(sizes[place]))) for place, share in shares.items()}
    assert sum(gone.values()) == zero_count(sum(int(np.prod(size)) for size in sizes.values()), 0.4)


@pytest.mark.parametrize("method", METHODS)
def test_a_sparsity_of_0_changes_nothing(method: str) -> None:
    model = made()
    text = tokens(model, 200)
    found = prune_blocks(model, text, 0.0, method)
    for block, old in zip(found.decoder.blocks, model.blocks, strict=True):
        for (_, new), (_, was) in zip(block.linears(), old.linears(), strict=True):
            assert np.array_equal(new.weight, was.weight)


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    return written(tmp_path, made(vocabulary=256, dim=64, hidden=96))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_bytes(np.random.default_rng(0).integers(256, size=1500, dtype=np.uint8).tobytes())
    return path


def run(*arguments: object) -> None:
    app(["sparsify", *map(str, arguments)], standalone_mode=False)


def blocks(*more: object) -> tuple[object, ...]:
    return ("--pattern", "block:4x16", "--sparsity", 0.5, *more)


def test_the_file_runs_elsewhere_and_says_what_it_cost(
    onnx: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pruned.onnx"
    run(onnx, *blocks("--text", text, "-o", out, "--json"))
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == "obc" and said["zero_blocks"] == 0.5 and len(said["layers"]) == 14
    assert said["calibrating_windows"] == 35 and said["judging_windows"] == 11 and said["window"] == 32
    assert all(0 < x["error"] < 1 and x["zero_blocks"] == 0.5 for x in said["layers"])
    decoder, tokenizer = load_decoder(out)
    assert tokenizer is not None and decoder.context == 32
    chosen = tokens(decoder, 7)
    feeds = {"input_ids": chosen[None], "position_ids": np.arange(7)[None]}
    session = onnxruntime.InferenceSession(out)
    for value in session.get_inputs()[2:]:
        feeds[value.name] = np.zeros((1, 2, 0, 16), np.float32)
    np.testing.assert_allclose(session.run(["logits"], feeds)[0], logits(decoder, chosen[None]), rtol=1e-3, atol=1e-4)


def test_tables_and_methods(onnx: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pruned.onnx"
    run(onnx, *blocks("--text", text, "-o", out))
    said = capsys.readouterr().out
    for word in ("bits per byte", "50.0% are zero", "% of their energy", "--weights int4"):
        assert word in said
    run(onnx, *blocks("--method", "magnitude", "-o", out, "--force"))
    said = capsys.readouterr().out
    assert "50.0% are zero" in said and "bits per byte" not in said
    run(onnx, *blocks("--allocation", "global", "--text", text, "-o", out, "--force", "--json"))
    said = json.loads(capsys.readouterr().out)
    assert said["zero_blocks"] == pytest.approx(0.5, abs=0.005) and len({x["zero_blocks"] for x in said["layers"]}) > 3


def test_rules_for_other_weights_are_left_out(
    onnx: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ruled, out = tmp_path / "ruled.onnx", tmp_path / "pruned.onnx"
    app(["calibrate-activations", str(onnx), "--sparsity", "0.5", "--text", str(text), "-o", str(ruled)],
        standalone_mode=False)  # fmt: skip
    run(ruled, *blocks("--text", text, "-o", out))
    assert "thresholds were made for its dense weights" in capsys.readouterr().err
    decoder, _ = load_decoder(out)
    assert not any(linear.rule for block in decoder.blocks for _, linear in block.linears())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pattern", "block:4x16", "--sparsity", "1.0"), r"1 is not in \[0, 1\)"),
        (("--pattern", "block:4x16", "--sparsity", "-0.1"), r"-0.1 is not in \[0, 1\)"),
        (("--pattern", "block:4x16"), "which share of the blocks"),
        (("--sparsity", "0.5", "--pattern", "block:4x1"), "blocks of 4 outputs x 16 inputs"),
        (blocks("--method", "wanda"), "no method 'wanda' for language models"),
        (blocks("--keep", "o"), "language models know --pattern"),
        (blocks("--allocation", "global", "--method", "magnitude"), "and with obc global"),
        (blocks("--allocation", "erk"), "no allocation 'erk'"),
    ],
)
def test_refused(arguments: tuple[object, ...], message: str, onnx: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeSparseError, match=message):
        run(onnx, *arguments, "--text", text, "-o", tmp_path / "pruned.onnx")
    assert not (tmp_path / "pruned.onnx").exists()


def test_texts_that_are_missing_or_too_short(onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned.onnx"
    with pytest.raises(InputError, match="looks at what the layers read on a text") as missing:
        run(onnx, *blocks("-o", out))
    assert "--text corpus.txt" in str(missing.value) and "--method magnitude" in str(missing.value)
    for size, message in ((1, "a text of 1 token"), (40, "one window of 32 tokens")):
        (tmp_path / "short.txt").write_bytes(b"a" * size)
        with pytest.raises(InputError, match=message):
            run(onnx, *blocks("--text", tmp_path / "short.txt", "-o", out))
    with pytest.raises(InputError, match="cannot be read"):
        run(onnx, *blocks("--text", tmp_path / "none.txt", "-o", out))


def test_models_without_a_tokenizer_with_damaged_weights_and_no_decoders(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "pruned.onnx"
    with pytest.raises(InputError, match="no tokenizer"):
        run(written(tmp_path, made(vocabulary=70)), *blocks("--text", text, "-o", out))
    broken = made(vocabulary=256)
    broken.blocks[1].up.weight[3, 4] = np.nan
    with pytest.raises(InputError, match="NaN"):
        run(written(tmp_path, broken), *blocks("--text", text, "-o", out))
    onnx_format.save(not_a_decoder(), tmp_path / "vision.onnx")
    with pytest.raises(InputError, match="is for language models, which this is not"):
        run(tmp_path / "vision.onnx", *blocks("--text", text, "-o", out))


def test_compile_stores_the_blocks_that_are_left(onnx: Path, text: Path, tmp_path: Path) -> None:
    """As the ONNX file has them: rounded already, so nothing is lost again but activations and the head's 4 bits."""
    out, bundle = tmp_path / "pruned.onnx", tmp_path / "lm.edge"
    run(onnx, *blocks("--text", text, "-o", out))
    app(["compile", str(out), "--weights", "int4", "-o", str(bundle)], standalone_mode=False)
    facts = read_manifest(bundle).decoder
    assert facts is not None and {site.layout for site in facts.sites} == {"blocks"}
    decoder, _ = load_decoder(out)
    stored = replace(decoder, embedding=quantise_qb4(decoder.embedding, 32).dense())
    chosen = tokens(decoder, 9)
    expected = logits(stored, chosen[None])[0, :-1]
    foretold = expected - expected.max(-1, keepdims=True)
    foretold -= np.log(np.exp(foretold).sum(-1, keepdims=True))
    with runtimes.open(bundle) as session:
        found, _ = session.score(chosen[None].astype(np.int32))
    losses = -foretold[np.arange(8), chosen[1:]]
    assert np.abs(found[0] - losses).max() < 0.05 * np.abs(losses).max()


def test_compile_says_where_blocks_are_left_out(
    onnx: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bundle = tmp_path / "pruned.onnx", tmp_path / "lm.edge"
    for sparsity, weights, said in ((0.5, "int4", 14), (0.1, "int4", 0), (0.5, "int8", 0)):
        run(onnx, *blocks("--method", "magnitude", "-o", out, "--force"), "--sparsity", sparsity)
        capsys.readouterr()
        compiling = ["compile", str(out), "--weights", weights, "-o", str(bundle), "--force"]
        app([*compiling, "--json"], standalone_mode=False)
        assert json.loads(capsys.readouterr().out)["layers_in_blocks"] == said
    run(onnx, *blocks("--method", "magnitude", "-o", out, "--force"))
    app(["compile", str(out), "--weights", "int4", "-o", str(bundle), "--force"], standalone_mode=False)
    assert "left out in 14 of 14 layers" in capsys.readouterr().out
