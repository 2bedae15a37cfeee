"""The search for an order of channels in which groups of neighbours keep the most. No pass is defined here.

A group's worth is what its pattern keeps of it. The search swaps channels of different groups as long as the sum of
what they are worth rises, beginning with several orders, then again and again from the best one, a little disturbed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgesparse.passes.channel_groups import Groups
from edgesparse.types import Array

Order = NDArray[np.int64]
DESCENTS = 6e9  # elements to look at on the way down from the orders to begin with: some five seconds at the most
KICKS, KICKED = 3e8, 64  # and from disturbed ones: about half a second, of fewer than so many channels less
CALL = 20_000  # elements that could be looked at while NumPy is called
STARTS, SMALL = 4, 256  # random orders to begin with, of at most so many channels
DISTURBED = 6  # channels that change places before the next descent
WORTH_IT = 1e-7  # a swap gains at least this share of what a group is worth


def best_orders(size: int, groups: Sequence[Groups]) -> Iterator[Order]:
    """Orders of ``size`` channels that are worth a look by the true objective, the most promising last.

    They depend on the set of channels and not on their present order, so that a second search finds nothing new.
    """
    by_norm = np.argsort(-sum((g.norms() for g in groups), np.zeros(size)), kind="stable")
    begun = [by_norm, *(by_norm[clustered(g.features()[by_norm], g.size)] for g in groups)]
    rng = np.random.default_rng(size)
    if size <= SMALL:
        begun += [by_norm[rng.permutation(size)] for _ in range(STARTS)]
    yield from begun
    search = _Search(groups)
    ranked = sorted(begun, key=search.worth, reverse=True)
    best, worth, budget = ranked[0], -np.inf, DESCENTS
    for number, order in enumerate(ranked):
        if number and budget < DESCENTS / 2:
            break  # large: from the most promising alone
        found, spent = search.descend(order, range(size), budget, rng)
        budget -= spent
        value = search.worth(found)
        if value > worth:
            best, worth = found, value
            yield found
    budget = KICKS * min(1.0, (size / KICKED) ** 2)
    while budget > 0 and size > 2:
        order, touched = _disturbed(best, rng)
        found, spent = search.descend(order, touched, budget, rng)
        budget -= spent
        value = search.worth(found)
        if value > worth:
            best, worth = found, value
    yield best


def _disturbed(order: Order, rng: np.random.Generator) -> tuple[Order, Order]:
    """A few channels take each other's places; which."""
    places = rng.choice(len(order), min(DISTURBED, len(order)), replace=False)
    order = order.copy()
    order[places] = order[np.roll(places, 1)]
    return order, places


class _Search:
    """Descents, which here climb: ``groups`` of the same channels, all of whose worths count."""

    def __init__(self, groups: Sequence[Groups]) -> None:
        self.groups = groups

    def worth(self, order: Order) -> float:
        for g in self.groups:
            g.begin(order)
        return sum(g.worth() for g in self.groups)

    def descend(
        self, order: Order, places: Sequence[int] | Order, budget: float, rng: np.random.Generator
    ) -> tuple[Order, float]:
        """Swap while that gains, looking at ``places`` first and then at the groups that changed; (order, cost)."""
        best, order, highest = order, order.copy(), self.worth(order)
        least = WORTH_IT * highest * min(g.size for g in self.groups) / len(order)
        active = np.zeros(len(order), bool)
        for place in places:
            self._wake(active, int(place))
        spent = 0.0
        while active.any() and spent < budget:
            for place in rng.permutation(np.flatnonzero(active)):
                active[place] = False
                total = self.groups[0].gains(int(place))
                for g in self.groups[1:]:
                    total = total + g.gains(int(place))
                spent += sum(g.cost for g in self.groups) + CALL
                other = int(total.argmax())
                if total[other] > least:
                    order[place], order[other] = order[other], order[place]
                    for g in self.groups:
                        g.swap(int(place), other)
                    self._wake(active, int(place))
                    self._wake(active, other)
                if spent >= budget:
                    break
            worth = self.worth(order)  # thresholds move with what was gained, and may take some of it back
            if worth <= highest:
                break
            best, highest = order.copy(), worth
        return best, spent

    def _wake(self, active: NDArray[np.bool_], place: int) -> None:
        for g in self.groups:
            begin = place // g.size * g.size
            active[begin : begin + g.size] = True


def clustered(channels: Array, size: int) -> Order:
    """Groups one after the other: the largest channel that is left, and those that overlap most with the group.

    ``channels`` (C, U) are non-negative. The overlap of a channel r and a group is ``sum_i min(mean group_i, r_i)``:
    what both have in the same places. Source: ours, after the grouping of similar rows of "SparseByteNN: A Novel Mobile
    Inference Acceleration Framework Based on Fine-Grained Group Sparsity".
    """
    count = len(channels)
    left, order = np.ones(count, bool), np.zeros(count, np.int64)
    by_norm = np.argsort(-channels.sum(axis=1), kind="stable")
    first = 0
    for place in range(count):
        if place % size == 0:
            while not left[by_norm[first]]:
                first += 1
            chosen, begin = int(by_norm[first]), place
        else:
            alive = np.flatnonzero(left)
            mean = channels[order[begin:place]].mean(axis=0)
            overlap = np.minimum(channels[alive] if len(alive) * 2 < count else channels, mean).sum(axis=1)
            if len(overlap) == count:
                overlap = overlap[alive]
            chosen = int(alive[int(overlap.argmax())])
        left[chosen] = False
        order[place] = chosen
    return order
