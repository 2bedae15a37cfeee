"""Recovery without labels: what is compared, what changes and what must not, and every way it can be misused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.errors import InputError, UnsupportedError
from edgesparse.passes.pipeline import simplify
from edgesparse.passes.rearrange_channels import RearrangeChannels
from edgesparse.passes.weights import find_weights
from edgesparse.patterns import parse_pattern
from edgesparse.types import Array
from tests.conftest import require
from tests.stages.conftest import Call
from tests.tiny_models import classifier, f32, linear, model, numbers

SAMPLES = 40


@pytest.fixture(autouse=True)
def torch_is_there() -> None:
    require("torch")


def network(batch: int | str = "n", softmax: bool = True) -> onnx.ModelProto:
    """Two convolutions, 1x1 and another 1x1, a classifier: x (n, 2, 8, 8) -> y (n, 4)."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "second"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "third"),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g" if softmax else "y"], "classifier", transB=1),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["g"], ["y"], "softmax", axis=-1))
    weights = {
        "w0": numbers(8, 2, 3, 3) / 3, "w1": numbers(8, 8, 1, 1, seed=1) / 2, "w2": numbers(8, 8, 1, 1, seed=2) / 2,
        "w3": 4 * numbers(4, 8, seed=3), **{f"b{i}": numbers(8 if i < 3 else 4, seed=4 + i) / 4 for i in range(4)},
    }  # fmt: skip
    return model(nodes, [f32("x", batch, 2, 8, 8)], [f32("y", batch, 4)], weights)


def samples(count: int = SAMPLES, seed: int = 5) -> dict[str, Array]:
    return {"x": numbers(count, 2, 8, 8, seed=seed)}


def sparse_and_dense(batch: int | str = "n", softmax: bool = True) -> tuple[ir.Model, ir.Model]:
    dense = ir.from_proto(network(batch, softmax))
    sparse = dense.clone()
    es.sparsify(sparse, "block:4x1", 0.5, rearrange=False)
    return sparse, dense


