"""BatchNormalization that could not be folded: its statistics after the layers before it were pruned."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.passes.match import attribute_float, constant, is_op, operand
from edgesparse.sparsity.calibration import Samples, inner_values
from edgesparse.types import Array


def reestimate_batchnorms(model: ir.Model, dense: ir.Model, samples: Samples) -> int:
    """Move the running mean and variance of every BatchNormalization as pruning moved those of its input; how many.

    Per channel the output has the mean and variance on ``samples`` that it has in ``dense``, whose names are those of
    ``model``: nothing changes where pruning changed nothing. In graph order, each behind those before it.
    """
    done = 0
    before = {v.name: v for node in dense.graph for v in node.outputs}
    for node in model.graph:
        x = operand(node, 0)
        mean, variance = constant(operand(node, 3)), constant(operand(node, 4))
        if not is_op(node, "BatchNormalization") or x is None or x.name not in before:
            continue
        if mean is None or variance is None:
            continue
        (m, v), (m0, v0) = _statistics(model, x, samples), _statistics(dense, before[x.name], samples)
        epsilon = attribute_float(node, "epsilon", 1e-5)
        ratio = np.where(v0 > 0, v / np.where(v0 > 0, v0, 1.0), 1.0)
        spread = np.maximum((variance + epsilon) * ratio, epsilon)  # with epsilon, as the operator adds it
        shift = (m0 - mean) * np.sqrt(spread / (variance + epsilon))
        for index, array in ((3, m - shift), (4, spread - epsilon)):
            old = node.inputs[index]
            assert old is not None
            value = ir.Value(name=f"{node.outputs[0].name}.{index}", const_value=ir.tensor(array.astype(mean.dtype)))
            value.shape, value.type = old.shape, old.type
            model.graph.register_initializer(value)
            node.replace_input_with(index, value)
        done += 1
    return done


def _statistics(model: ir.Model, value: ir.Value, samples: Samples) -> tuple[Array, Array]:
    """Mean and variance of each channel (axis 1) over samples and positions."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for (x,) in inner_values(model, [value], samples):
        flat = np.moveaxis(x.astype(np.float64), 1, -1).reshape(-1, x.shape[1])
        count += len(flat)
        total, squares = total + flat.sum(axis=0), squares + np.square(flat).sum(axis=0)
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0.0)
