"""Methods of activation sparsity on made decoders and made values: definitions, not accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import pi, sqrt
from statistics import NormalDist

import numpy as np
import pytest

from edgesparse.decoder import reference
from edgesparse.decoder.achieved import achieved, bytes_per_token
from edgesparse.decoder.cats import calibrate_cats
from edgesparse.decoder.chess import calibrate_chess, channel_thresholds
from edgesparse.decoder.magnitude import calibrate_teal, calibrate_wina
from edgesparse.decoder.model import Decoder, InputRule, NeuronRule
from edgesparse.decoder.random_inputs import calibrate_random
from edgesparse.decoder.relu import calibrate_relu
from edgesparse.decoder.rsparse import best_split, calibrate_rsparse, split_rule
from edgesparse.decoder.sites import Samples, groups, layer, places, quantile, sample
from edgesparse.decoder.store import describe_rules
from edgesparse.decoder.thresholds import column_norms, thresholds
from edgesparse.decoder.topk import calibrate_topk, spread
from edgesparse.decoder.worth import only_worthwhile
from edgesparse.errors import InputError
from edgesparse.types import Array
from tests.decoder.made import decoder as made

PLACES = [(block, site) for block in range(2) for site in ("q", "k", "v", "o", "gate", "up", "down")]


def text(decoder: Decoder, windows: int = 40, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(decoder.vocabulary, size=(windows, 32))


ON_INPUTS: dict[str, Callable[..., Decoder]] = {
    "teal": calibrate_teal, "wina": calibrate_wina, "topk": calibrate_topk,
}  # fmt: skip


@pytest.mark.parametrize("method", ON_INPUTS)
@pytest.mark.parametrize("sparsity", [0.3, 0.6])
def test_as_much_is_skipped_on_other_text(method: str, sparsity: float) -> None:
    decoder = made()
    found = achieved(ON_INPUTS[method](decoder, text(decoder), sparsity), text(decoder, seed=1))
    # tokens of one text and the other: within a point, and a little for the network that follows skipped layers
    assert found.sparsity == pytest.approx(sparsity, abs=0.02)


@pytest.mark.parametrize("calibrate", [calibrate_cats, calibrate_chess])
def test_as_many_neurons_are_skipped_on_other_text(calibrate: Callable[..., Decoder]) -> None:
    decoder = made()
    found = achieved(calibrate(decoder, text(decoder), 0.5), text(decoder, seed=1))
    for index in range(2):
        assert found.shares[index, "up"] == found.shares[index, "down"] == pytest.approx(0.5, abs=0.02)
        assert found.shares[index, "gate"] == found.shares[index, "k"] == found.shares[index, "v"] == 0


@pytest.mark.parametrize(
    "calibrate",
    [calibrate_teal, calibrate_wina, calibrate_topk, calibrate_cats, calibrate_chess, calibrate_rsparse],
)
def test_no_sparsity_is_no_rule(calibrate: Callable[..., Decoder]) -> None:
    decoder = made()
    found = calibrate(decoder, text(decoder), 0.0)
    assert all(layer.rule is None for block in found.blocks for _, layer in block.linears())
    assert all(block.neurons is None for block in found.blocks)


def test_the_output_is_that_of_inputs_set_to_zero() -> None:
    decoder = made()
    tokens = text(decoder, 3)
    ruled = calibrate_cats(decoder, text(decoder), 0.5)
    seen: dict[int, Array] = {}

    def watch(index: int, site: str, x: Array) -> None:
        if site == "down":
            seen[index] = x

    reference.logits(ruled, tokens, watch)
    rule = ruled.blocks[0].neurons
    assert rule is not None
    gates: dict[int, Array] = {}
    reference.logits(decoder, tokens, lambda i, site, x: gates.update({i: x}) if site == "act" else None)
    small = np.abs(gates[0]) <= rule.threshold
    small[:, : decoder.dense_positions] = False
    # of the first block, which reads the same in both
    np.testing.assert_array_equal(seen[0][small], 0)
    assert (seen[0][~small] != 0).mean() > 0.99


def test_sinks_stay_dense() -> None:
    decoder = replace(made(), dense_positions=8)
    tokens = text(decoder, 4)
    ruled = calibrate_random(decoder, 0.9)
    np.testing.assert_array_equal(reference.logits(ruled, tokens)[:, :8], reference.logits(decoder, tokens)[:, :8])
    assert not np.allclose(reference.logits(ruled, tokens)[:, 8:], reference.logits(decoder, tokens)[:, 8:])


def test_what_is_sampled_leaves_out_the_sinks() -> None:
    decoder = replace(made(), dense_positions=5)
    tokens = text(decoder, 4)
    seen: dict[str, Array] = {}
    reference.logits(decoder, tokens, lambda i, site, x: seen.update({f"{i}.{site}": x}))
    found = sample(decoder, tokens)
    assert found.tokens == 4 * 27
    for block, site in PLACES:
        np.testing.assert_array_equal(found[block, site], seen[f"{block}.{site}"][:, 5:].reshape(4 * 27, -1))


def test_quantile_counts() -> None:
    values = np.random.default_rng(0).permutation(100).astype(np.float32) + 1
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        assert (values <= quantile(values, share)).sum() == round(100 * share)


def test_wina_thresholds_are_over_norms() -> None:
    decoder = made()
    weight = decoder.blocks[0].o.weight.copy()
    weight[:, 3] = 0
    block = replace(decoder.blocks[0], o=replace(decoder.blocks[0].o, weight=weight))
    decoder = replace(decoder, blocks=(block, decoder.blocks[1]))
    rule = calibrate_wina(decoder, text(decoder), 0.5, allocation="uniform").blocks[0].o.rule
    assert rule is not None
    norm = np.linalg.norm(weight, axis=0)
    assert rule.threshold[3] == np.inf
    level = np.delete(rule.threshold, 3) * np.delete(norm, 3)
    np.testing.assert_allclose(level, level[0], rtol=1e-5)


def test_wina_is_teal_where_norms_are_equal_and_better_where_not() -> None:
    """Errors of the output at the same share: the paper's claim for columns that are about orthogonal."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((500, 64)), rng.standard_normal((512, 64)) / 20
    for sigma, better in ((0.0, 1.0), (0.5, 0.8), (1.0, 0.45)):
        w = weight / np.linalg.norm(weight, axis=0) * rng.lognormal(0, sigma, 64)
        errors = []
        for norm in (None, np.linalg.norm(w, axis=0).astype(np.float32)):
            rule = thresholds("x", Samples({(0, "q"): x}, 500), {} if norm is None else {(0, "q"): norm}).rule(
                (0, "q"), 0.5
            )
            assert rule is not None
            skipped = np.where(reference.keeps(x, rule), 0, x)
            errors.append(np.linalg.norm(skipped @ w.T) / np.linalg.norm(x @ w.T))
        assert errors[1] <= errors[0] * better * 1.01


