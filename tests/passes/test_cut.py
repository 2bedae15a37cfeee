"""Network: its cut is the cheapest of all, found by trying them."""

from __future__ import annotations

from itertools import product
from math import inf

import numpy as np
import pytest

from edgesparse.passes.cut import SINK, SOURCE, Network


def cost(edges: dict[tuple[str, str], float], sink_side: set[str]) -> float:
    return sum(c for (u, v), c in edges.items() if u not in sink_side and v in sink_side)


@pytest.mark.parametrize("seed", range(40))
def test_is_the_cheapest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inner = "abcdef"
    edges: dict[tuple[str, str], float] = {}
    for u, v in product((SOURCE, *inner), (*inner, SINK)):
        if u != v and (u, v) != (SOURCE, SINK) and rng.random() < 0.4:
            edges[u, v] = float(rng.integers(1, 6))
    network = Network()
    for (u, v), c in edges.items():
        network.edge(u, v, c)
    found = {str(n) for n in network.sink_side()}
    assert SINK in found and SOURCE not in found
    best = min(
        (cost(edges, chosen), len(chosen))
        for picked in product((False, True), repeat=len(inner))
        if (chosen := {n for n, yes in zip(inner, picked, strict=True) if yes} | {SINK})
    )
    assert (cost(edges, found), len(found)) == best  # of equal ones the smallest


def test_edges_add_up() -> None:
    network = Network()
    network.edge(SOURCE, "a", 2)
    network.edge("a", SINK, 1)
    network.edge("a", SINK, 2)
    assert network.sink_side() == {SINK, "a"}


def test_tied_together() -> None:
    network = Network()
    network.edge(SOURCE, "a", inf)
    network.edge("a", SINK, inf)
    with pytest.raises(ValueError, match="tied together"):
        network.sink_side()
