"""Accuracy of models on labelled samples: by onnxruntime, by sessions, side by side; and data that does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import edgesparse as es
from edgesparse.errors import InputError
from edgesparse.evaluate import evaluate
from edgesparse.types import Array
from tests.tiny_models import classifier, f32, linear, model, numbers

from .conftest import Call


@pytest.fixture
def kws(data_dir: Path) -> tuple[Path, dict[str, Array]]:
    data = np.load(data_dir / "kws" / "kws01_dev.npz", allow_pickle=False)
    x = ((data["x"].astype(np.float32) - data["zero_point"]) * data["scale"]).astype(np.float32)[..., None]
    return data_dir / "kws" / "kws_ref_model.onnx", {"input_1": x, "labels": data["y"].astype(np.int64)}


def answers_of(path: Path, x: Array) -> Array:
    found: Array = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    return found


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    onnx.save(linear(batch="n"), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def test_the_keyword_spotter_gets_633_of_700(kws: tuple[Path, dict[str, Array]]) -> None:
    path, data = kws
    seen: list[tuple[int, int]] = []
    found = evaluate(path, data, on_progress=lambda done, total: seen.append((done, total)))
    assert found.score.right == 633 and found.samples == 700 and found.value == 633 / 700
    assert found.score.scores == "probabilities" and found.score.standard_error is not None
    assert abs(found.score.standard_error - np.sqrt(633 / 700 * 67 / 700 / 700)) < 1e-12
    assert seen[-1] == (700, 700) and len(seen) > 5


def test_a_session_of_a_bundle_beside_its_model(kws: tuple[Path, dict[str, Array]], tmp_path: Path) -> None:
    path, data = kws
    bundle = es.compile(es.load(path), "host", tmp_path / "kws.edge")
    with es.open(bundle) as session:
        found = es.evaluate(session, data, against=path)
    beside = found.against
    assert beside is not None and found.score.right == 633 == beside.other.right
    assert beside.agree == 700 and beside.difference == 0 and beside.p_value == 1 and beside.gained == beside.lost == 0
    assert beside.max_rel is not None and 0 < beside.max_rel < 1e-4
    assert found.score.ece == pytest.approx(beside.other.ece, abs=1e-5)


def test_a_fixed_batch_of_one_gives_the_same(tmp_path: Path) -> None:
    x = numbers(70, 4)
    for batch in (1, "n"):
        onnx.save(linear(batch=batch), tmp_path / f"{batch}.onnx")
    labels = answers_of(tmp_path / "n.onnx", x).argmax(axis=1)
    labels[:7] = (labels[:7] + 1) % 3
    one, many = (evaluate(tmp_path / f"{b}.onnx", {"x": x, "labels": labels}) for b in (1, "n"))
    assert one.score.right == many.score.right == 63 and one.score.ece == pytest.approx(many.score.ece)
    graph = evaluate(es.load(tmp_path / "n.onnx"), {"x": x, "labels": labels})
    assert graph.score.right == 63


def test_a_symbolic_batch_that_is_none_runs_one_by_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["row"], "one"), helper.make_node("MatMul", ["row", "w"], ["y"])
    ]  # fmt: skip
    proto = model(
        nodes, [f32("x", "n", 2, 2)], [f32("y", "m", 3)], {"shape": np.array([1, 4]), "w": numbers(4, 3)}
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    x = numbers(5, 2, 2, seed=1)
    labels = (x.reshape(5, 4) @ numbers(4, 3)).argmax(axis=1)
    assert evaluate(tmp_path / "m.onnx", {"x": x, "labels": labels}).score.right == 5
    assert "one by one" in capfd.readouterr().err


def test_softmax_is_applied_to_what_does_not_sum_to_one(tmp_path: Path) -> None:
    for name, nodes in (
        ("logits", [helper.make_node("Identity", ["x"], ["y"])]),
        ("shares", [helper.make_node("Softmax", ["x"], ["y"], axis=-1)]),
    ):
        onnx.save(model(nodes, [f32("x", "n", 3)], [f32("y", "n", 3)], {}), tmp_path / f"{name}.onnx")
    data = {"x": 3 * numbers(40, 3), "labels": np.arange(40) % 3}
    logits, shares = (evaluate(tmp_path / f"{name}.onnx", data).score for name in ("logits", "shares"))
    assert (logits.scores, shares.scores) == ("logits", "probabilities")
    assert logits.ece == pytest.approx(shares.ece, abs=1e-6) and logits.right == shares.right


def test_against_counts_pairs(tmp_path: Path) -> None:
    """Two models that answer what the input says; errors are planted in each."""
    node = [helper.make_node("Identity", ["x"], ["y"])]
    flipped = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    onnx.save(model(node, [f32("x", "n", 2)], [f32("y", "n", 2)], {}), tmp_path / "a.onnx")
    swap = np.array([[0, 1], [1, 0]], np.float32)
    onnx.save(model(flipped, [f32("x", "n", 2)], [f32("y", "n", 2)], {"w": swap}), tmp_path / "b.onnx")
    x = np.tile(np.array([[2, 1]], np.float32), (10, 1))
    labels = np.array([0] * 7 + [1] * 3)
    found = evaluate(tmp_path / "b.onnx", {"x": x, "labels": labels}, against=tmp_path / "a.onnx")
    b = found.against
    assert b is not None and b.other.right == 7 and found.score.right == 3 and b.agree == 0
    assert (b.gained, b.lost) == (3, 7) and b.difference == pytest.approx(-0.4)
    # of 10 fair coins at most 3 are heads: 176 of 1024; the difference has variance (3 + 7 - 16 / 10) / 100
    assert b.p_value == pytest.approx(2 * 176 / 1024) and b.standard_error == pytest.approx(np.sqrt(8.4) / 10)
    assert b.max_abs == 1 and b.max_rel == 0.5 and b.relative == pytest.approx(np.sqrt(2 / 5))


def test_agreement_needs_no_labels(tiny: Path, tmp_path: Path) -> None:
    other = linear(batch="n")
    weight = onnx.numpy_helper.to_array(other.graph.initializer[0]) + numbers(4, 3, seed=5)
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(other, tmp_path / "other.onnx")
    x = numbers(50, 4, seed=3)
    same = (answers_of(tiny, x).argmax(axis=1) == answers_of(tmp_path / "other.onnx", x).argmax(axis=1)).mean()
    assert 0 < same < 1
    assert evaluate(tmp_path / "other.onnx", {"x": x}, "agreement", tiny).value == same
    assert evaluate(tiny, {"x": x}, "agreement", tiny).value == 1


def test_any_function_is_a_metric(tiny: Path) -> None:
    x = numbers(9, 4)

    def largest(outputs: Mapping[str, Array], data: Mapping[str, Array]) -> float:
        assert set(data) == {"x", "extra"}
        return float(outputs["y"].max() + data["extra"][0])

    found = evaluate(tiny, {"x": x, "extra": np.array([5.0])}, largest)
    assert found.value == pytest.approx(float(answers_of(tiny, x).max()) + 5) and found.metric == "largest"
    with pytest.raises(InputError, match="gave str"):
        evaluate(tiny, {"x": x}, lambda outputs, data: "good")  # type: ignore[arg-type, return-value]


def test_nan_answers_are_wrong(tmp_path: Path) -> None:
    node = [helper.make_node("Log", ["x"], ["y"])]
    onnx.save(model(node, [f32("x", "n", 2)], [f32("y", "n", 2)], {}), tmp_path / "m.onnx")
    x = np.array([[-1, 2], [2, 1], [1, 2]], np.float32)
    found = evaluate(tmp_path / "m.onnx", {"x": x, "labels": np.array([0, 0, 1])})
    assert found.score.right == 2 and found.score.undefined == 1


X = numbers(6, 4)
LABELS = np.arange(6) % 3
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"labels": LABELS}, "no array for input 'x'", "data"),
    ({"x": X}, "needs an array 'labels'", "data"),
    ({"x": X, "labels": LABELS[:5]}, "5 labels for 6 samples", "labels"),
    ({"x": X, "labels": LABELS + 1}, "class 3, but the model has classes 0 to 2", "labels"),
    ({"x": X, "labels": LABELS - 1}, "class -1, but", "labels"),
    ({"x": X, "labels": LABELS.astype(np.float32)}, "expected integers [n], got float32", "labels"),
    ({"x": X, "labels": LABELS[:, None]}, "expected integers [n], got int64 [6, 1]", "labels"),
    ({"x": X[:, :3], "labels": LABELS}, "expected float32 [n, 4], got float32 [6, 3]", "input 'x'"),
    ({"x": X.astype(np.float64), "labels": LABELS}, "got float64", "input 'x'"),
    ({"x": X[0], "labels": LABELS[:4]}, "got float32 [4]", "input 'x'"),
    ({"x": X[:0], "labels": LABELS[:0]}, "holds no sample", "input 'x'"),
    ({"x": np.where(X[2, 1] == X, np.nan, X).astype(np.float32), "labels": LABELS}, "holds 1 NaN value", "input 'x'"),
]


@pytest.mark.parametrize(("data", "what", "where"), BAD)
def test_data_that_does_not_fit(tiny: Path, data: dict[str, Array], what: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(tiny, data)
    assert what in caught.value.what and caught.value.where == where


def test_options_that_cannot_be_used(tiny: Path, tmp_path: Path) -> None:
    data = {"x": X, "labels": LABELS}
    for metric, words in (("top5", "unknown metric 'top5'"), ("agreement", "compares with another model")):
        with pytest.raises(InputError, match=words):
            evaluate(tiny, data, metric)
    with pytest.raises(InputError, match="no such file"):
        evaluate(tmp_path / "none.onnx", data)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="onnxruntime cannot load"):
        evaluate(tmp_path / "text.onnx", data)
    with pytest.raises(InputError, match="no output 'z'"):
        evaluate(tiny, data, output="z")
    with pytest.raises(InputError, match="not a model but int"):
        evaluate(3, data)  # type: ignore[arg-type]


def test_several_outputs_need_a_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    outputs = [f32("y", "n", 4), f32("z", "n", 4)]
    onnx.save(model(nodes, [f32("x", "n", 4)], outputs, {}), tmp_path / "m.onnx")
    data = {"x": X, "labels": X.argmin(axis=1)}
    with pytest.raises(InputError, match="several outputs: 'y'"):
        evaluate(tmp_path / "m.onnx", data)
    assert evaluate(tmp_path / "m.onnx", data, output="z").score.right == 6


def test_an_output_without_classes(tmp_path: Path) -> None:
    node = [helper.make_node("Identity", ["x"], ["y"])]
    onnx.save(model(node, [f32("x", "n", 3, 3)], [f32("y", "n", 3, 3)], {}), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="has no score for each class"):
        evaluate(tmp_path / "m.onnx", {"x": numbers(2, 3, 3), "labels": np.array([0, 1])})


def test_the_command(call: Call, tiny: Path, tmp_path: Path) -> None:
    labels = answers_of(tiny, X).argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    np.savez(tmp_path / "xy.npz", x=X, labels=labels)
    code, out, err = call("evaluate", tiny, "--data", "xy.npz", "--against", tiny)
    assert code == 0 and "5 of 6" in out and "83.3%" in out and "same answer as" in out
    assert "with softmax" in err
    code, out, _ = call("evaluate", tiny, "--data", "xy.npz", "--json")
    document = json.loads(out)
    assert document["score"]["right"] == 5 and document["metric"] == "top1" and document["against"] is None
    (tmp_path / "mine.py").write_text(
        "def half(outputs, data):\n    print('hi')\n    return 0.5 * len(data['labels'])\n"
    )
    code, out, err = call("evaluate", tiny, "--data", "xy.npz", "--metric", "mine.py:half", "--json")
    assert code == 0 and json.loads(out)["score"]["value"] == 3.0 and "hi" in err


def test_the_command_says_what_is_wrong(call: Call, tiny: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "xy.npz", x=X)
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "mine.py").write_text("def bad(outputs, data):\n    return data['nothing']\n")
    for arguments, words in (
        (("--data", "xy.npz"), "needs an array 'labels'"),
        (("--data", "x.npy"), "one array without a name"),
        (("--data", "none.npz"), "no such file"),
        (("--data", "xy.npz", "--metric", "top9"), "unknown metric 'top9'"),
        (("--data", "xy.npz", "--metric", "mine.py:bad"), "mine.py:2: KeyError: 'nothing'"),
        (("--data", "xy.npz", "--metric", "mine.py:other"), "no function 'other'"),
        (("--data", "xy.npz", "--metric", "agreement"), "--against"),
    ):
        code, out, err = call("evaluate", tiny, *arguments)
        assert code == 2 and not out and words in err


def test_the_classifier_of_the_digits(tmp_path: Path) -> None:
    """A batch that is symbolic, with shape arithmetic as exporters write it."""
    onnx.save(classifier(), tmp_path / "m.onnx")
    x = numbers(130, 2, 8, 8, seed=4)
    expected = answers_of(tmp_path / "m.onnx", x)
    found = evaluate(tmp_path / "m.onnx", {"x": x, "labels": expected.argmax(axis=1)})
    assert found.score.right == 130
    assert found.score.ece == pytest.approx(float(1 - expected.max(axis=1).mean()), abs=1e-6), "all are right"
