from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.errors import InputError
from edgesparse.sparsity.recipe import LayerRecipe, Recipe
from edgesparse.types import Array
from tests import tiny_models
from tests.stages.conftest import Call
from tests.tiny_models import f32, numbers


def network(classes: int = 6) -> onnx.ModelProto:
    """3x3, depthwise, two pointwise with a residual between them, mean, linear: (n, 3, 8, 8) to (n, classes)."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h1"], "first", pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Relu", ["h1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "d", "bd"], ["h2"], "depthwise", pads=[1] * 4, group=16, kernel_shape=[3, 3]),
        helper.make_node("Relu", ["h2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "w2", "b2"], ["h3"], "pointwise", kernel_shape=[1, 1]),
        helper.make_node("Add", ["h3", "r1"], ["s3"], "add"),
        helper.make_node("Relu", ["s3"], ["r3"], "relu3"),
        helper.make_node("Conv", ["r3", "w3"], ["h4"], "square", pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Relu", ["h4"], ["r4"], "relu4"),
        helper.make_node("GlobalAveragePool", ["r4"], ["p"], "mean"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v", "c"], ["y"], "classifier", transB=1),
    ]
    weights = {
        "w1": numbers(16, 3, 3, 3, seed=1) / 4, "b1": numbers(16, seed=2), "d": numbers(16, 1, 3, 3, seed=3) / 2,
        "bd": numbers(16, seed=4), "w2": numbers(16, 16, 1, 1, seed=5) / 3, "b2": numbers(16, seed=6),
        "w3": numbers(24, 16, 3, 3, seed=7) / 8, "v": numbers(classes, 24, seed=8), "c": numbers(classes, seed=9),
    }  # fmt: skip
    return tiny_models.model(nodes, [f32("x", "n", 3, 8, 8)], [f32("y", "n", classes)], weights)


SAMPLES = {"x": numbers(40, 3, 8, 8, seed=10)}


def outputs(model: ir.Model, samples: dict[str, Array] | None = None) -> Array:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    found: Array = session.run(None, samples or {"x": numbers(20, 3, 8, 8, seed=11)})[0]
    return found


def error(model: ir.Model) -> float:
    """Of the outputs, on samples that nothing was calibrated with."""
    dense = outputs(ir.from_proto(network()))
    return float(np.square(outputs(model) - dense).mean() / np.square(dense).mean())


@pytest.mark.parametrize("text", ["unstructured", "block:4x1", "slice:4x1", "nm:2:4"])
def test_reconstruction_beats_magnitude_which_beats_chance(text: str) -> None:
    """In the last layer's error; and, on samples that nothing was calibrated with, chance in that of the network."""
    layer, network_ = {}, {}
    for method in ("random", "magnitude", "sparsegpt", "obc"):
        model = ir.from_proto(network())
        report = es.sparsify(
            model, text, None if text == "nm:2:4" else 0.5, method, calibration=SAMPLES, rearrange=False
        )
        assert [p.method for p in report.layers] == [method] * 2
        layer[method], network_[method] = report.layers[-1].error or 0.0, error(model)
    assert 0 < max(layer["obc"], layer["sparsegpt"]) < layer["magnitude"] < layer["random"]
    assert max(network_["obc"], network_["sparsegpt"]) < network_["random"] / 2


def test_zeros_are_where_the_report_says() -> None:
    model = ir.from_proto(network())
    report = es.sparsify(model, "block:4x1", 0.5, calibration=SAMPLES, rearrange=False)
    assert report.method == "obc" and report.samples == 40
    weights = {v.name: v.const_value.numpy() for v in model.graph.initializers.values() if v.const_value is not None}
    assert [p.name for p in report.layers] == ["w2", "w3"]
    for layer in report.layers:
        assert layer.zeros == pytest.approx((weights[layer.name] == 0).mean()) == pytest.approx(0.5, abs=0.01)
        assert layer.error is not None and layer.random_error is not None and layer.error < layer.random_error
        assert 0.4 < layer.random_magnitude < 0.55 < layer.kept_magnitude
    for name in ("w1", "d", "v"):
        assert (weights[name] != 0).all()
    assert json.loads(model.metadata_props["edgesparse.sparsity"])["square"]["pattern"] == "block:4x1"


