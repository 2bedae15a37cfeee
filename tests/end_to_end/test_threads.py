"""Compiled models on several threads: the same bits as on one, whatever the number of parts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.compare import output_error
from edgesparse.runtimes.arrays import Sample, check_inputs, empty_outputs
from edgesparse.runtimes.local import LocalSession
from edgesparse.samples import random_inputs
from edgesparse.types import Array
from tests.snapshots.test_snapshots import channels_last, depthwise_classifier, residual, sparse_pointwise
from tests.tiny_models import classifier, f32, model, numbers


def attention() -> onnx.ModelProto:
    """What transformers are made of: norm, three projections, transposes, softmax, two products, GELU by Erf."""
    nodes = [
        helper.make_node("LayerNormalization", ["x", "s", "t"], ["n"], "norm"),
        *(helper.make_node("MatMul", ["n", f"w{i}"], [f"p{i}"], f"project{i}") for i in range(3)),
        *(helper.make_node("Reshape", [f"p{i}", "heads"], [f"h{i}"], f"heads{i}") for i in range(3)),
        helper.make_node("Transpose", ["h0"], ["q"], "q", perm=[0, 2, 1, 3]),
        helper.make_node("Transpose", ["h1"], ["k"], "k", perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["h2"], ["v"], "v", perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", ["q", "k"], ["qk"], "scores"),
        helper.make_node("Softmax", ["qk"], ["a"], "softmax", axis=-1),
        helper.make_node("MatMul", ["a", "v"], ["av"], "mix"),
        helper.make_node("Transpose", ["av"], ["m"], "m", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["m", "flat"], ["f"], "flat"),
        helper.make_node("Add", ["x", "f"], ["r"], "add"),
        helper.make_node("Erf", ["r"], ["e"], "erf"),
        helper.make_node("Mul", ["r", "e"], ["g"], "mul"),
        helper.make_node("ReduceMean", ["g"], ["y"], "mean", axes=[1], keepdims=0),
        helper.make_node("Concat", ["g", "x"], ["c"], "concat", axis=1),
    ]
    weights = {
        "s": numbers(24), "t": numbers(24), **{f"w{i}": numbers(24, 24, seed=i) for i in range(3)},
        "heads": np.array([1, 37, 3, 8]), "flat": np.array([1, 37, 24]),
    }  # fmt: skip
    return model(nodes, [f32("x", 1, 37, 24)], [f32("y", 1, 24), f32("c", 1, 74, 24)], weights)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    f.__name__: f for f in (sparse_pointwise, depthwise_classifier, residual, channels_last, classifier, attention)
}


@pytest.fixture(scope="module", params=MODELS)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model as ONNX and as a bundle for this machine."""
    folder = tmp_path_factory.mktemp(request.param)
    onnx.save(MODELS[request.param](), folder / "m.onnx")
    loaded = es.load(folder / "m.onnx", shapes={"x": (1, 2, 8, 8)} if request.param == "classifier" else {})
    return folder / "m.onnx", Path(es.compile(loaded, device="host", out=folder / "m.edge"))


class Parts:
    """`model_part` of an open bundle, one part after the other on the calling thread."""

    def __init__(self, session: LocalSession, sample: Sample, most: int) -> None:
        manifest = session.manifest
        library = ctypes.CDLL(None, handle=session._library._handle)
        self._part = library.model_part
        self._part.argtypes = [ctypes.c_int] * 3 + [ctypes.c_void_p] * 4
        self._calls = max(number for layer in manifest.layers for number in layer.calls) + 1
        room = np.zeros(manifest.arena_bytes + most * manifest.scratch_bytes + 64, np.uint8)
        self._arena = room[-room.ctypes.data % 64 :]
        self.outputs = empty_outputs(manifest)
        self._weights = session._weights.address
        self._ins, self._outs = session._pointers(sample), session._pointers(self.outputs)

    def run(self, parts: int, order: Callable[[int], list[int]]) -> None:
        self._arena[:] = 0xFF  # NaN: what a part forgets is seen
        for output in self.outputs:
            output.view(np.uint8)[...] = 0xFF
        for call in range(self._calls):
            for part in order(parts):
                code = self._part(call, part, parts, self._weights, self._arena.ctypes.data, self._ins, self._outs)
                assert code == 0


def test_any_number_of_parts_in_any_order(compiled: tuple[Path, Path]) -> None:
    """More parts than there are blocks, too."""
    with es.open(compiled[1], runtime="local") as session:
        assert isinstance(session, LocalSession)
        inputs = random_inputs(session.manifest)
        expected = session.run(inputs)
        (sample,) = check_inputs(session.manifest, inputs, each=False)
        parts = Parts(session, sample, most=40)
        for count in (*range(1, 9), 13, 40):
            for order in (lambda n: list(range(n)), lambda n: list(range(n))[::-1]):
                parts.run(count, order)
                for (name, one), many in zip(expected.items(), parts.outputs, strict=True):
                    assert one.tobytes() == many.tobytes(), f"{name} in {count} parts"


@pytest.mark.cpus(2)
def test_the_pool_gives_the_same_bits_and_agrees_with_onnxruntime(compiled: tuple[Path, Path]) -> None:
    import onnxruntime as ort

    file, bundle = compiled
    with es.open(bundle) as one, es.open(bundle, threads=2) as two:
        for seed in range(5):
            inputs = _inputs(random_inputs(one.manifest), seed)
            expected, found = one.run(inputs), two.run(inputs)
            for name in expected:
                assert expected[name].tobytes() == found[name].tobytes(), name
        reference = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(list(found), inputs)
    for (name, array), right in zip(found.items(), reference, strict=True):
        assert output_error(name, [right], [array]).max_rel < 1e-5


def _inputs(like: dict[str, Array], seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(array.shape).astype(array.dtype) for name, array in like.items()}
