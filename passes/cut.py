"""Minimum cut of a small graph: the best way to give every node one of two labels. Not a pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from math import inf

SOURCE, SINK = "source", "sink"


class Network:
    """``edge(u, v, cost)`` costs ``cost`` when ``u`` ends on the source's side and ``v`` on the sink's.

    Source: Edmonds and Karp 1972, https://doi.org/10.1145/321694.321699
    """

    def __init__(self) -> None:
        self.capacity: dict[Hashable, dict[Hashable, float]] = {SOURCE: {}, SINK: {}}

    def edge(self, u: Hashable, v: Hashable, cost: float) -> None:
        forward, back = self.capacity.setdefault(u, {}), self.capacity.setdefault(v, {})
        forward[v] = forward.get(v, 0) + cost
        back.setdefault(u, 0)

    def sink_side(self) -> set[Hashable]:
        """The smallest sink side among all cuts of least cost."""
        while (path := self._path()) is not None:
            pushed = min(self.capacity[u][v] for u, v in path)
            if pushed == inf:
                raise ValueError("source and sink are tied together")
            for u, v in path:
                self.capacity[u][v] -= pushed
                self.capacity[v][u] += pushed
        return self._reaching_sink()

    def _path(self) -> list[tuple[Hashable, Hashable]] | None:
        """The edges of a shortest path with capacity left."""
        came: dict[Hashable, Hashable] = {SOURCE: SOURCE}
        queue: deque[Hashable] = deque([SOURCE])
        while queue:
            u = queue.popleft()
            for v, left in self.capacity[u].items():
                if left > 0 and v not in came:
                    came[v] = u
                    queue.append(v)
        if SINK not in came:
            return None
        path: list[tuple[Hashable, Hashable]] = []
        node: Hashable = SINK
        while node != SOURCE:
            path.append((came[node], node))
            node = came[node]
        return path

    def _reaching_sink(self) -> set[Hashable]:
        found: set[Hashable] = {SINK}
        queue: deque[Hashable] = deque([SINK])
        while queue:
            v = queue.popleft()
            for u in self.capacity[v]:
                if u not in found and self.capacity[u].get(v, 0) > 0:
                    found.add(u)
                    queue.append(u)
        return found
