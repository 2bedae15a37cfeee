"""DequantizeLinear on constant weights becomes the float weight it stands for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import attribute_int
from edgesparse.types import Array


class DequantiseWeights(ir.passes.InPlacePass):
    """``y = (x - zero_point) * scale`` for constant ``x``, per tensor, along ``axis`` or in blocks.

    ``x`` is any integer tensor; ``scale`` and ``zero_point`` are scalars or ``(x.shape[axis],)``. With ``block_size``
    B they have the shape of ``x`` with ``ceil(x.shape[axis] / B)`` entries along ``axis``, each for B neighbours.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type != "DequantizeLinear" or node.domain not in ("", "ai.onnx"):
                continue
            values = [None if v is None else ir.convenience.get_const_tensor(v) for v in node.inputs]
            if values[0] is None or values[1] is None:
                continue
            if len(values) > 2 and node.inputs[2] is not None and values[2] is None:
                continue
            x, scale = values[0].numpy(), values[1].numpy()
            zero = values[2].numpy() if len(values) > 2 and values[2] is not None else np.zeros((), x.dtype)
            axis, block = attribute_int(node, "axis", 1), attribute_int(node, "block_size", 0)
            spread = [_spread(parameter, x, axis, block) for parameter in (zero, scale)]
            if spread[0] is None or spread[1] is None:
                continue  # shapes that do not fit: `lower` reports the node
            y = (x.astype(np.int64) - spread[0].astype(np.int64)).astype(np.float32) * spread[1].astype(np.float32)
            old = node.outputs[0]
            name = f"{old.name}_value"
            fresh = ir.Value(name=name, const_value=ir.tensor(y.reshape(x.shape), name=name))
            fresh.shape, fresh.dtype = ir.Shape(x.shape), ir.DataType.FLOAT
            model.graph.register_initializer(fresh)
            ir.convenience.replace_all_uses_with(old, fresh)
            model.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def _spread(parameter: Array, x: Array, axis: int, block: int) -> Array | None:
    """``parameter`` in a shape that broadcasts to ``x``; None when it does not fit."""
    if parameter.size == 1:
        return parameter.reshape([1] * x.ndim)
    if not -x.ndim <= axis < x.ndim:
        return None
    axis %= x.ndim
    if block > 0:
        if parameter.ndim != x.ndim:
            return None
        parameter = np.take(parameter.repeat(block, axis), np.arange(x.shape[axis]), axis, mode="clip")
        return parameter if parameter.shape == x.shape else None
    if parameter.shape != (x.shape[axis],):
        return None
    return parameter.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
