"""Order channels so that those with similar weights lie side by side, in one block of a sparsity pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgesparse.passes.channel_classes import ChannelClasses, Member, channel_classes
from edgesparse.passes.channel_order import best_orders
from edgesparse.passes.channel_worth import Place, Wanted, groups_of, index_of, kept_share
from edgesparse.passes.match import new_initializer
from edgesparse.passes.weights import Weight
from edgesparse.patterns import Pattern
from edgesparse.types import Array

Permutation = NDArray[np.int64]
WORTH = 1e-6  # an order is better when all weights together keep more than this share more


@dataclass(frozen=True, slots=True)
class Gain:
    """The share of a weight's importance that its pattern keeps in the natural order, and in the new one."""

    name: str
    natural: float
    rearranged: float


class RearrangeChannels(ir.passes.InPlacePass):
    """Permute whole channel classes, so that blocks, or groups of an N:M pattern, keep more of ``importance``.

    For each free class of `channel_classes`, in graph order: search (`channel_order`) for the order that raises the sum
    of the shares that all weights in it keep, those whose rows it orders and those whose input channels; take it where
    that sum is higher than in the order there was. All constants of the class are permuted and nothing else: no node
    is added, and the network computes the same, but for the order in which sums are rounded.

    ``importance`` (default ``|w|``) has the shape (Co, Ci, *kernel) of its weight. After the call ``permutations`` has,
    by weight, its row and input-channel permutation (``new[i] = old[permutation[i]]``), ``gains`` the shares kept, and
    ``pinned``, for weights with rows that cannot move, why.

    Source: "SparseByteNN: A Novel Mobile Inference Acceleration Framework Based on Fine-Grained Group Sparsity" for the
    rearrangement of whole networks; Pool and Yu 2021, "Channel Permutations for N:M Sparsity", for N:M.
    """

    def __init__(
        self, weights: tuple[Weight, ...], patterns: Mapping[str, Pattern], sparsities: Mapping[str, float],
        importance: Mapping[str, Array] | None = None,
    ) -> None:  # fmt: skip
        self.weights, self.patterns, self.sparsities = weights, patterns, sparsities
        self.importance = importance or {}
        self.gains: tuple[Gain, ...] = ()
        self.permutations: dict[str, tuple[Permutation, Permutation]] = {}
        self.pinned: dict[str, str] = {}
        self._by_value = {w.value: w for w in weights}
        self._current: dict[str, Array] = {}  # importances, in the order that their weight has now

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        classes = channel_classes(model)
        given = {w.name: self.importance.get(w.name, w.array()) for w in self.weights}
        self._current = {name: np.abs(array.astype(np.float64)) for name, array in given.items()}
        self.permutations = {n: (np.arange(a.shape[0]), np.arange(a.shape[1])) for n, a in given.items()}
        self.pinned = self._pinned(classes)
        natural = self._shares()
        modified = False
        for number in classes.free():
            order = self._better_order(classes, number)
            if order is None:
                continue
            for member in classes.of(number):
                self._permute(model, member, index_of(classes, member.layout, number, order))
            modified = True
        rearranged = self._shares()
        self.gains = tuple(Gain(name, natural[name], rearranged[name]) for name in natural)
        return ir.passes.PassResult(model, modified)

    def _wanted(self, weight: Weight) -> Wanted:
        name = weight.name
        return Wanted(name, self.patterns[name], self.sparsities[name], self._current[name])

    def _shares(self) -> dict[str, float]:
        return {w.name: self._wanted(w).share(self._current[w.name]) for w in self.weights}

    def _places(self, classes: ChannelClasses, number: int) -> list[Place]:
        found = []
        for member in classes.of(number):
            weight = self._by_value.get(member.value)
            if weight is not None:
                found.append(Place(self._wanted(weight), _axis(weight, member), member.layout))
        return found

    def _better_order(self, classes: ChannelClasses, number: int) -> Permutation | None:
        """The new order of the class, or None where none better than the present one was found."""
        places = self._places(classes, number)
        groups = groups_of(classes, number, places)
        if not groups:
            return None
        size = classes.sizes[number]
        highest, best = kept_share(classes, number, places, np.arange(size)) + WORTH, None
        for order in best_orders(size, groups):
            kept = kept_share(classes, number, places, order)
            if kept > highest:
                highest, best = kept, order
        return best

    def _permute(self, model: ir.Model, member: Member, index: Permutation) -> None:
        """Put the channels of one constant into the new order."""
        value, weight = member.value, self._by_value.get(member.value)
        assert value.const_value is not None
        array = np.ascontiguousarray(np.take(value.const_value.numpy(), index, axis=member.layout.axis))
        if len(value.uses()) > 1 or value.is_graph_output():  # a vector: those who read it, too, keep theirs
            own = new_initializer(model.graph, value.name or "channels", array)
            member.node.replace_input_with(member.index, own)
            return
        value.const_value = ir.tensor(array, name=value.name)
        if weight is not None:
            axis = _axis(weight, member)
            self._current[weight.name] = np.take(self._current[weight.name], index, axis=axis)
            rows, columns = self.permutations[weight.name]
            self.permutations[weight.name] = (rows[index], columns) if axis == 0 else (rows, columns[index])

    def _pinned(self, classes: ChannelClasses) -> dict[str, str]:
        found: dict[str, str] = {}
        for member in classes.members:
            weight = self._by_value.get(member.value)
            if weight is None or _axis(weight, member) != 0:
                continue
            for segment in member.layout.segments:
                why = classes.pinned.get(classes.root(segment.number))
                if why:
                    found.setdefault(weight.name, why)
        return found


def _axis(weight: Weight, member: Member) -> int:
    """Along output (0) or input channels (1)."""
    return 1 - member.layout.axis if weight.transposed else member.layout.axis
