"""A simplified ONNX graph run by torch, so that its weights can be trained under the names they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgesparse.errors import EdgeSparseError, InputError, UnsupportedError
from edgesparse.passes.match import label
from edgesparse.passes.weights import WEIGHTED
from edgesparse.sparsity.torch_ops import OPERATORS, Function, NoFunction
from edgesparse.types import Array

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Gelu")
TRAINED = {"BatchNormalization": (1, 2), "LayerNormalization": (1, 2), "PRelu": (1,), "Add": (0, 1)} | dict.fromkeys(
    WEIGHTED, (0, 1, 2)
)
"""Operator -> the inputs that are trained where they are constant: weights, biases, scales, slopes."""


class TorchGraph:
    """``run(inputs, parameters) -> values``, as onnxruntime computes them in float32.

    Where the batch of the model is fixed at 1 each sample runs on its own (`torch.vmap`): constant shapes stay right.

    Raises:
        UnsupportedError: operators that have no torch function here; all are named.
        InputError: a model whose batch is fixed at another number than 1.
    """

    def __init__(self, model: ir.Model) -> None:
        self.inputs = [v.name or "" for v in model.graph.inputs if v.name not in model.graph.initializers]
        self.outputs = [v.name or "" for v in model.graph.outputs]
        firsts = [v.shape[0] for v in model.graph.inputs if v.shape is not None and len(v.shape)]
        fixed = [d for d in firsts if isinstance(d, int)]
        if any(d != 1 for d in fixed):
            raise InputError(
                f"the batch of the model is fixed at {max(fixed)}", where=model.graph.name or "model",
                hint="export it with a batch of 1 or a symbolic one",
            )  # fmt: skip
        self.each = bool(fixed)
        self.steps: list[tuple[Function, list[str | None], list[str]]] = []
        self.constants: dict[str, Tensor] = {}
        self._read(model)

    def _read(self, model: ir.Model) -> None:
        opset = model.opset_imports.get("", 17)
        for name, value in model.graph.initializers.items():
            assert value.const_value is not None
            self.constants[name] = _tensor(value.const_value)
        problems: list[EdgeSparseError] = []
        for node in model.graph:
            names = [v.name or "" for v in node.outputs]
            if node.op_type == "Constant":
                found = ir.convenience.get_const_tensor(node.outputs[0])
                if found is not None:
                    self.constants[names[0]] = _tensor(found)
                    continue
            hint = "recover needs a torch function for it; sparsify alone does not"
            if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
                problems.append(
                    EdgeSparseError(f"recover has no operator {node.op_type}", where=label(node), hint=hint)
                )
                continue
            try:
                function = OPERATORS[node.op_type](node, opset)
            except NoFunction as why:
                problems.append(EdgeSparseError(f"recover cannot run it: {why}", where=label(node), hint=hint))
                continue
            self.steps.append((function, [None if v is None else v.name for v in node.inputs], names))
        if problems:
            raise UnsupportedError(problems, where=model.graph.name or "model")

    def run(
        self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Tensor], wanted: Sequence[str]
    ) -> list[Tensor]:
        """The values called ``wanted`` for samples stacked on axis 0. ``parameters`` go before the constants."""
        if not self.each:
            return self._values(dict(inputs), parameters, wanted)

        def one(*samples: Tensor) -> tuple[Tensor, ...]:
            given = {name: sample.unsqueeze(0) for name, sample in zip(self.inputs, samples, strict=True)}
            return tuple(self._values(given, parameters, wanted))

        found = torch.vmap(one)(*(inputs[name] for name in self.inputs))
        return [value.flatten(0, 1) if value.ndim > 1 else value for value in found]

    def _values(
        self, values: dict[str, Tensor], parameters: Mapping[str, Tensor], wanted: Sequence[str]
    ) -> list[Tensor]:
        values = {**self.constants, **parameters, **values}
        for function, names, outputs in self.steps:
            found = function(*(None if name is None or name == "" else values[name] for name in names))
            for name, value in zip(outputs, found if isinstance(found, tuple) else (found,), strict=True):
                values[name] = value
        return [values[name] for name in wanted]


def _tensor(tensor: Any) -> Tensor:
    array = tensor.numpy()
    return aligned(array.astype(np.float32) if array.dtype.kind == "f" else array)


def aligned(array: Array) -> Tensor:
    """A copy in torch's own memory: that of NumPy begins anywhere, on which the order of sums depends."""
    return torch.tensor(np.ascontiguousarray(array).reshape(array.shape))


def trained_names(model: ir.Model) -> list[str]:
    """Initializers that training changes: weights, biases, scales and slopes, in graph order."""
    found: dict[str, None] = {}
    for node in model.graph:
        for index in TRAINED.get(node.op_type, ()):
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
                continue
            if value.dtype == ir.DataType.FLOAT and (node.op_type != "Add" or _is_bias(node, index)):
                found[value.name or ""] = None
    return list(found)


def _is_bias(node: ir.Node, index: int) -> bool:
    """Of an Add behind a layer with weights: what converters make of a linear layer."""
    other = node.inputs[1 - index]
    producer = None if other is None else other.producer()
    return producer is not None and producer.op_type in WEIGHTED


def hidden_names(model: ir.Model) -> list[tuple[str, int]]:
    """For each layer with weights but those that make an output: (its activation's output, its axis of channels)."""
    found = []
    for node in model.graph:
        if node.op_type not in WEIGHTED or not any(
            v is not None and v.const_value is not None and v.is_initializer() for v in node.inputs
        ):
            continue
        value = node.outputs[0]
        while len(value.uses()) == 1 and not value.is_graph_output():
            reader = next(iter(value.uses())).node
            bias = reader.op_type == "Add" and any(v is not None and v.const_value is not None for v in reader.inputs)
            if not (bias or reader.op_type in (*ACTIVATIONS, "BatchNormalization")):
                break
            value = reader.outputs[0]
        last = value.is_graph_output() or all(u.node.op_type in ("Softmax", "LogSoftmax") for u in value.uses())
        if not last:
            found.append((value.name or "", 1 if node.op_type.startswith("Conv") else -1))
    return found