def run(network: ir.Model, inputs: dict[str, Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(ir.to_proto(network).SerializeToString())
    if session.get_inputs()[0].shape[0] == 1:
        each = [session.run(None, {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(SAMPLES)]
        return [np.concatenate(x) for x in zip(*each, strict=True)]
    return list(session.run(None, inputs))


def weights(network: ir.Model) -> dict[str, Array]:
    return {n: np.array(v.const_value.numpy()) for n, v in network.graph.initializers.items() if v.const_value}


@pytest.mark.parametrize(("batch", "softmax"), [("n", True), (1, False)])
def test_outputs_come_closer_and_zeros_stay(batch: int | str, softmax: bool) -> None:
    sparse, dense = sparse_and_dense(batch, softmax)
    before, teacher = weights(sparse), weights(dense)
    fresh = samples(seed=6)
    wanted, was = run(dense, fresh)[0], run(sparse, fresh)[0]
    report = es.recover(sparse, dense, samples(), epochs=30, batch=16, learning_rate=0.01)
    assert report.loss_after < 0.7 * report.loss_before, report
    assert (report.samples, report.held_out) == (SAMPLES - 6, 6)
    assert np.square(run(sparse, fresh)[0] - wanted).mean() < 0.7 * np.square(was - wanted).mean()
    after = weights(sparse)
    for name in ("w1", "w2"):
        assert (before[name] == 0).sum() == 32
        np.testing.assert_array_equal(after[name] == 0, before[name] == 0)
    assert report.zeros == 0.5 and report.weights == 2
    assert all(np.count_nonzero(after[name]) == after[name].size for name in ("w0", "w3", "b1")), "dense stays dense"
    assert all(not np.array_equal(after[name], before[name]) for name in before if name[0] in "wb")
    assert {n: a.tobytes() for n, a in weights(dense).items()} == {n: a.tobytes() for n, a in teacher.items()}
    onnx.checker.check_model(ir.to_proto(sparse), full_check=True)


def test_the_same_seed_gives_the_same_weights() -> None:
    found = []
    for seed in (0, 0, 1):
        sparse, dense = sparse_and_dense()
        report = es.recover(sparse, dense, samples(), epochs=3, batch=16, seed=seed)
        found.append((report.losses, b"".join(a.tobytes() for a in weights(sparse).values())))
    assert found[0] == found[1] != found[2]


def test_the_best_weights_are_kept() -> None:
    """A step far too long makes everything worse: the start is the best there was."""
    sparse, dense = sparse_and_dense()
    before = weights(sparse)
    seen: list[int] = []
    report = es.recover(
        sparse, dense, samples(), epochs=20, batch=16, learning_rate=1e3,
        on_progress=lambda done, total, what: seen.append(done),
    )  # fmt: skip
    assert report.best_epoch == 0 and report.loss_after == report.loss_before
    assert report.stopped == "no better on held-out samples" and report.epochs < 20
    assert seen == list(range(1, report.epochs + 1))
    assert all(np.array_equal(array, before[name]) for name, array in weights(sparse).items())


def test_the_limit_of_time() -> None:
    sparse, dense = sparse_and_dense()
    report = es.recover(sparse, dense, samples(), epochs=10_000, batch=16, minutes=1e-6)
    assert (report.epochs, report.stopped) == (1, "limit of time")


def test_square_head() -> None:
    import torch

    from edgesparse.sparsity.distil import square_head

    a, b = [numbers(3, 4), numbers(2, 5, seed=1)], [numbers(3, 4, seed=2), numbers(2, 5, seed=3)]
    student, teacher = [[torch.from_numpy(x) for x in xs] for xs in (a, b)]
    assert float(square_head(teacher, teacher)) == 0
    wanted = np.mean([np.mean((s - t) ** 2) / np.mean(t**2) for s, t in zip(a, b, strict=True)])
    assert float(square_head(student, teacher)) == pytest.approx(wanted, rel=1e-5)
    scaled = square_head([100 * s for s in student], [100 * t for t in teacher])
    assert float(scaled) == pytest.approx(wanted, rel=1e-5)
    assert np.isfinite(float(square_head([torch.zeros(3)], [torch.zeros(3)])))


def test_channels_are_matched_whatever_their_order() -> None:
    from edgesparse.sparsity.recover import match_channels

    rng = np.random.default_rng(0)
    teacher, order = numbers(12, 200), rng.permutation(12)
    teacher[3] = 1.0  # never changes
    student = teacher[order] + 0.3 * numbers(12, 200, seed=1)
    student[order == 3] = 2.0
    found, alike = match_channels(student, teacher)
    np.testing.assert_array_equal(found, order)
    assert 0.9 < alike < 1
    natural, _ = match_channels(teacher + 0.3 * numbers(12, 200, seed=1), teacher)
    np.testing.assert_array_equal(natural, np.arange(12))
    assert match_channels(numbers(12, 200, seed=7), teacher)[1] < 0.5


def test_hidden_states_of_a_rearranged_model() -> None:
    """Its channels have another order, in which the same network differs by nothing."""
    import torch

    from edgesparse.sparsity.distil import Distiller, Settings
    from edgesparse.sparsity.recover import _pairings
    from edgesparse.sparsity.torch_graph import TorchGraph

    dense = ir.from_proto(network())
    simplify(dense)
    moved = dense.clone()
    chosen = tuple(w for w in find_weights(moved) if not w.dense)
    names = [w.name for w in chosen]
    passed = RearrangeChannels(chosen, dict.fromkeys(names, parse_pattern("block:4x1")), dict.fromkeys(names, 0.5))
    passed(moved)
    assert any(not np.array_equal(p, np.arange(len(p))) for both in passed.permutations.values() for p in both)
    inputs = {"x": torch.from_numpy(samples()["x"])}
    one, other = TorchGraph(moved), TorchGraph(dense)
    pairings, layers, note = _pairings(moved, dense, one, other, inputs)
    assert (len(pairings), layers, note) == (3, 3, "") and any(p.order is not None for p in pairings)
    distiller = Distiller(one, other, [], pairings, {}, Settings(1, 8, 1e-3, 1.0, 1.0, None, 0))
    with torch.no_grad():
        found = one.run(inputs, {}, [p.student for p in pairings])
        wanted = other.run(inputs, {}, [p.teacher for p in pairings])
    for pairing, s, t in zip(distiller.pairings, found, wanted, strict=True):
        ordered = t if pairing.order is None else t[:, pairing.order]
        torch.testing.assert_close(s, ordered, rtol=1e-4, atol=1e-5)


def test_augmentation_keeps_to_the_axes_that_have_no_meaning_of_their_own() -> None:
    import torch

    from edgesparse.sparsity.augment import KINDS, augmenter

    spectrum = torch.from_numpy(numbers(50, 20, 10, 1)) + 5 * torch.arange(10.0)[None, None, :, None]
    change = augmenter(spectrum)
    assert change is not None and (change.steady, change.kinds) == ((1,), KINDS)
    image = augmenter(torch.from_numpy(numbers(20, 3, 16, 16)))
    assert image is not None and image.steady == (2, 3)
    vector = augmenter(torch.from_numpy(numbers(50, 20)))
    assert vector is not None and vector.steady == ()
    assert augmenter(torch.zeros((4, 20), dtype=torch.int64)) is None and augmenter(spectrum, ()) is None
    one, two = (change(spectrum, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two) and one.shape == spectrum.shape and not torch.equal(one, spectrum)
    shifted = augmenter(spectrum, ("shift",))
    assert shifted is not None
    moved = shifted(spectrum, torch.Generator().manual_seed(0))
    for old, new in zip(spectrum, moved, strict=True):
        at = [min(max(i, 0), 19) for i in range(20)]
        assert any(torch.equal(new, old[[min(max(i + by, 0), 19) for i in at]]) for by in range(-3, 4))


def zoo() -> onnx.ModelProto:
    """Operators with the options that torch has otherwise: paddings of two sizes, counts without padding, old forms."""
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["a"], "pad"),
        helper.make_node("Conv", ["a", "w"], ["b"], "conv", pads=[0, 1, 2, 1], strides=[2, 1], group=2),
        helper.make_node("Conv", ["b", "w"], ["b2"], "same", auto_pad="SAME_UPPER", strides=[2, 2], group=2),
        helper.make_node("ConvTranspose", ["b2", "v"], ["c"], "up", pads=[1, 0, 0, 1], strides=[2, 2]),
        helper.make_node("AveragePool", ["c"], ["d"], "mean", kernel_shape=[3, 3], pads=[1, 0, 1, 2]),
        helper.make_node("MaxPool", ["d"], ["e"], "max", kernel_shape=[2, 2], pads=[0, 1, 1, 0], ceil_mode=1),
        helper.make_node("BatchNormalization", ["e", "s", "t", "t", "s"], ["f"], "norm"),
        helper.make_node("HardSwish", ["f"], ["g"], "swish"),
        helper.make_node("PRelu", ["g", "slope"], ["h"], "prelu"),
        helper.make_node("Clip", ["h", "", "six"], ["i"], "clip"),
        helper.make_node("Split", ["i", "parts"], ["j", "k"], "split", axis=1),
        helper.make_node("HardSigmoid", ["j"], ["l"], "sigmoid", alpha=0.3),
        helper.make_node("Concat", ["k", "l"], ["m"], "concat", axis=1),
        helper.make_node("DepthToSpace", ["m"], ["n"], "shuffle", blocksize=2, mode="CRD"),
        helper.make_node("Slice", ["n", "begin", "end", "axis", "step"], ["o"], "slice"),
        helper.make_node("ReduceMean", ["o"], ["p"], "reduce", axes=[3], keepdims=0),
        helper.make_node("Transpose", ["p"], ["q"], "transpose", perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["q", "one", "one"], ["r"], "layer"),
        helper.make_node("Flatten", ["r"], ["u"], "flatten"),
        helper.make_node("LeakyRelu", ["u"], ["y"], "leaky"),
    ]
    constants = {
        "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "w": numbers(4, 2, 3, 3), "v": numbers(4, 4, 2, 2, seed=1),
        "s": np.abs(numbers(4)) + 1, "t": numbers(4, seed=2), "slope": numbers(4, 1, 1, seed=3),
        "six": np.array(6, np.float32), "parts": np.array([1, 3]), "begin": np.array([1]), "end": np.array([2**40]),
        "axis": np.array([2]), "step": np.array([2]), "one": np.ones(1, np.float32),
    }  # fmt: skip
    return model(nodes, [f32("x", "n", 4, 9, 8)], [f32("y", "n", "m")], constants)


def run_in_torch(network: ir.Model, inputs: dict[str, Array]) -> list[Array]:
    import torch

    from edgesparse.sparsity.torch_graph import TorchGraph

    graph = TorchGraph(network)
    with torch.no_grad():
        found = graph.run({k: torch.from_numpy(v) for k, v in inputs.items()}, {}, graph.outputs)
    return [x.numpy() for x in found]


@pytest.mark.parametrize("proto", [zoo(), classifier(), network(), network(1)], ids=["zoo", "shapes", "n", "one"])
def test_torch_computes_what_onnxruntime_does(proto: onnx.ModelProto) -> None:
    network = ir.from_proto(proto)
    dims = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    inputs = {"x": numbers(SAMPLES, *dims[1:])}
    for wanted, found in zip(run(network, inputs), run_in_torch(network, inputs), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_of_old_models_is_over_all_that_follows(opset: int) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["y"], "softmax", axis=1)]
    network = ir.from_proto(model(nodes, [f32("x", "n", 3, 4)], [f32("y", "n", 3, 4)], opset=opset))
    inputs = {"x": numbers(5, 3, 4)}
    np.testing.assert_allclose(run_in_torch(network, inputs)[0], run(network, inputs)[0], rtol=1e-5)


@pytest.mark.parametrize("file", ["kws/kws_ref_model.onnx", "vww/vww_96.onnx", "resnet8/resnet8_cifar10.onnx"])
def test_real_models_in_torch(data_dir: Path, file: str) -> None:
    network = es.load(data_dir / file)
    simplify(network)
    (port,) = network.graph.inputs
    inputs = {port.name or "": numbers(3, *[d for d in list(port.shape or ())[1:] if isinstance(d, int)])}
    (wanted,), (found,) = run(network, inputs), run_in_torch(network, inputs)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_an_operator_without_a_torch_function_is_named() -> None:
    sparse, dense = sparse_and_dense()
    for network in (sparse, dense):
        node = next(n for n in network.graph if n.name == "relu1")
        node.op_type = "Celu"
    with pytest.raises(UnsupportedError) as error:
        es.recover(sparse, dense, samples())
    assert "recover has no operator Celu" in str(error.value) and "relu1" in str(error.value)


def nothing_sparse() -> tuple[ir.Model, ir.Model]:
    dense = ir.from_proto(network())
    return dense.clone(), dense


def other_teacher() -> tuple[ir.Model, ir.Model]:
    return sparse_and_dense()[0], ir.from_proto(linear())


def with_nan() -> dict[str, Array]:
    found = samples()
    found["x"][3, 0, 0, 0] = np.nan
    return found


@pytest.mark.parametrize(
    ("models", "given", "options", "what"),
    [
        (nothing_sparse, samples(), {}, "no weight of the model has zeros: there is nothing to recover"),
        (other_teacher, samples(), {}, "the inputs of the sparse model are 'x' [n, 2, 8, 8], those of the teacher"),
        (sparse_and_dense, samples(15), {}, "15 samples are too few"),
        (sparse_and_dense, with_nan(), {}, "NaN or infinity in 1 of 40 samples, the first is number 3"),
        (sparse_and_dense, {"x": numbers(40, 2, 8, 9)}, {}, "shape [40, 2, 8, 9] is not [n, 2, 8, 8]"),
        (sparse_and_dense, {"z": numbers(40, 2, 8, 8)}, {}, "calibration holds z"),
        (sparse_and_dense, samples(), {"epochs": 0}, "epochs 0 is less than 1"),
        (sparse_and_dense, samples(), {"batch": 1}, "batch 1 is less than 2"),
        (sparse_and_dense, samples(), {"learning_rate": -1.0}, "learning_rate -1 is no positive number"),
        (sparse_and_dense, samples(), {"minutes": float("nan")}, "minutes nan is no positive number"),
        (sparse_and_dense, samples(), {"hidden": -1.0}, "hidden -1 is no weight"),
        (sparse_and_dense, samples(), {"augment": "shift,fly"}, "unknown augmentation 'fly'"),
    ],
)
def test_errors(models: Any, given: dict[str, Array], options: dict[str, Any], what: str) -> None:
    sparse, dense = models()
    before = weights(sparse)
    with pytest.raises(InputError) as error:
        es.recover(sparse, dense, given, **options)
    assert what in error.value.what and error.value.hint
    assert all(np.array_equal(a, before[n]) for n, a in weights(sparse).items())


def test_a_fixed_batch_is_refused() -> None:
    sparse, dense = sparse_and_dense(4)
    with pytest.raises(InputError, match="the batch of the model is fixed at 4"):
        es.recover(sparse, dense, samples())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    sparse, dense = sparse_and_dense()
    es.save(sparse, tmp_path / "sparse.onnx")
    es.save(dense, tmp_path / "model.onnx")
    np.savez(tmp_path / "x.npz", x=samples()["x"])
    return tmp_path


def test_the_command(files: Path, call: Call) -> None:
    command = ["recover", "sparse.onnx", "--teacher", "model.onnx", "--calibration", "x.npz", "-o", "r.onnx"]
    code, out, err = call(*command, "--epochs", "2", "--batch", "16")
    assert code == 0 and "wrote r.onnx" in out and "hidden states  3 of 3 layers" in " ".join(out.split(" ")), err
    assert "50.0% of 2 pruned weights, as before" in out
    code, _, err = call(*command)
    assert code == 2 and "exists already" in err
    code, out, _ = call(*command, "--force", "--json", "--epochs", "2", "--hidden", "0", "--augment", "none")
    document = json.loads(out)
    assert code == 0 and (document["epochs"], document["hidden"], document["augmentation"]) == (2, 0, [])
    assert sorted(p.name for p in files.iterdir()) == ["model.onnx", "r.onnx", "sparse.onnx", "x.npz"]


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.split(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *arguments, **options)

    sparse, dense = sparse_and_dense()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError) as error:
        es.recover(sparse, dense, samples())
    assert error.value.what == "PyTorch is not installed" and "pip install torch" in error.value.hint