def test_chess_is_cats_where_all_neurons_are_multiplied_by_as_much() -> None:
    a = np.random.default_rng(0).standard_normal((400, 32)).astype(np.float32)
    found = channel_thresholds(a, np.full(32, 2.5, np.float32), 0.5)
    np.testing.assert_allclose(found, quantile(np.abs(a), 0.5), rtol=1e-6)


def test_chess_is_better_than_cats_where_they_are_not() -> None:
    rng = np.random.default_rng(0)
    a, scale = rng.standard_normal((2000, 64)), rng.lognormal(0, 1, 64)
    h = a * rng.standard_normal((2000, 64)) * scale
    by_channel = np.where(np.abs(a) > channel_thresholds(a, scale**2, 0.5), 0, h)
    by_size = np.where(np.abs(a) > quantile(np.abs(a), 0.5), 0, h)
    assert np.linalg.norm(by_channel) < 0.6 * np.linalg.norm(by_size)


def test_chess_never_computes_what_is_multiplied_by_nothing() -> None:
    a = np.ones((4, 3), np.float32)
    assert channel_thresholds(a, np.array([1, 0, 1], np.float32), 0.5)[1] == np.inf


def test_chess_skips_inputs_of_q_and_o() -> None:
    decoder = made()
    block = calibrate_chess(decoder, text(decoder), 0.5).blocks[0]
    assert block.q.rule is not None and block.q.rule.threshold.shape == (1,)
    assert block.o.rule is not None and block.k.rule is None and block.v.rule is None and block.down.rule is None
    assert block.neurons is not None and block.neurons.threshold.shape == (decoder.hidden,)
    assert calibrate_chess(decoder, text(decoder), 0.5, attention=False).blocks[0].q.rule is None


@pytest.mark.parametrize("share", [0.5, 0.7, 0.92])
def test_the_spread_of_sizes_of_normal_values(share: float) -> None:
    """Sizes are half-normal: their quantile is ``Phi^-1((1 + share) / 2)``, their mean ``sqrt(2 / pi)``."""
    x = np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)
    wanted = (NormalDist().inv_cdf((1 + share) / 2) - sqrt(2 / pi)) / sqrt(1 - 2 / pi)
    assert spread(x, share) == pytest.approx(wanted, abs=0.02)


