"""LoweredGraph -> Selection: a kernel for every call, and why the others were not taken."""

from __future__ import annotations

from collections.abc import Mapping

from edgesparse.errors import UnsupportedError
from edgesparse.kernels import find
from edgesparse.ops import CONTRACTS, Unsupported
from edgesparse.types import Binding, Kernel, LoweredGraph, OpCall, Rejection, Selection, Step, Target


def select(graph: LoweredGraph, target: Target) -> Selection:
    """Choose the cheapest binding that every ISA of ``target`` has a kernel for.

    All ISAs of one target read the same weights.bin, so they share the packing; the cost model of
    the best one decides. A call without any kernel is reported with all others.

    Raises:
        UnsupportedError: no kernel for some calls (a dtype, mostly).
    """
    steps: list[Step] = []
    rejected: dict[str, tuple[Rejection, ...]] = {}
    problems: list[Unsupported] = []
    for call in graph.calls:
        if call.op == "view":
            continue
        refusals: list[Rejection] = []
        chosen: tuple[Binding, Mapping[str, Kernel]] | None = None
        for binding in _bindings(call, graph, target.isas[0]):
            kernels = {isa: find(binding.stem, isa, binding.tiles) for isa in target.isas}
            found = {isa: kernel for isa, kernel in kernels.items() if kernel is not None}
            label = " ".join([binding.stem, *(f"{k}={v}" for k, v in binding.tiles.items())])
            if len(found) < len(kernels):
                missing = ", ".join(i for i, k in kernels.items() if k is None)
                refusals.append(Rejection(label, f"no such kernel for {missing}"))
            elif chosen is None:
                chosen = (binding, found)
            else:
                refusals.append(
                    Rejection(label, f"predicted {binding.cost / max(chosen[0].cost, 1e-9):.2f} times the chosen one")
                )
        if chosen is None:
            shapes = ", ".join(f"{graph.tensors[n].dtype}{list(graph.tensors[n].shape)}" for n in call.inputs)
            problems.append(
                Unsupported(
                    "; ".join(f"{r.kernel}: {r.reason}" for r in refusals),
                    where=f"{call.op} '{call.layer}' ({shapes})",
                    hint="export this part of the model in float32",
                )  # fmt: skip
            )
            continue
        steps.append(Step(call, *chosen))
        rejected[call.name] = tuple(refusals)
    if problems:
        raise UnsupportedError(problems)
    return Selection(graph, tuple(steps), rejected, target.isas)


def _bindings(call: OpCall, graph: LoweredGraph, isa: str) -> list[Binding]:
    contract = CONTRACTS[call.op]
    if contract.bind is not None:
        return contract.bind(call, graph.tensors, graph.constants, isa)
    dtype = graph.tensors[call.inputs[contract.dtype_from]].dtype
    arguments = {
        **dict(zip(contract.inputs, call.inputs, strict=False)),
        **dict(zip(contract.outputs, call.outputs, strict=False)),
        **call.attrs,
    }
    return [Binding(f"{call.op}_{dtype}", arguments)]
