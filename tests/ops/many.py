"""Many one-node cases in one model, so that one compilation serves all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import edgesparse as es
from edgesparse.lower import lower
from edgesparse.ops import CONTRACTS, OPERATORS
from edgesparse.passes.pipeline import optimise, simplify

Array = NDArray[Any]


class Cases:
    """Collects nodes with their inputs; `check` compiles, runs and compares them all.

    Every input becomes an input of the model of its own, those at ``constant`` an initializer.
    """

    def __init__(self, opset: int = 18) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.feed: dict[str, Array] = {}
        self.constants: list[onnx.TensorProto] = []
        self.expected: dict[str, Array] = {}

    def add(
        self, op: str, *inputs: Array | None, constant: Sequence[int] = (), expect: Array | None = None, **attrs: Any
    ) -> None:
        """One node ``op(*inputs)`` with one output. ``expect`` replaces the answer of the engine."""
        names = []
        for index, array in enumerate(inputs):
            name = "" if array is None else f"x{len(self.nodes)}_{index}"
            names.append(name)
            if array is None:
                continue
            if index in constant:
                self.constants.append(numpy_helper.from_array(array, name))
            else:
                self.feed[name] = np.asarray(array)
        output = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [output], name=output, **attrs))
        if expect is not None:
            self.expected[output] = expect

    def model(self) -> onnx.ModelProto:
        def port(name: str, array: Array) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

        graph = helper.make_graph(
            self.nodes, "cases", [port(n, a) for n, a in self.feed.items()],
            [
                port(n.output[0], self.expected[n.output[0]]) if n.output[0] in self.expected
                else helper.make_empty_tensor_value_info(n.output[0]) for n in self.nodes
            ],
            self.constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        # strict: an output without a type here is a mistake in the case
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)

    def compile(self, folder: Path) -> Path:
        path = folder / "cases.onnx"
        onnx.save(self.model(), path)
        return es.compile(es.load(path), device="host", out=folder / "cases.edge", force=True)

    def truth(self, engine: str) -> Mapping[str, Array]:
        names = [n.output[0] for n in self.nodes]
        if len(self.expected) == len(names):
            return self.expected
        if engine == "onnxruntime":
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = onnxruntime.InferenceSession(self.model().SerializeToString(), options)
            answers = session.run(names, self.feed)
        else:
            with np.errstate(all="ignore"):
                answers = ReferenceEvaluator(self.model()).run(None, self.feed)
        return {**dict(zip(names, answers, strict=True)), **self.expected}

    def check(self, folder: Path, *, rtol: float = 1e-6, atol: float = 0.0, engine: str = "onnxruntime") -> None:
        """Every output equals that of ``engine`` (onnxruntime or onnx.reference).

        So on every ISA of this machine, and computed by the NumPy references of the contracts.
        """
        expected = self.truth(engine)
        bundle = self.compile(folder)
        self._compare(self.reference(folder), expected, "the references", rtol, atol)
        ran = 0
        for isa in ("avx512", "avx2", "sse2"):
            try:
                session = es.open(bundle, runtime="local", isa=isa)
            except es.RuntimeFailure:
                continue  # this CPU lacks it
            with session:
                self._compare(session.run(self.feed), expected, isa, rtol, atol)
            ran += 1
        assert ran

    def reference(self, folder: Path) -> dict[str, Array]:
        """What the lowered graph computes by the NumPy references of its contracts."""
        model = es.load(folder / "cases.onnx")
        simplify(model)
        optimise(model)
        graph = lower(model)
        types = {node.name: ("" if node.domain == "ai.onnx" else node.domain, node.op_type) for node in model.graph}
        for call in graph.calls:  # docs/operators.md believes `kernels`
            listed = OPERATORS[types[call.layer]].kernels if call.layer in types else ()
            assert not listed or call.op in (*listed, "view", "assign"), (call.layer, call.op, listed)
        values: dict[str, Array] = {**graph.constants, **self.feed}
        for call in graph.calls:
            inputs = [values[n] if n in values else np.empty(0) for n in call.inputs]
            specs = [graph.tensors[n] for n in call.outputs]
            if call.op == "view":
                values[call.outputs[0]] = inputs[0].reshape(specs[0].shape)
                continue
            answers = CONTRACTS[call.op].reference(inputs, call.attrs, specs)
            values.update(zip(call.outputs, answers, strict=True))
        return {n.output[0]: values[n.output[0]] for n in self.nodes}

    def _compare(
        self, got: Mapping[str, Array], expected: Mapping[str, Array], by: str, rtol: float, atol: float
    ) -> None:
        for node in self.nodes:
            name = node.output[0]
            want, have = np.asarray(expected[name]), got[name]
            where = f"{name} by {by}: inputs {[self.feed[i].shape for i in node.input if i in self.feed]}"
            assert have.dtype == want.dtype and have.shape == want.shape, (where, have.dtype, have.shape)
            if want.dtype.kind == "f":
                np.testing.assert_allclose(have, want, rtol=rtol, atol=atol, err_msg=where)
            else:
                np.testing.assert_array_equal(have, want, err_msg=where)


def floats(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng((seed, *shape)).standard_normal(shape) * scale).astype(np.float32)


def integers(*shape: int, low: int = -9, high: int = 10, dtype: Any = np.int64, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).integers(low, high, shape).astype(dtype)
