"""DequantizeLinear on constant weights becomes the float weight it stands for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


class DequantiseWeights(ir.passes.InPlacePass):
    """``y = (x - zero_point) * scale`` for constant ``x``, per tensor or along ``axis``.

    ``x`` is any integer tensor; ``scale`` and ``zero_point`` are scalars or ``(x.shape[axis],)``.
    Blocked quantisation (``block_size``) is left alone.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type != "DequantizeLinear" or node.domain not in ("", "ai.onnx"):
                continue
            values = [None if v is None else ir.convenience.get_const_tensor(v) for v in node.inputs]
            block = node.attributes.get("block_size")
            if values[0] is None or values[1] is None or (block is not None and block.as_int() != 0):
                continue
            if len(values) > 2 and node.inputs[2] is not None and values[2] is None:
                continue
            x, scale = values[0].numpy(), values[1].numpy()
            zero = values[2].numpy() if len(values) > 2 and values[2] is not None else np.zeros((), x.dtype)
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
            shape = [1] * x.ndim
            if scale.size > 1:
                shape[axis] = -1
            y = (x.astype(np.int64) - zero.astype(np.int64).reshape(shape if zero.size > 1 else [1] * x.ndim)).astype(
                np.float32
            ) * scale.reshape(shape if scale.size > 1 else [1] * x.ndim).astype(np.float32)
            old = node.outputs[0]
            name = f"{old.name}_value"
            fresh = ir.Value(name=name, const_value=ir.tensor(y.reshape(x.shape), name=name))
            fresh.shape, fresh.dtype = ir.Shape(x.shape), ir.DataType.FLOAT
            model.graph.register_initializer(fresh)
            ir.convenience.replace_all_uses_with(old, fresh)
            model.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified=modified)
