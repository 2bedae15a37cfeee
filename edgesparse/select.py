"""LoweredGraph -> Selection: a kernel for every call, and why the others were not taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgesparse.errors import UnsupportedError
from edgesparse.kernels import find
from edgesparse.ops import CONTRACTS, Unsupported
from edgesparse.ops.cost import traffic_us
from edgesparse.ops.view import PLACED
from edgesparse.types import (
    Binding,
    Kernel,
    Known,
    LoweredGraph,
    Machine,
    OpCall,
    Rejection,
    Selection,
    Step,
    Target,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A binding that every ISA of a target has a kernel for. ``label`` is its kernel and tile."""

    label: str
    binding: Binding
    kernels: Mapping[str, Kernel]


def select(graph: LoweredGraph, target: Target, known: Known | None = None) -> Selection:
    """Choose the fastest candidate for every call, as predicted, or as measured where all were.

    All ISAs of one target read the same weights.bin, so they share the packing; `Target.machine` says which
    decides. A call without any kernel is reported with all others. ``known``: what was measured on the device.

    Raises:
        UnsupportedError: no kernel for some calls (a dtype, mostly).
    """
    steps: list[Step] = []
    rejected: dict[str, tuple[Rejection, ...]] = {}
    problems: list[Unsupported] = []
    for call in graph.calls:
        if call.op in PLACED:
            continue
        found, refusals = candidates(call, graph, target)
        if not found:
            shapes = ", ".join(f"{graph.tensors[n].dtype}{list(graph.tensors[n].shape)}" for n in call.inputs)
            problems.append(
                Unsupported(
                    "; ".join(f"{r.kernel}: {r.reason}" for r in refusals),
                    where=f"{call.op} '{call.layer}' ({shapes})",
                    hint="export this part of the model in float32",
                )  # fmt: skip
            )
            continue
        found = timed(found, call, known or Known(), target.machine)
        chosen = found[0]
        for other in found[1:]:
            times = other.binding.predicted_us / max(chosen.binding.predicted_us, 1e-9)
            how = "measured" if other.binding.measured else "predicted"
            refusals.append(Rejection(other.label, f"{how} {times:.2f} times the chosen one"))
        steps.append(Step(call, packed(chosen.binding), chosen.kernels))
        rejected[call.name] = tuple(refusals)
    if problems:
        raise UnsupportedError(problems)
    return Selection(graph, tuple(steps), rejected, target.isas)


def candidates(call: OpCall, graph: LoweredGraph, target: Target) -> tuple[list[Candidate], list[Rejection]]:
    """What can compute ``call``, fastest first as predicted, weights not packed; and what cannot, and why."""
    found: list[Candidate] = []
    refusals: list[Rejection] = []
    for binding in bindings(call, graph, target.machine):
        kernels = {isa: find(binding.stem, isa, binding.tiles) for isa in target.isas}
        present = {isa: kernel for isa, kernel in kernels.items() if kernel is not None}
        label = " ".join([binding.stem, *(f"{k}={v}" for k, v in binding.tiles.items())])
        if len(present) < len(kernels):
            missing = ", ".join(i for i, k in kernels.items() if k is None)
            refusals.append(Rejection(label, f"no such kernel for {missing}"))
        else:
            found.append(Candidate(label, binding, present))
    return found, refusals


def bindings(call: OpCall, graph: LoweredGraph, machine: Machine) -> list[Binding]:
    contract = CONTRACTS[call.op]
    items = {} if contract.items is None else {"begin": 0, "end": contract.items(call.attrs)}
    if contract.bind is not None:
        found = contract.bind(call, graph.tensors, graph.constants, machine)
        return [replace(binding, arguments={**binding.arguments, **items}) for binding in found]
    dtype = graph.tensors[call.inputs[contract.dtype_from]].dtype
    arguments = {
        **dict(zip(contract.inputs, call.inputs, strict=False)),
        **dict(zip(contract.outputs, call.outputs, strict=False)),
        **call.attrs,
        **items,
    }
    return [Binding(f"{call.op}_{dtype}", arguments)]


def packed(binding: Binding) -> Binding:
    """``binding`` with its weights."""
    return binding if binding.pack is None else replace(binding, constants=binding.pack(), pack=None)


def measure_key(call: OpCall, binding: Binding, label: str) -> str:
    """The same for calls that take the same time: kernel, geometry, kept weights. Not the values of weights."""
    geometry = [f"{k}={_text(v)}" for k, v in sorted(call.attrs.items()) if k not in ("lo", "hi")]
    return " ".join([label, *geometry, f"macs={binding.macs}"])


def _text(value: float | tuple[int, ...]) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def timed(found: Sequence[Candidate], call: OpCall, known: Known, machine: Machine) -> list[Candidate]:
    """Fastest first: by measured times where every candidate has one, for those of a model and of a clock do not
    compare; else as predicted, corrected by what is known of each kernel.
    """
    times = [known.us.get(measure_key(call, c.binding, c.label), 0.0) for c in found]
    measured = all(times)
    if not measured:
        if not known.factors:
            return list(found)
        times = [c.binding.predicted_us * known.factor(c.kernels[machine.isa].symbol) for c in found]
    return sorted(
        (replace(c, binding=_corrected(c.binding, us, measured)) for c, us in zip(found, times, strict=True)),
        key=lambda c: c.binding.predicted_us,
    )  # fmt: skip


def _corrected(binding: Binding, us: float, measured: bool) -> Binding:
    """The dense layer is not measured: it is off by as much as the prediction was."""
    off = us / binding.predicted_us if binding.predicted_us else 0.0
    return replace(
        binding, predicted_us=us, dense_us=binding.dense_us * off, skipping_us=binding.skipping_us * off,
        measured=measured, model_us=binding.uncorrected_us,
    )  # fmt: skip


def expected_us(
    call: OpCall, binding: Binding, kernels: Mapping[str, Kernel], graph: LoweredGraph, target: Target, known: Known
) -> float:
    """Microseconds, for those kernels as well that have no prediction because there is no choice."""
    if binding.predicted_us:
        return binding.predicted_us
    return other_us(call, graph, target.machine) * known.other(kernels[target.machine.isa].symbol)


def other_us(call: OpCall, graph: LoweredGraph, machine: Machine) -> float:
    """What the traffic of a call takes."""
    specs = [graph.tensors[name] for name in (*call.inputs, *call.outputs) if name in graph.tensors]
    return traffic_us(machine, max((spec.size for spec in specs), default=0), sum(spec.bytes for spec in specs))
