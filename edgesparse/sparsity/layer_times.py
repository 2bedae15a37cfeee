"""What each layer of a model takes on a device, dense or with zeros, as selection would predict it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edgesparse.bands import saved_us
from edgesparse.compile import lowered
from edgesparse.errors import InputError
from edgesparse.ops.conv import spread_groups
from edgesparse.passes.weights import Weight, find_weights
from edgesparse.patterns import Mask
from edgesparse.select import Candidate, candidates, expected_us, select, timed
from edgesparse.types import Array, Known, LoweredGraph, OpCall, Selection, Step, Target

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Timed:
    """``us`` of the ``candidates`` that would be chosen for ``calls`` (fastest of each first), dense or sparse."""

    us: float
    measured: bool
    calls: tuple[OpCall, ...]
    candidates: tuple[tuple[Candidate, ...], ...]


@dataclass(slots=True)
class LayerTimes:
    """A model lowered once; its weights are then replaced in place of lowering it again for each of their masks.

    ``fixed_us``: all calls that belong to none of ``weights``, less what `bands` is predicted to save. Times are those
    that `select` would go by: measured ones of ``known`` (see `tuned`) where all kernels of a call have one, else
    predicted; where there is no prediction (poolings, additions), traffic and one operation an element.
    """

    target: Target
    graph: LoweredGraph
    known: Known
    calls: Mapping[str, tuple[OpCall, ...]]
    fixed_us: float = 0.0
    dense: Selection = field(init=False)

    def __post_init__(self) -> None:
        self.dense = select(self.graph, self.target, self.known)
        own = {call.name for calls in self.calls.values() for call in calls}
        fixed = sum(self._step_us(step) for step in self.dense.steps if step.call.name not in own)
        # a saving that is larger than these layers themselves belongs to the others in part
        self.fixed_us = max(fixed - saved_us(self.dense, self.target), 0.0)

    def layer(self, name: str, mask: Mask | None = None) -> Timed:
        """The layer with the weight ``name``; with a ``mask``, (Co, Ci/groups, *kernel), zeros where that is False.

        A weight that several nodes read counts as often.
        """
        graph = self.graph if mask is None else self.masked({name: mask})
        found = []
        for call in self.calls[name]:
            found.append(tuple(timed(candidates(call, graph, self.target)[0], call, self.known, self.target.machine)))
        us = sum(self._candidate_us(call, each[0]) for call, each in zip(self.calls[name], found, strict=True))
        measured = all(each[0].binding.measured for each in found)
        return Timed(us, measured, self.calls[name], tuple(found))

    def layer_us(self, name: str, mask: Mask | None = None) -> float:
        """Microseconds of `layer`."""
        return self.layer(name, mask).us

    def network_us(self, masks: Mapping[str, Mask]) -> float:
        """The whole network with ``masks``, through selection and `bands`."""
        selection = select(self.masked(masks), self.target, self.known)
        return sum(self._step_us(step) for step in selection.steps) - saved_us(selection, self.target)

    def masked(self, masks: Mapping[str, Mask]) -> LoweredGraph:
        """The lowered graph with zeros in its weights."""
        constants = dict(self.graph.constants)
        for name, mask in masks.items():
            for call in self.calls[name]:
                for key in call.inputs[1:2]:
                    constants[key] = np.where(_as_matrix(mask, constants[key]), constants[key], np.float32(0))
        return replace(self.graph, constants=constants)

    def _step_us(self, step: Step) -> float:
        return expected_us(step.call, step.binding, step.kernels, self.graph, self.target, self.known)

    def _candidate_us(self, call: OpCall, candidate: Candidate) -> float:
        return expected_us(call, candidate.binding, candidate.kernels, self.graph, self.target, self.known)


def layer_times(model: ir.Model, weights: Sequence[Weight], target: Target, known: Known | None = None) -> LayerTimes:
    """`LayerTimes` of the simplified ``model``, which stays as it is; ``weights`` are those that may get zeros.

    Raises:
        InputError, UnsupportedError: as `compile_model`.
    """
    copy = model.clone()
    for number, node in enumerate(copy.graph):
        node.name = node.name or f"unnamed:{number}"
    nodes = {weight.name: weight.nodes for weight in find_weights(copy)}
    graph, _ = lowered(copy, target)
    calls: dict[str, tuple[OpCall, ...]] = {}
    for weight in weights:
        size = weight.array().size
        found = [
            call for call in graph.calls
            if call.layer in nodes.get(weight.name, ()) and _holds(graph, call, size)
        ]  # fmt: skip
        if not found:
            raise InputError(
                f"no kernel call reads the weight '{weight.name}'", where=model.graph.name or "model",
                hint=f"leave it dense: --keep {weight.name}",
            )  # fmt: skip
        calls[weight.name] = tuple(found)
    return LayerTimes(target, graph, known or Known(), calls)


def _holds(graph: LoweredGraph, call: OpCall, size: int) -> bool:
    """Whether the call's second input is a weight of ``size`` values, or of that many with groups spread out."""
    constant = graph.constants.get(call.inputs[1]) if len(call.inputs) > 1 else None
    return constant is not None and constant.ndim > 1 and constant.size % size == 0


def _as_matrix(mask: Mask, constant: Array) -> Mask:
    """``mask`` as the lowered weight has it: groups are spread out there, and the kernel is flat."""
    spread: Mask = spread_groups(mask, constant.size // mask.size)
    return spread.reshape(constant.shape)
