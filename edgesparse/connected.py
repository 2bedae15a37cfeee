"""What a node of an ONNX file reads is there, and is made before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from edgesparse.errors import InputError

Scope = onnx.GraphProto | onnx.FunctionProto


def scopes(proto: onnx.ModelProto) -> Iterator[Scope]:
    """The graph, the functions, and the graphs inside of their nodes."""
    for top in (proto.graph, *proto.functions):
        yield top
        yield from _inner(top.node)


def _inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for graph in _graphs(node):
            yield graph
            yield from _inner(graph.node)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def check_connected(proto: onnx.ModelProto, path: Path) -> None:
    """No cycles, no missing values, every node behind those whose results it reads.

    Raises:
        InputError: names the nodes and the value.
    """
    for scope in scopes(proto):
        _check_cycle(scope, path)
    for top in (proto.graph, *proto.functions):
        _check_names(top, frozenset(), path)


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} '{node.name or (node.output[0] if node.output else '')}'"


def _check_names(scope: Scope, outer: frozenset[str], path: Path) -> None:
    known = set(outer)
    if isinstance(scope, onnx.GraphProto):
        known.update(value.name for value in scope.input)
        known.update(tensor.name for tensor in scope.initializer)
        known.update(tensor.values.name for tensor in scope.sparse_initializer)
    else:
        known.update(scope.input)
    maker = {name: node for node in scope.node for name in node.output}
    for node in scope.node:
        for name in node.input:
            if not name or name in known:
                continue
            if name in maker:
                raise InputError(
                    f"{_label(node)} reads '{name}', which {_label(maker[name])} makes only after it: nodes must be "
                    "topologically sorted", where=str(path), hint="export the model again, or sort its nodes",
                )  # fmt: skip
            raise InputError(
                f"'{name}', which {_label(node)} reads, is missing: no input, weight or node has that name",
                where=str(path), hint="export the model again, with its weights (torch: export_params=True)",
            )  # fmt: skip
        for graph in _graphs(node):
            _check_names(graph, frozenset(known), path)
        known.update(node.output)
    outputs = scope.output if isinstance(scope, onnx.FunctionProto) else [value.name for value in scope.output]
    for name in outputs:
        if name not in known:
            raise InputError(f"no node makes the output '{name}'", where=str(path), hint="export the model again")


def _check_cycle(scope: Scope, path: Path) -> None:
    """Kahn's algorithm: what is never ready hangs on a cycle."""
    producer = {name: index for index, node in enumerate(scope.node) for name in node.output if name}
    waits = [{producer[n] for n in node.input if n in producer} for node in scope.node]
    readers: dict[int, list[int]] = {}
    for index, sources in enumerate(waits):
        for source in sources:
            readers.setdefault(source, []).append(index)
    ready = [index for index, sources in enumerate(waits) if not sources]
    left = [len(sources) for sources in waits]
    done = 0
    while ready:
        done += 1
        for reader in readers.get(ready.pop(), ()):
            left[reader] -= 1
            if left[reader] == 0:
                ready.append(reader)
    if done == len(scope.node):
        return
    # from any node that is never ready, backwards until one comes again
    at, seen = next(i for i, n in enumerate(left) if n), []
    while at not in seen:
        seen.append(at)
        at = next(source for source in waits[at] if left[source])
    ring = [scope.node[i] for i in reversed(seen[seen.index(at) :])]
    names = " -> ".join(node.name or node.op_type for node in (*ring, ring[0]))
    raise InputError(f"the graph has a cycle: {names}", where=str(path), hint="export the model again")