def test_a_convolution_without_bias_gets_one_that_keeps_the_mean() -> None:
    model = ir.from_proto(network())
    es.sparsify(model, "unstructured", 0.8, "magnitude", calibration=SAMPLES, keep=["pointwise"], rearrange=False)
    dense, sparse = (outputs(m, SAMPLES) for m in (ir.from_proto(network()), model))
    without = ir.from_proto(network())
    es.sparsify(without, "unstructured", 0.8, "magnitude", keep=["pointwise"], rearrange=False)
    square = next(n for n in model.graph if n.name == "square")
    assert len(square.inputs) == 3
    assert np.abs(sparse - dense).mean() < np.abs(outputs(without, SAMPLES) - dense).mean()


def test_batch_normalization_that_stays_is_estimated_again() -> None:
    """Behind the residual add it cannot be folded."""
    proto = network()
    node = helper.make_node("BatchNormalization", ["s3", "g", "z", "m", "u"], ["bn"], "norm")
    add = next(i for i, n in enumerate(proto.graph.node) if n.name == "add")
    proto.graph.node.insert(add + 1, node)
    proto.graph.node[add + 2].input[0] = "bn"
    for name, array in (("g", np.ones(16)), ("z", np.zeros(16)), ("m", np.zeros(16)), ("u", np.full(16, 2.0))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    model, dense = ir.from_proto(proto), ir.from_proto(proto)
    es.sparsify(model, "unstructured", 0.8, "magnitude", calibration=SAMPLES, keep=["square"], rearrange=False)
    if not any(n.op_type == "BatchNormalization" for n in model.graph):
        pytest.fail("it was folded: the test must keep it another way")
    inner = []
    for one in (dense, model):
        (norm,) = (n for n in one.graph if n.op_type == "BatchNormalization")
        one.graph.outputs.append(norm.outputs[0])
        session = ort.InferenceSession(ir.to_proto(one).SerializeToString())
        inner.append(session.run(None, SAMPLES)[1])
    for moment in (np.mean, np.std):
        assert np.allclose(moment(inner[0], axis=(0, 2, 3)), moment(inner[1], axis=(0, 2, 3)), atol=1e-3)


def test_a_depthwise_layer_is_pruned_when_asked_for() -> None:
    model = ir.from_proto(network())
    report = es.sparsify(model, "taps:4", include=["depthwise"], keep=["square"])
    (layer,) = report.layers
    assert layer.name == "d" and layer.zeros == pytest.approx(5 / 9)
    assert "tap patterns are for kernels of 3x3" in {d.name: d.reason for d in report.dense}["w2"]


def test_a_recipe_says_what_each_layer_gets() -> None:
    model = ir.from_proto(network())
    recipe = Recipe(layers={
        "pointwise": LayerRecipe(pattern="nm:1:4", sparsity=0.75), "w3": LayerRecipe(pattern="slice:4x1", sparsity=0.5),
    })  # fmt: skip
    report = es.sparsify(model, recipe=recipe, rearrange=False)
    assert {p.name: (p.pattern, p.sparsity) for p in report.layers} == {
        "w2": ("nm:1:4", 0.75),
        "w3": ("slice:4x1", 0.5),
    }
    with pytest.raises(InputError, match="names 'nobody', which is no layer"):
        es.sparsify(
            ir.from_proto(network()), recipe=Recipe(layers={"nobody": LayerRecipe(pattern="nm:1:4", sparsity=0.75)})
        )


def test_rearranging_leaves_the_dense_outputs_as_they_are() -> None:
    model = ir.from_proto(network())
    before = outputs(model)
    report = es.sparsify(model, "block:4x1", 0.0)
    assert report.zeros == 0
    assert np.allclose(outputs(model), before, atol=1e-5)


def test_rearranged_channels_keep_more() -> None:
    reports = [es.sparsify(ir.from_proto(network()), "block:4x1", 0.5, rearrange=r) for r in (False, True)]
    natural, rearranged = ([p.kept_magnitude for p in r.layers] for r in reports)
    assert sum(rearranged) > sum(natural)
    assert [p.natural_share for p in reports[1].layers] == pytest.approx(natural)
    assert [p.rearranged_share for p in reports[1].layers] == pytest.approx(rearranged)
    assert all(p.natural_share is None for p in reports[0].layers)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"pattern": "block:4x1"}, "needs a sparsity"),
        ({"pattern": "block:4x1", "sparsity": 1.0}, r"outside of \[0, 1\)"),
        ({"pattern": "block:4x1", "sparsity": -0.1}, r"outside of \[0, 1\)"),
        ({"pattern": "block:4x1", "sparsity": float("nan")}, r"outside of \[0, 1\)"),
        ({"pattern": "nm:2:4", "sparsity": 0.7}, "always has 0.5"),
        ({"pattern": "nm:2:4", "allocation": "erk"}, "has the same in every layer"),
        ({"pattern": "block:4x1", "sparsity": 0.5, "method": "obc"}, "needs calibration"),
        ({"pattern": "block:4x1", "sparsity": 0.5, "method": "best"}, "unknown method 'best'"),
        ({"pattern": "block:4x1", "sparsity": 0.5, "allocation": "fair"}, "unknown allocation 'fair'"),
        ({"pattern": "block:4x1,nm:2:4", "sparsity": 0.5}, "2 patterns"),
        ({"pattern": "block:4x1", "sparsity": 0.5, "speedup": 2.0}, "leave it out|decides"),
        ({"pattern": "block:4x1", "allocation": "latency"}, "needs a target"),
        ({"pattern": "block:4x1", "target_ms": 1.0, "speedup": 2.0}, "needs a target"),
        ({"pattern": "taps:4", "keep": ["square"]}, "nothing to prune"),
        ({"pattern": "taps:4", "include": ["pointwise"]}, "cannot prune 'w2'.*this one is 1x1"),
        ({"pattern": "block:4x1", "sparsity": 0.5, "include": ["depthwise"]}, "cannot prune"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        es.sparsify(ir.from_proto(network()), **arguments)  # type: ignore[arg-type]


def test_a_refused_call_changes_no_weight() -> None:
    model = ir.from_proto(network())
    with pytest.raises(InputError, match="NaN"):
        es.sparsify(model, "block:4x1", 0.5, calibration={"x": np.full((2, 3, 8, 8), np.nan)})
    assert all((v.const_value.numpy() != 0).all() for n, v in model.graph.initializers.items() if n and v.const_value)


def test_weights_that_do_not_divide_are_remarked_upon() -> None:
    report = es.sparsify(ir.from_proto(network(classes=6)), "block:4x1", 0.5, include=["classifier"], rearrange=False)
    assert {p.name: p.remark for p in report.layers}["v"] == "the last block has 2 of 4 output channels"


def test_the_command_writes_nothing_when_it_fails(call: Call) -> None:
    onnx.save(network(), "m.onnx")
    np.savez("x.npz", x=np.zeros((3, 3, 8, 9), np.float32))
    before = sorted(Path.cwd().iterdir())
    options = ("--pattern", "block:4x1", "--sparsity", "0.5", "--calibration", "x.npz", "-o", "s.onnx")
    code, _, err = call("sparsify", "m.onnx", *options)
    assert code == 2 and "[3, 3, 8, 9] is not [n, 3, 8, 8]" in err
    assert sorted(Path.cwd().iterdir()) == before
