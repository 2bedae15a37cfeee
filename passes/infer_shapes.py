"""onnx's shape inference, helped where it has no rule or a wrong one. No pass is defined here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.errors import EdgeSparseError
from edgesparse.ops.pool import shape as pool_shape
from edgesparse.passes.match import attribute_int, is_op
from edgesparse.types import Node, TensorSpec

# What these libraries cannot do they log with a traceback, on stderr where nobody has set up logging. What matters of
# it is reported by `lower`, with the node.
for _name in ("onnx_ir", "onnxscript"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_HIDDEN = "edgesparse.ceil"
_RIGHT_SINCE = 22  # the opset


def _rounds_up(model: ir.Model, node: ir.Node) -> bool:
    old = model.opset_imports.get("", 0) < _RIGHT_SINCE
    return old and is_op(node, "MaxPool", "AveragePool") and attribute_int(node, "ceil_mode", 0) != 0


def any_ceil(model: ir.Model) -> bool:
    """Whether `infer_ceil` has anything to do."""
    return any(_rounds_up(model, node) for node in model.graph)


def infer_ceil(model: ir.Model) -> None:
    """`infer_shapes`, not believing what the file says behind such poolings: most files have it from onnx."""
    doubted: set[ir.Value] = set()
    for node in model.graph:
        if _rounds_up(model, node) or any(value in doubted for value in node.inputs):
            doubted.update(node.outputs)
            for value in node.outputs:
                value.shape = None
    infer_shapes(model)


@contextmanager
def without_ceil(model: ir.Model) -> Iterator[None]:
    """Hides poolings with ``ceil_mode``: until opset 22, onnx counts a last window that begins in the padding."""
    hidden = [node for node in model.graph if _rounds_up(model, node)]
    if not hidden:
        yield
        return
    model.opset_imports[_HIDDEN] = 1
    domains = [node.domain for node in hidden]
    for node in hidden:
        node.domain = _HIDDEN
    try:
        yield
    finally:
        for node, domain in zip(hidden, domains, strict=True):
            node.domain = domain
        del model.opset_imports[_HIDDEN]


def infer_shapes(model: ir.Model) -> None:
    """In place. What cannot be inferred stays unknown.

    onnx has no rule for GroupNormalization, whose shape is its input's, and a wrong one for poolings that round up.
    """
    with without_ceil(model):
        _infer(model)
        for node in model.graph:  # in order: each may open the way to the next
            if (node.domain == _HIDDEN or is_op(node, "GroupNormalization")) and _settle(node):
                _infer(model)


def _infer(model: ir.Model) -> None:
    common.ShapeInferencePass(strict_mode=False, data_prop=False)(model)


def _settle(node: ir.Node) -> bool:
    """Gives the output of ``node`` a shape; False when it has one or none can be known."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or y.shape is not None:
        return False
    y.type = y.type or x.type
    if node.domain != _HIDDEN:
        y.shape = ir.Shape(x.shape)
        return True
    plane = tuple(d for d in x.shape.dims[2:] if isinstance(d, int))
    if len(plane) != len(x.shape) - 2:
        return False
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    spec = TensorSpec("x", (1, 1, *plane), "f32")
    try:
        (found,) = pool_shape(Node("", node.op_type, "", 1, (spec,), (), attributes, {}))
    except (EdgeSparseError, ValueError, ArithmeticError, LookupError):
        return False  # `lower` says why
    y.shape = ir.Shape([*x.shape.dims[:2], *found[2:]])
    return True
