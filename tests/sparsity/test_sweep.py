"""`sweep`: the 1% point and the knee of a curve, on curves whose break is known; and the report on real samples."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import edgesparse as es
from edgesparse.errors import InputError
from edgesparse.sparsity.knee import knee, non_increasing, within_loss
from edgesparse.sparsity.sweep import SPARSITIES, Curve, Point, Sweep, sweep
from edgesparse.sparsity.sweep_plot import svg
from edgesparse.types import Array
from tests.stages.conftest import Call
from tests.tiny_models import f32, model, numbers

STEP = 0.05
EACH = [round(STEP * k, 2) for k in range(19)]


def broken(at: float, slope: float, noise: float = 0.0, seed: int = 0) -> list[float]:
    """Flat at 0.9 up to ``at``, then falling by ``slope`` for each unit of sparsity, not below 0.1."""
    random = np.random.default_rng(seed)
    return [max(0.1, 0.9 - slope * max(0.0, s - at)) + noise * float(random.standard_normal()) for s in EACH]


@pytest.mark.parametrize("at", [0.2, 0.35, 0.5, 0.6, 0.75])
@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_the_knee_of_a_known_break(at: float, noise: float) -> None:
    slope = 0.8 / (0.95 - at)  # it falls up to the end
    for seed in range(20):
        found = knee(EACH, broken(at, slope, noise, seed))
        assert found is not None and abs(found - at) <= STEP + 1e-9


def test_the_one_percent_point_of_a_known_break() -> None:
    # 1% of 0.9 is lost 0.009 / 0.5 = 0.018 behind the break: within the same step
    for at in (0.2, 0.4, 0.7):
        assert within_loss(EACH, broken(at, 0.5)) == at
    assert within_loss(EACH, broken(0.4, 0.05)) == 0.55, "0.0075 lost at 0.55, 0.01 at 0.6"
    assert within_loss(EACH, [0.9] * 19) == 0.9 and within_loss(EACH, [0.9] + [0.2] * 18) == 0


def test_a_curve_without_a_knee() -> None:
    assert knee(EACH, [0.9] * 19) is None
    assert knee(EACH, [0.9] + [0.1] * 18) is None, "lost at once: no point is above the chord"
    assert knee([0.0, 0.5], [1, 0]) is None


def test_one_lucky_point_moves_nothing() -> None:
    values = broken(0.4, 1.5)
    lucky = [*values[:16], values[16] + 0.3, *values[17:]]
    assert within_loss(EACH, lucky) == within_loss(EACH, values) == 0.4
    assert knee(EACH, lucky) == knee(EACH, values)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12))
def test_non_increasing_is_the_nearest(values: list[float]) -> None:
    """Non-increasing, and against every other cut into constant pieces: min-max over means, the known closed form."""
    found = non_increasing(values)
    assert all(a >= b - 1e-12 for a, b in pairwise(found))
    n = len(values)
    for i in range(n):
        mean = [[float(np.mean(values[j : k + 1])) for k in range(i, n)] for j in range(i + 1)]
        assert found[i] == pytest.approx(min(max(row) for row in mean), abs=1e-9)


# -- the report -------------------------------------------------------------------------------------------------------


def network() -> onnx.ModelProto:
    """Three layers of 24 channels; the pruned one in the middle has 12 large weights a row and 12 near zero."""
    middle = numbers(24, 24, seed=1)
    middle[:, ::2] *= 1e-4
    nodes = [
        helper.make_node("Gemm", ["x", "a"], ["p"], "first", transB=1),
        helper.make_node("Gemm", ["p", "b"], ["q"], "middle", transB=1),
        helper.make_node("Gemm", ["q", "c"], ["y"], "last", transB=1),
    ]
    weights = {"a": numbers(24, 10), "b": middle, "c": numbers(6, 24, seed=2)}
    return model(nodes, [f32("x", "n", 10)], [f32("y", "n", 6)], weights)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


X = numbers(300, 10, seed=7)


def labels() -> Array:
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in network().graph.initializer}
    found: Array = (X @ weights["a"].T @ weights["b"].T @ weights["c"].T).argmax(axis=1)
    return found


def test_half_of_the_weights_are_not_needed(path: Path) -> None:
    graph = es.load(path)
    found = sweep(
        graph, {"x": X, "labels": labels()}, ["unstructured"], keep=["first"], sparsities=EACH, rearrange=False
    )
    assert found.metric == "top1" and found.dense == 1 and found.samples == 300
    chosen, random = found.curves
    assert (chosen.method, random.method) == ("magnitude", "random")
    assert [p.sparsity for p in chosen.points] == EACH
    assert chosen.s_1pct is not None and 0.5 <= chosen.s_1pct <= 0.6
    assert chosen.s_knee is not None and abs(chosen.s_knee - 0.5) <= 0.1001
    at = {p.sparsity: p for p in chosen.points}
    assert at[0.5].value == 1 and at[0.5].relative_error is not None and at[0.5].relative_error < 1e-3
    assert abs(at[0.7].zeros - 0.7) < 0.01 and at[0.0].zeros == 0
    assert random.points[10].value < 0.9, "random masks hit the large ones"
    es.save(graph, path.with_name("after.onnx"))
    after = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path.with_name("after.onnx")).graph.initializer}
    assert np.count_nonzero(after["b"]) == after["b"].size, "the model itself is not changed"


def test_without_labels_it_is_agreement(path: Path) -> None:
    found = sweep(es.load(path), {"x": X}, ["block:4x1"], keep=["first"], sparsities=[0.3, 0.9], rearrange=False)
    assert found.metric == "agreement" and found.dense == 1
    for curve in found.curves:
        assert [p.value for p in curve.points] == [p.agreement for p in curve.points]
        errors = [p.relative_error or 0 for p in curve.points]
        assert errors == sorted(errors) and errors[-1] > 0.1


def test_bad_options(path: Path) -> None:
    data = {"x": X, "labels": labels()}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sparsities": [1.0]}, "not in"), ({"sparsities": [-0.1]}, "not in"),
        ({"methods": ["obc"]}, "needs calibration"), ({"patterns": ["stripes"]}, "unknown pattern"),
        ({"methods": ["best"], "sparsities": [0.5]}, "unknown method"), ({"metric": "top7"}, "unknown metric"),
    ]  # fmt: skip
    for options, words in cases:
        with pytest.raises(InputError, match=words):
            sweep(es.load(path), data, **options)
    with pytest.raises(InputError, match="no array for input"):
        sweep(es.load(path), {"labels": labels()})


def test_the_keyword_spotter(data_dir: Path) -> None:
    data = np.load(data_dir / "kws" / "kws01_dev.npz", allow_pickle=False)
    x = ((data["x"].astype(np.float32) - data["zero_point"]) * data["scale"]).astype(np.float32)[..., None]
    given_ = {"input_1": x[::4], "labels": data["y"][::4].astype(np.int64)}
    found = sweep(es.load(data_dir / "kws" / "kws_ref_model.onnx"), given_, ["unstructured"], sparsities=[0.3, 0.9])
    magnitude, random = found.curves
    assert magnitude.points[0].value == random.points[0].value == found.dense > 0.85
    assert magnitude.points[1].value > random.points[1].value + 0.2
    assert magnitude.points[2].value < 0.3 and found.dense_ece is not None


def example() -> Sweep:
    def curve(pattern: str, method: str, at: float) -> Curve:
        values = broken(at, 2)
        points = tuple(Point(s, s, v, 0.1, v, 1 - v) for s, v in zip(EACH, values, strict=True))
        return Curve(pattern, method, points, within_loss(EACH, values), knee(EACH, values))

    single = Curve("nm:2:4", "magnitude", (Point(0.5, 0.5, 0.7, None, None, None),), None, None)
    curves = (curve("unstructured", "magnitude", 0.5), curve("unstructured", "random", 0.1), single)
    return Sweep("top1", 700, 0.9, 0.011, 0.03, curves)


def test_the_plot_is_xml_with_every_point() -> None:
    text = svg("<kws> & friends", example())
    root = ET.fromstring(text)
    named = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(t.startswith("unstructured magnitude") for t in named) == len(EACH)
    assert "nm:2:4 magnitude 0.5: 0.7" in named
    assert f"1% point: {example().curves[0].s_1pct:g}" in named and f"knee: {example().curves[0].s_knee:g}" in named
    assert sum(t.startswith(("1% point", "knee")) for t in named) == 2, "none for random masks"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2


def test_the_command(call: Call, path: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "xy.npz", x=X[:50], labels=labels()[:50])
    code, out, _ = call("sweep", path, "--data", "xy.npz", "--keep", "first", "--no-rearrange", "-o", "s.svg")
    assert code == 0 and "1% point" in out and "unstructured random" in out and (tmp_path / "s.svg").is_file()
    code, out, _ = call("sweep", path, "--data", "xy.npz", "--json", "--pattern", "block:2x1", "--keep", "first")
    document = json.loads(out)
    assert code == 0 and [p["sparsity"] for p in document["curves"][0]["points"]] == list(SPARSITIES)
    code, _, err = call("sweep", path, "--data", "xy.npz", "-o", "s.svg")
    assert code == 2 and "exists already" in err
