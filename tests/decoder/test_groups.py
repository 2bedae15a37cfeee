"""Layers that read the same vector: one rule for them, and shares allocated to them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesparse.decoder import reference
from edgesparse.decoder.allocate import uniform
from edgesparse.decoder.allocated import allocated
from edgesparse.decoder.magnitude import calibrate_teal, calibrate_wina
from edgesparse.decoder.model import Decoder, InputRule
from edgesparse.decoder.random_inputs import calibrate_random
from edgesparse.decoder.rsparse import calibrate_rsparse
from edgesparse.decoder.sites import groups, layer, overall, to_layers
from edgesparse.decoder.thresholds import norms
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.decoder.topk import calibrate_topk
from edgesparse.errors import InputError
from edgesparse.importer import save
from edgesparse.types import Array
from tests.decoder.made import decoder as made
from tests.decoder.made import load_decoder

SHARED = (("q", "k", "v"), ("gate", "up"))
METHODS: dict[str, Callable[[Decoder, Array], Decoder]] = {
    "teal": lambda decoder, windows: calibrate_teal(decoder, windows, 0.5),
    "teal, by the network": lambda decoder, windows: calibrate_teal(decoder, windows, 0.5, allocation="network"),
    "wina": lambda decoder, windows: calibrate_wina(decoder, windows, 0.5),
    "wina, the same everywhere": lambda decoder, windows: calibrate_wina(decoder, windows, 0.5, allocation="uniform"),
    "topk": lambda decoder, windows: calibrate_topk(decoder, windows, 0.5),
    "random": lambda decoder, windows: calibrate_random(decoder, 0.5),
}


def text(decoder: Decoder, windows: int = 20) -> Array:
    return np.random.default_rng(0).integers(decoder.vocabulary, size=(windows, 32))


def rule_of(decoder: Decoder, block: int, site: str) -> InputRule:
    rule = layer(decoder, (block, site)).rule
    assert rule is not None
    return rule


def read(decoder: Decoder, windows: Array) -> dict[str, Array]:
    """What the layers of the first block read where rules hold, (tokens, inputs)."""
    seen: dict[str, Array] = {}
    reference.logits(decoder, windows, lambda i, site, x: seen.update({site: x}) if not i else None)
    return {site: x[:, decoder.dense_positions :].reshape(-1, x.shape[-1]) for site, x in seen.items()}


@pytest.mark.parametrize("method", METHODS)
def test_layers_that_read_the_same_have_the_same_rule_in_the_file_too(method: str, tmp_path: Path) -> None:
    ruled = METHODS[method](made(), text(made()))
    save(to_onnx(ruled), tmp_path / "lm.onnx")
    for decoder in (ruled, load_decoder(tmp_path / "lm.onnx")[0]):
        for block in range(2):
            for sites in SHARED:
                first = rule_of(decoder, block, sites[0])
                for site in sites[1:]:
                    rule = rule_of(decoder, block, site)
                    assert (rule.method, rule.sparsity, rule.spread) == (first.method, first.sparsity, first.spread)
                    assert rule.threshold.tobytes() == first.threshold.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_gate_and_up_of_predicted_networks_do_not_read_the_same(method: str) -> None:
    decoder = made(predictor=16)
    ruled = METHODS[method](decoder, text(decoder))
    assert groups(decoder)[0, "gate"] == ((0, "gate"),) and groups(decoder)[0, "up"] == ((0, "up"),)
    assert rule_of(ruled, 0, "gate").threshold.size in (1, 16)
    up = ruled.blocks[0].up.rule
    assert up is None if method == "topk" else up is not None and up.threshold.size in (1, 32)


def test_groups_hold_every_layer_once_and_read_the_same() -> None:
    for decoder in (made(), made(gate=False), made(predictor=16)):
        seen = read(decoder, text(decoder, 2))
        for (_, first), group in groups(decoder).items():
            for _, site in group:
                np.testing.assert_array_equal(seen[site], seen[first])
        every = [place for group in groups(decoder).values() for place in group]
        assert every == [(i, site) for i, block in enumerate(decoder.blocks) for site, _ in block.linears()]


@pytest.mark.parametrize("weighted", [False, True])
def test_thresholds_are_those_of_one_layer_with_all_the_weights(weighted: bool) -> None:
    """Against NumPy: the quantile of ``|x|``, or of ``|x|`` times the norms of the columns of the stacked weights."""
    decoder = made()
    found = allocated("any", decoder, text(decoder), 0.6, weighted=weighted, allocation="uniform")
    ruled = found.thresholds.decoder(decoder, uniform(decoder, 0.6))
    for sites in (("q", "k", "v"), ("o",), ("gate", "up"), ("down",)):
        x = np.abs(read(decoder, text(decoder))[sites[0]])
        stacked = np.concatenate([layer(decoder, (0, site)).weight for site in sites])
        norm = np.linalg.norm(stacked, axis=0) if weighted else np.ones(1)
        for site in sites:
            rule = rule_of(ruled, 0, site)
            np.testing.assert_allclose(rule.threshold, np.quantile(x * norm, 0.6) / norm, rtol=1e-5)


def test_norms_are_those_of_the_columns_of_stacked_weights() -> None:
    decoder = made()
    found = norms(decoder)
    assert set(found) == set(groups(decoder))
    for first, group in groups(decoder).items():
        stacked = np.concatenate([layer(decoder, place).weight for place in group])
        np.testing.assert_allclose(found[first], np.linalg.norm(stacked, axis=0), rtol=1e-5)


def test_low_rank_is_chosen_for_each_layer_by_itself() -> None:
    """v's spectrum decays, so that a rank is worth its weights; those of q and k do not: they keep all for inputs."""
    decoder, rng = made(blocks=1), np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0][:, :32] for n in (32, 48))
    block = decoder.blocks[0]
    decaying = ((u * np.exp(-0.3 * np.arange(32))) @ v.T).astype(np.float32)
    decoder = replace(decoder, blocks=(replace(block, v=replace(block.v, weight=decaying)),))
    ruled = calibrate_rsparse(decoder, text(decoder), 0.3, allocation="uniform")
    one, two, three = (rule_of(ruled, 0, site) for site in ("q", "k", "v"))
    assert one.rank == two.rank == 0 < three.rank and three.sparsity > one.sparsity
    np.testing.assert_array_equal(one.threshold, two.threshold)
    # beside a rank fewer inputs are kept, by the same score
    ratio = three.threshold / one.threshold
    assert ratio[0] > 1
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_greedy_allocation_ends_at_the_target_by_rising_errors() -> None:
    decoder = made()
    found = allocated("teal", decoder, text(decoder), 0.6, weighted=False, allocation="block")
    assert found.paths is not None
    for path in found.paths.blocks:
        assert path.sparsity[0] == 0 and path.sparsity[-1] >= 0.6 - 1e-9
        assert (np.diff(path.sparsity) > 0).all() and (np.diff(path.shares, axis=0) >= 0).all()
        assert (np.diff(path.errors) >= -1e-3 * path.errors[-1]).all()
    for sparsity in (0.0, 0.2, 0.45, 0.6):
        assert overall(decoder, to_layers(decoder, found.shares(sparsity))) == pytest.approx(sparsity, abs=1e-6)
    with pytest.raises(InputError, match=r"up to a sparsity of 0\.6"):
        found.at(0.7)


