"""Turns the internal IR that `optimise` passes leave behind back into standard ONNX, for onnxruntime to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
import onnxruntime as ort

from edgesparse.types import Array

OPSET = 20
EXTRA = ("es_slope_input", "es_residual_input", "es_bias_input")


class Writer:
    """Inserts nodes before ``at``. Not shared with the passes: a test must not lean on what it tests."""

    def __init__(self, graph: ir.Graph, at: ir.Node) -> None:
        self.graph, self.at = graph, at

    def __call__(self, op: str, *inputs: ir.Value | None, **attributes: float | str | Sequence[int]) -> ir.Value:
        node = ir.node(op, inputs, attributes or None)
        self.graph.insert_before(self.at, node)
        return node.outputs[0]

    def number(self, value: float) -> ir.Value:
        return self("Constant", value_float=value)


def unfuse(model: ir.Model) -> ir.Model:
    """A copy with every ``es_*`` attribute and ``edgesparse::Activation`` as standard nodes."""
    model = model.clone()
    for node in list(model.graph):
        if node.domain == "edgesparse" or any(name.startswith("es_") for name in node.attributes):
            _unfuse_node(model.graph, node)
    model.opset_imports.pop("edgesparse", None)
    model.opset_imports[""] = max(model.opset_imports[""], OPSET)
    return model


def _unfuse_node(graph: ir.Graph, node: ir.Node) -> None:
    attributes = {k: a.value for k, a in node.attributes.items()}
    extra = {name: node.inputs[int(attributes[name])] for name in EXTRA if name in attributes}
    plain = [v for i, v in enumerate(node.inputs) if i not in {attributes[name] for name in extra}]
    while plain and plain[-1] is None:
        plain.pop()
    kept = {k: a for k, a in node.attributes.items() if not k.startswith("es_")}
    write = Writer(graph, node)
    if node.domain == "edgesparse":
        assert node.op_type == "Activation"
        y = plain[0]
    elif "es_axis" in attributes:
        y = _layer_norm(write, plain, kept, attributes["es_axis"])
    else:
        new = ir.Node("", node.op_type, plain, kept.values(), num_outputs=1)
        graph.insert_before(node, new)
        y = new.outputs[0]
    assert y is not None
    y.shape, y.type = node.outputs[0].shape, node.outputs[0].type
    for name in ("es_bias_input", "es_residual_input"):
        if name in extra:
            y = write("Add", y, extra[name])
            y.shape = node.outputs[0].shape
    if "es_act" in attributes:
        y = _activation(write, y, attributes, extra.get("es_slope_input"))
    old = node.outputs[0]
    output_name = old.name
    y.shape, y.type = old.shape, old.type
    old.replace_all_uses_with(y, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    y.name = output_name


def _layer_norm(
    write: Writer, inputs: Sequence[ir.Value | None], attributes: Mapping[str, ir.Attr], axis: int
) -> ir.Value:
    x = inputs[0]
    assert x is not None and x.shape is not None and axis == 1
    rank = len(x.shape)
    there, back = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
    epsilon = attributes["epsilon"].as_float() if "epsilon" in attributes else 1e-5
    y = write("LayerNormalization", write("Transpose", x, perm=there), *inputs[1:], axis=-1, epsilon=epsilon)
    return write("Transpose", y, perm=back)


def _activation(write: Writer, x: ir.Value, attributes: Mapping[str, object], slope: ir.Value | None) -> ir.Value:
    act, lo, hi = attributes["es_act"], float(attributes["es_lo"]), float(attributes["es_hi"])  # type: ignore[arg-type]
    if act == "prelu":
        assert slope is not None and slope.shape is not None and x.shape is not None and len(slope.shape) == 1
        shape = write("Constant", value_ints=[-1] + [1] * (len(x.shape) - 2))
        return write("PRelu", x, write("Reshape", slope, shape))
    forms: dict[object, Callable[[], ir.Value]] = {
        "relu": lambda: write("Relu", x),
        "clip": lambda: write("Clip", x, write.number(lo), write.number(hi)),
        "leaky_relu": lambda: write("LeakyRelu", x, alpha=lo),
        "hard_swish": lambda: write("HardSwish", x),
        "hard_sigmoid": lambda: write("HardSigmoid", x, alpha=lo, beta=hi),
        "silu": lambda: write("Mul", x, write("Sigmoid", x)),
        "sigmoid": lambda: write("Sigmoid", x),
        "tanh": lambda: write("Tanh", x),
        "gelu": lambda: write("Gelu", x, approximate="none"),
        "gelu_tanh": lambda: write("Gelu", x, approximate="tanh"),
    }
    return forms[act]()


def run(model: ir.Model | onnx.ModelProto, feed: Mapping[str, Array]) -> list[Array]:
    """The outputs in onnxruntime, all its own optimisations off."""
    proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return list(ort.InferenceSession(proto.SerializeToString(), options).run(None, dict(feed)))


def parse(text: str, opset: int = 17, /, **weights: Array) -> ir.Model:
    """A model from ONNX's text form ``(float[1, 3] x) => (float[1, 3] y) { .. }``, shapes inferred.

    ``weights`` become initializers. Nodes are named after their first output.
    """
    version = 10 if opset >= 19 else 8
    graph = onnx.parser.parse_graph(f"g {text}")
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=version)
    for name, array in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    for node in proto.graph.node:
        node.name = node.output[0]
    onnx.checker.check_model(proto)
    model = ir.from_proto(proto)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.ShapeInferencePass(strict_mode=True)(model)
    return model


def feeds(model: ir.Model, rng: np.random.Generator) -> dict[str, Array]:
    """Random float32 inputs."""
    found: dict[str, Array] = {}
    for value in model.graph.inputs:
        assert value.shape is not None and value.name is not None
        found[value.name] = rng.standard_normal(tuple(int(d) for d in value.shape)).astype(np.float32) * 2  # type: ignore[arg-type]
    return found


def check_same(before: ir.Model, after: ir.Model, *, tolerance: float = 2e-6) -> None:
    """Same interface, and the same numbers on random inputs, relative to the largest output."""
    for one, two in ((before.graph.inputs, after.graph.inputs), (before.graph.outputs, after.graph.outputs)):
        assert [(v.name, v.shape, v.dtype) for v in one] == [(v.name, v.shape, v.dtype) for v in two]
    feed = feeds(before, np.random.default_rng(7))
    for expected, given in zip(run(before, feed), run(unfuse(after), feed), strict=True):
        scale = max(float(np.abs(expected).max(initial=0)), 1.0)
        np.testing.assert_allclose(given, expected, rtol=0, atol=tolerance * scale)


def ops(model: ir.Model) -> list[str]:
    return [f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in model.graph]
