"""A drawing of a directed graph in rows: every node below all that it reads from.

The steps of Sugiyama, Tagawa and Toda 1981, "Methods for Visual Understanding of Hierarchical System Structures":
rows by the longest path, bends where an edge passes a row, order within rows by the mean place of the neighbours, then
places as near to them as the widths allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8
GAP, BEND = 28.0, 14.0  # between nodes; the width of a bend

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """``nodes``: centre x and row of each; ``edges``: for each edge the (x, row) of its ends and bends."""

    nodes: tuple[tuple[float, int], ...]
    edges: tuple[tuple[tuple[float, int], ...], ...]
    left: float
    right: float
    rows: int


def layered(count: int, edges: Sequence[tuple[int, int]], widths: Sequence[float]) -> Layout:
    """Place ``count`` nodes; ``edges`` go from a smaller number to a larger one. Time is linear in what is drawn."""
    row = [0] * count
    for a, b in sorted(edges, key=lambda e: e[1]):
        row[b] = max(row[b], row[a] + 1)
    rows: list[list[int]] = [[] for _ in range(max(row, default=-1) + 1)]
    for node, at in enumerate(row):
        rows[at].append(node)
    wide = list(widths)
    paths: list[list[int]] = []  # of each edge: its ends and bends
    for a, b in edges:
        path = [a]
        for at in range(row[a] + 1, row[b]):
            rows[at].append(len(wide))
            path.append(len(wide))
            wide.append(BEND)
        paths.append([*path, b])
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for path in paths:
        for a, b in pairwise(path):
            below.setdefault(a, []).append(b)
            above.setdefault(b, []).append(a)
    _order(rows, above, below)
    x = _spread(rows, wide, above, below)
    level = {node: at for at, nodes in enumerate(rows) for node in nodes}
    left = min((x[n] - wide[n] / 2 for n in range(len(wide))), default=0.0)
    right = max((x[n] + wide[n] / 2 for n in range(len(wide))), default=0.0)
    return Layout(
        tuple((x[n], row[n]) for n in range(count)),
        tuple(tuple((x[n], level[n]) for n in path) for path in paths), left, right, len(rows),
    )  # fmt: skip


def _order(rows: list[list[int]], above: Mapping[int, list[int]], below: Mapping[int, list[int]]) -> None:
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        for nodes in rows if down else reversed(rows):
            place = {n: i for nodes_ in rows for i, n in enumerate(nodes_)} if len(nodes) > 1 else {}
            means = {n: _mean([place[m] for m in near.get(n, [])], place[n]) for n in nodes if place}
            nodes.sort(key=lambda n: means.get(n, 0.0))


def _spread(
    rows: list[list[int]], wide: Sequence[float], above: Mapping[int, list[int]], below: Mapping[int, list[int]]
) -> list[float]:
    x = [0.0] * len(wide)
    for nodes in rows:
        total = sum(wide[n] for n in nodes) + GAP * (len(nodes) - 1)
        at = -total / 2
        for n in nodes:
            x[n] = at + wide[n] / 2
            at += wide[n] + GAP
    for sweep in range(2 * SWEEPS):
        near = above if sweep % 2 == 0 else below
        for nodes in rows if sweep % 2 == 0 else reversed(rows):
            _settle(nodes, [_mean([x[m] for m in near.get(n, [])], x[n]) for n in nodes], wide, x)
    return x


def _settle(nodes: Sequence[int], wanted: Sequence[float], wide: Sequence[float], x: list[float]) -> None:
    """As near to ``wanted`` as the widths allow: the mean of what pushing right and pushing left would give."""
    rightwards, leftwards = list(wanted), list(wanted)
    for i in range(1, len(nodes)):
        apart = (wide[nodes[i - 1]] + wide[nodes[i]]) / 2 + GAP
        rightwards[i] = max(rightwards[i], rightwards[i - 1] + apart)
    for i in range(len(nodes) - 2, -1, -1):
        apart = (wide[nodes[i + 1]] + wide[nodes[i]]) / 2 + GAP
        leftwards[i] = min(leftwards[i], leftwards[i + 1] - apart)
    for i, n in enumerate(nodes):
        x[n] = (rightwards[i] + leftwards[i]) / 2


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