def test_statistical_top_k_keeps_about_k_of_every_token() -> None:
    """8% of 13824, 1105 of each token, at most 7% off, whatever its size and its tails."""
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal((16, 13824)), rng.laplace(size=(16, 13824))):
        x = (x * rng.lognormal(0, 2, (16, 1))).astype(np.float32)
        rule = InputRule("topk", 0.92, np.zeros(1, np.float32), spread(x[:8], 0.92))
        kept = reference.keeps(x, rule)
        assert np.abs(kept.sum(-1) - 1105).max() < 0.07 * 1105
        size = np.abs(x)
        assert all(size[i][kept[i]].min() >= size[i][~kept[i]].max() for i in range(16))


def test_top_k_chooses_neurons_where_the_network_predicts_them() -> None:
    decoder = made(predictor=16)
    block = calibrate_topk(decoder, text(decoder), 0.5).blocks[0]
    assert block.neurons is not None and block.neurons.spread is not None
    assert block.up.rule is None and block.down.rule is None and block.gate is not None and block.gate.rule is not None


def test_predicted_networks_are_sampled_where_each_layer_reads() -> None:
    decoder = made(predictor=16)
    found = sample(decoder, text(decoder, 2))
    assert found[0, "gate"].shape[1] == 16 and found[0, "up"].shape[1] == 32


@pytest.mark.parametrize("gate", [True, False])
def test_relu_without_sparsity_is_exact(gate: bool) -> None:
    decoder = made(gate=gate, activation="relu")
    ruled = calibrate_relu(decoder, text(decoder))
    tokens = text(decoder, 3, seed=1)
    np.testing.assert_array_equal(reference.logits(ruled, tokens), reference.logits(decoder, tokens))
    assert achieved(ruled, tokens).shares[0, "down"] > 0.3


def test_relu_with_a_threshold_skips_more() -> None:
    decoder = made(activation="relu")
    found = achieved(calibrate_relu(decoder, text(decoder), 0.8), text(decoder, seed=1))
    assert found.shares[1, "down"] == pytest.approx(0.8, abs=0.02)


MADE: dict[str, Callable[[Decoder, Array, float], Decoder]] = {
    "teal": partial(calibrate_teal, allocation="uniform"), "teal by block": calibrate_teal,
    "wina": partial(calibrate_wina, allocation="uniform"), "rsparse": partial(calibrate_rsparse, allocation="uniform"),
    "cats": calibrate_cats, "chess": calibrate_chess, "topk": calibrate_topk,
}  # fmt: skip


@pytest.mark.parametrize("method", MADE)
def test_rules_say_what_they_skip_where_many_values_are_zero(method: str) -> None:
    """About half of what ReLU gives; counted here on the text that the rules were made on."""
    decoder = made(activation="relu")
    ruled = MADE[method](decoder, text(decoder), 0.3)
    seen: dict[tuple[int, str], Array] = {}
    reference.logits(ruled, text(decoder), lambda i, site, x: seen.update({(i, site): x[:, 2:]}))
    most = 0.0
    for index, block in enumerate(ruled.blocks):
        rules: dict[str, InputRule | NeuronRule | None] = {site: linear.rule for site, linear in block.linears()}
        for site, rule in {**rules, "act": block.neurons}.items():
            if rule is None:
                continue
            size = np.abs(seen[index, site])
            level = rule.threshold if rule.spread is None else (
                size.mean(-1, keepdims=True) + np.float32(rule.spread) * size.std(-1, keepdims=True))  # fmt: skip
            skipped = float((size <= level).mean())
            most = max(most, skipped)
            assert skipped > 0 and rule.sparsity == pytest.approx(skipped, abs=0.02), (index, site)
    assert most > 0.4 or method == "topk"


def test_what_is_skipped_anyway_decides_whether_a_rule_is_worth_it() -> None:
    """Half of what down reads is zero: that is worth it in int8, though no more than 30% was asked for."""
    decoder = made(activation="relu")
    ruled = calibrate_teal(decoder, text(decoder), 0.3, allocation="uniform")
    found, _ = only_worthwhile(ruled, "int8", "x86_64")
    assert [block.down.rule is not None for block in found.blocks] == [True, True]
    assert [block.o.rule is not None for block in found.blocks] == [False, False]
    achieved_share = achieved(ruled, text(decoder)).sparsity
    assert describe_rules(ruled)["sparsity"] == pytest.approx(achieved_share, abs=0.01) and achieved_share > 0.32


