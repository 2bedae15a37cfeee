"""Chance: what a flat model draws is what splitmix64 gives, on every runtime, and tells nothing of its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.runtimes.generation import Request
from edgesparse.types import Array
from tests.decoder.made import decoder

PLACES = {"local": "host", "qemu": "rpi5", "wasmtime": "browser", "node": "browser"}
NEEDS = {"qemu": "qemu-aarch64", "wasmtime": "wasmtime", "node": "node"}
COUNT = 16
BOUND = 350  # of chi-square with 255 degrees of freedom: one of 20,000 is above it


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``flat(device)``: whatever it reads, each of 16 tokens is as likely as any other."""
    folder = tmp_path_factory.mktemp("flat")
    made = decoder(vocabulary=COUNT, tied=False, blocks=1)
    assert made.head is not None
    model = replace(made, head=np.zeros_like(made.head))

    def bundle(device: str) -> Path:
        out = folder / f"{device}.edge"
        return out if out.exists() else compile_decoder(model, device, out, weights="f32")

    return bundle


def _mixed(x: Array) -> Array:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Array = x ^ (x >> np.uint64(31))
    return found


def _chance(seed: int, positions: Array) -> Array:
    """[0, 1), in 24 bits."""
    once = _mixed(np.uint64(seed << 32) + positions.astype(np.uint64))
    twice: Array = _mixed(once + np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    return twice / 2**24


def test_the_reference_mixes_as_splitmix64() -> None:
    """The first two numbers of its author's program from the seed 0."""
    steps = np.arange(1, 3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert _mixed(steps).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@pytest.mark.parametrize("runtime", PLACES)
@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1])
def test_every_runtime_draws_the_same(
    flat: Callable[[str], Path], runtime: str, seed: int, require: Callable[[str], None]
) -> None:
    if runtime in NEEDS:
        require(NEEDS[runtime])
    chance = _chance(seed, np.arange(1, 101))
    with runtimes.open(flat(PLACES[runtime]), runtime) as session:
        for top_p, likeliest in ((1, COUNT), (0.5, COUNT // 2)):
            found = session.generate([1], Request(100, temperature=1, top_p=top_p, seed=seed, sliding=True))
            assert list(found.tokens) == np.floor(chance * likeliest).astype(int).tolist()


def _chi_square(first: Array, second: Array) -> float:
    """Of pairs, where each of 256 is as likely as any other."""
    counts, expected = np.bincount(first * COUNT + second, minlength=COUNT**2), first.size / COUNT**2
    return float(((counts - expected) ** 2).sum() / expected)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_tokens_that_follow_each_other(flat: Callable[[str], Path], seed: int) -> None:
    with runtimes.open(flat("host"), "local") as session:
        found = session.generate([1], Request(64_000, temperature=1, seed=seed, sliding=True))
    drawn = np.array(found.tokens)
    for apart in (1, 2, 3, 4, 8, 16, 64):
        assert _chi_square(drawn[:-apart], drawn[apart:]) < BOUND


def test_texts_of_seeds_that_follow_each_other(flat: Callable[[str], Path]) -> None:
    with runtimes.open(flat("host"), "local") as session:
        requests = [Request(32, temperature=1, seed=seed) for seed in range(2_000)]
        drawn = np.array([session.generate([1], request).tokens for request in requests])
    for apart in (1, 2, 3, 4, 8, 16, 64):
        assert _chi_square(drawn[:-apart].ravel(), drawn[apart:].ravel()) < BOUND
    assert _chi_square(drawn[:-1, 1:].ravel(), drawn[1:, :-1].ravel()) < BOUND  # a position and a seed further
