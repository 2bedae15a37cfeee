"""Conversions of sums, products and GELU."""

from __future__ import annotations

from collections.abc import Callable
from math import isclose, sqrt

import ai_edge_litert.schema_py_generated as schema
import onnx

from bench.engine import CannotRun
from bench.tflite.converter import OPS, Converter
from bench.tflite.graph import Graph

OPTIONS = {"Add": schema.AddOptionsT, "Sub": schema.SubOptionsT, "Mul": schema.MulOptionsT, "Div": schema.DivOptionsT}


def _binary(c: Converter, node: onnx.NodeProto) -> None:
    planes = [name in c.planes for name in node.input]
    if any(planes) and (not all(planes) or len({c.graph.shape(name) for name in node.input}) > 1):
        raise CannotRun(f"{node.op_type} '{node.name}' broadcasts over planes")
    if node.op_type == "Div" and (last := _gelu(node, c.graph)) is not None:
        return _write_gelu(c, node, last)
    out, activation = c.finish(node, planes=all(planes))
    options = OPTIONS[node.op_type]()
    options.fusedActivationFunction = activation
    code = getattr(OPS, node.op_type.upper())
    return c.writer.add(code, [c.operand(name) for name in node.input], out, options)


def _gelu(div: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """The nodes of ``x * (0.5 * (erf(x / sqrt(2)) + 1))`` after its division, or None where it is none."""
    steps: tuple[tuple[str, float | None], ...] = (("Erf", None), ("Add", 1.0), ("Mul", 0.5), ("Mul", None))
    if not _has_constant(div, sqrt(2), graph):
        return None
    nodes, name = [], div.output[0]
    for op, constant in steps:
        reader = graph.only_reader(name)
        if (
            reader is None
            or reader.op_type != op
            or (constant is not None and not _has_constant(reader, constant, graph))
        ):
            return None
        nodes.append(reader)
        name = reader.output[0]
    return nodes if div.input[0] in nodes[-1].input else None


def _has_constant(node: onnx.NodeProto, value: float, graph: Graph) -> bool:
    found = [graph.constants[name] for name in node.input if name in graph.constants]
    return any(v.size == 1 and isclose(float(v.reshape(-1)[0]), value, rel_tol=1e-6) for v in found)


def _write_gelu(c: Converter, div: onnx.NodeProto, nodes: list[onnx.NodeProto]) -> None:
    for node in nodes:
        c.take(node)
    out = c.new(nodes[-1].output[0], planes=div.input[0] in c.planes)
    c.writer.add(OPS.GELU, [c.index[div.input[0]]], out, schema.GeluOptionsT())


def _erf(c: Converter, node: onnx.NodeProto) -> None:
    raise CannotRun(f"Erf '{node.name}', which is no part of a GELU")


CONVERSIONS: dict[str, Callable[[Converter, onnx.NodeProto], None]] = {**dict.fromkeys(OPTIONS, _binary), "Erf": _erf}