@pytest.mark.parametrize("weighted", [False, True])
def test_greedy_allocation_to_groups_loses_less_than_the_same_everywhere(weighted: bool) -> None:
    """In the block's output at the last quarter of the positions, which is what it goes by."""
    decoder, windows = made(), text(made())
    found = allocated("any", decoder, windows, 0.6, weighted=weighted, allocation="block")
    x, turn = reference.embedded(decoder, windows), reference.turns(decoder, 32)
    for index in range(2):
        dense = reference.block_output(decoder, index, decoder.blocks[index], x, turn)
        errors = []
        for shares in (found.shares(0.6), uniform(decoder, 0.6)):
            ruled = found.thresholds.decoder(decoder, shares)
            given = reference.block_output(decoder, index, ruled.blocks[index], x, turn)
            errors.append(float(np.square(given - dense)[:, 24:].sum()))
        assert errors[0] < 0.97 * errors[1]
        x = dense


def test_allocation_by_the_network_is_no_worse_on_its_own_text() -> None:
    decoder = made()
    tokens = text(decoder)
    dense = [reference.logits(decoder, tokens)]

    def divergence(ruled: Decoder) -> float:
        p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (dense[0], reference.logits(ruled, tokens)))
        return float((np.exp(p) * (p - q))[:, 2:].sum(-1).mean())

    block = allocated("teal", decoder, tokens, 0.6, weighted=False, allocation="block")
    network = replace(block, allocation="network")
    assert overall(decoder, to_layers(decoder, network.shares(0.6))) == pytest.approx(0.6, abs=1e-6)
    first, moved = (a.thresholds.decoder(decoder, a.shares(0.6)) for a in (block, network))
    assert divergence(moved) <= divergence(first) + 1e-6