def test_random_skips_as_many_inputs_of_each_layer() -> None:
    decoder = made()
    ruled = calibrate_random(decoder, 0.25)
    for block in ruled.blocks:
        for _, found in block.linears():
            assert found.rule is not None
            assert np.isinf(found.rule.threshold).sum() == round(0.25 * found.inputs)


def test_all_to_inputs_is_thresholding() -> None:
    decoder = made()
    scored = thresholds("rsparse", sample(decoder, text(decoder)), {})
    for first, group in groups(decoder).items():
        same = scored.rule(first, 0.5)
        for place in group:
            rule = split_rule(scored, decoder, place, 0.5, 1.0)
            assert rule is not None and same is not None and rule.rank == 0
            np.testing.assert_array_equal(rule.threshold, same.threshold)


def test_splits_stay_within_the_budget() -> None:
    decoder = made()
    scored = thresholds("rsparse", sample(decoder, text(decoder)), {})
    for place in PLACES:
        linear = layer(decoder, place)
        for rho in (0.9, 0.5, 0.2):
            rule = split_rule(scored, decoder, place, 0.5, rho)
            assert rule is not None
            read = (1 - rule.sparsity) * linear.weight.size + rule.rank * (linear.inputs + linear.outputs)
            assert read <= 0.5 * linear.weight.size + 1e-6


@pytest.mark.parametrize(("decay", "all_to_inputs"), [(0.0, True), (0.15, False)])
def test_rank_is_used_where_the_spectrum_decays(decay: float, all_to_inputs: bool) -> None:
    decoder = made(dim=64, hidden=96, blocks=1)
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((64, 64)))[0] for _ in range(2))
    weight = ((u * np.exp(-decay * np.arange(64))) @ v.T).astype(np.float32)
    block = replace(decoder.blocks[0], o=replace(decoder.blocks[0].o, weight=weight))
    decoder = replace(decoder, blocks=(block,))
    x = rng.standard_normal((256, 64)).astype(np.float32)
    scored = thresholds("rsparse", Samples({(0, "o"): x}, 256), {(0, "o"): column_norms(block.o)})
    assert (best_split(scored, decoder, (0, "o"), 0.5) == 1.0) is all_to_inputs


def test_evolution_of_splits_is_reproducible_and_in_budget() -> None:
    decoder = made()
    one, two = (
        calibrate_rsparse(decoder, text(decoder, 8), 0.5, allocation="uniform", generations=2, seed=3) for _ in range(2)
    )
    for (_, a), (_, b) in zip(one.blocks[1].linears(), two.blocks[1].linears(), strict=True):
        assert a.rule is not None and b.rule is not None and a.rule.rank == b.rule.rank
        np.testing.assert_array_equal(a.rule.threshold, b.rule.threshold)
    assert achieved(one, text(decoder, seed=1)).sparsity == pytest.approx(0.5, abs=0.04)


def test_bytes_of_a_token() -> None:
    decoder = made(dim=48, hidden=80, blocks=2, vocabulary=70)
    weights = 2 * (64 * 48 * 2 + 32 * 48 * 2 + 3 * 80 * 48)
    scales = 4 * 2 * (64 + 32 + 32 + 48 + 80 + 80 + 48)
    always = 48 + 70 * (48 + 4) + 4 * 48 * 5 + scales
    assert bytes_per_token(decoder, {}) == weights + always
    assert bytes_per_token(decoder, dict.fromkeys(places(decoder), 0.5)) == weights // 2 + always


@pytest.mark.parametrize("sparsity", [1.0, -0.1, float("nan"), 1.5])
@pytest.mark.parametrize(
    "calibrate",
    [calibrate_teal, calibrate_wina, calibrate_topk, calibrate_cats, calibrate_chess, calibrate_rsparse],
)
def test_sparsity_that_is_no_share_is_refused(calibrate: Callable[..., Decoder], sparsity: float) -> None:
    with pytest.raises(InputError, match="is not from 0 to less than 1"):
        calibrate(made(), text(made()), sparsity)


def test_methods_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="leaves every layer 2%"):
        calibrate_teal(made(), text(made()), 0.99)
    for calibrate in (calibrate_cats, calibrate_chess):
        with pytest.raises(InputError, match="has none"):
            calibrate(made(gate=False), text(made()), 0.5)
    with pytest.raises(InputError, match="of which nothing is exactly zero"):
        calibrate_relu(made(), text(made()))
    with pytest.raises(InputError, match="the first 40 stay dense"):
        calibrate_teal(replace(made(), dense_positions=40), text(made()), 0.5)
