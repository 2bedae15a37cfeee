"""Layers in turns: every row is computed once, from rows that are there; outputs are those of onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import edgesparse as es
from edgesparse import bands
from edgesparse.bands import _bands, _Layer
from edgesparse.devices.device import Cluster
from edgesparse.manifest import read_manifest
from edgesparse.runtimes.arrays import check_inputs
from edgesparse.runtimes.local import LocalSession
from edgesparse.samples import random_inputs
from tests.end_to_end.test_threads import Parts
from tests.tiny_models import f32, model, numbers


@st.composite
def layers(draw: st.DrawFn) -> list[_Layer]:
    """Windows one after the other, on planes that get smaller."""
    rows = draw(st.integers(5, 60))
    found = []
    for _ in range(draw(st.integers(2, 6))):
        kernel = draw(st.sampled_from([1, 1, 3, 5]))
        stride, top = (1, 0) if kernel == 1 else (draw(st.integers(1, 2)), draw(st.integers(0, kernel - 1)))
        bottom = draw(st.integers(0, top))
        out = (rows + top + bottom - kernel) // stride + 1
        if out < 2:
            break
        found.append(_Layer(kernel > 1, kernel, stride, top, rows, 8, out, 8, 4, 4, 0, 1.0, 1, False))
        rows = out
    return found


@settings(max_examples=300, derandomize=True, deadline=None)
@given(chain=layers(), rows=st.integers(1, 9))
def test_every_row_is_computed_once_from_rows_that_are_there(chain: list[_Layer], rows: int) -> None:
    """Plays the rounds with row numbers for rows."""
    if len(chain) < 2:
        return
    buffers: list[dict[int, int]] = [{} for _ in chain]  # of each output: place -> row
    computed: list[list[int]] = [[] for _ in chain]
    for each in _bands(chain, rows):
        for k, (layer, band) in enumerate(zip(chain, each, strict=True)):
            assert band.kept >= 0 and band.rows >= 0 and band.y_row >= 0
            moved = {i: buffers[k][band.kept_from + i] for i in range(band.kept)}
            buffers[k] = {**buffers[k], **moved} if k == len(chain) - 1 else moved
            for i in range(band.rows):
                row = band.first + i
                for tap in range(layer.kernel):
                    wanted = row * layer.stride - layer.top + tap
                    place = i * layer.stride - band.top + tap  # as a kernel counts, from its first row of x
                    if 0 <= wanted < layer.height:
                        assert 0 <= place < band.height
                        have = band.x_row + place if k == 0 else buffers[k - 1][band.x_row + place]
                        assert have == wanted
                    else:
                        assert not 0 <= place < band.height
                buffers[k][band.y_row + i] = row
                computed[k].append(row)
    for k, layer in enumerate(chain[:-1]):
        last = chain[k + 1].reads(0, chain[k + 1].rows)[1] if k == len(chain) - 2 else len(computed[k])
        assert computed[k] == list(range(len(computed[k]))) and len(computed[k]) >= min(last, layer.rows)
    assert computed[-1] == list(range(chain[-1].rows))


def network(height: int, width: int, stride: int, kernel: int) -> onnx.ModelProto:
    """Entry, depthwise, pointwise with a residual at its end, depthwise with a multiplier, pointwise, mean."""
    pads = [kernel // 2] * 4
    nodes = [
        helper.make_node("Conv", ["x", "e"], ["a"], "entry", pads=[1, 1, 1, 1], strides=[stride, stride]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "p", "s"], ["c"], "widen"),
        helper.make_node("Clip", ["c", "zero", "six"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["f"], "depthwise", group=24, pads=pads),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Conv", ["g", "q"], ["h"], "narrow"),
        helper.make_node("Add", ["h", "b"], ["i"]),
        helper.make_node("Conv", ["i", "r"], ["j"], "again"),
        helper.make_node("HardSwish", ["j"], ["k"]),
        helper.make_node("Conv", ["k", "v"], ["l"], "multiplied", group=20, pads=pads, strides=[2, 2]),
        helper.make_node("Conv", ["l", "t"], ["m"], "last"),
        helper.make_node("GlobalAveragePool", ["m"], ["y"]),
    ]
    weights = {
        "e": numbers(14, 3, 3, 3), "p": numbers(24, 14, 1, 1, seed=1), "s": numbers(24, seed=2),
        "w": numbers(24, 1, kernel, kernel, seed=3), "q": numbers(14, 24, 1, 1, seed=4),
        "r": numbers(20, 14, 1, 1, seed=5), "v": numbers(40, 1, kernel, kernel, seed=6),
        "t": numbers(9, 40, 1, 1, seed=7), "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    }  # fmt: skip
    weights["q"][:, 3:] *= np.random.default_rng(8).random((14, 21, 1, 1)) < 0.4
    return model(nodes, [f32("x", 1, 3, height, width)], [f32("y", 1, 9, 1, 1), f32("m", 1, 9, None, None)], weights)  # type: ignore[arg-type]


def check(proto: onnx.ModelProto, folder: Path) -> int:
    """Compiles, runs and compares with onnxruntime; returns the number of layers that take turns."""
    onnx.save(proto, folder / "m.onnx")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    shape = session.get_inputs()[0].shape
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x}), strict=True))
    bundle = es.compile(es.load(folder / "m.onnx"), device="host", out=folder / "m.edge", force=True)
    with es.open(bundle) as opened:
        for name, y in opened.run({"x": x}).items():
            assert float(np.abs(y - expected[name]).max()) < 2e-5 * float(np.abs(expected[name]).max()), name
    return sum(len(layer.calls) > 1 for layer in read_manifest(bundle).layers)


@pytest.fixture
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a few rows filled the cache, and memory were slow."""
    monkeypatch.setattr(Cluster, "cache_bytes", 1 << 16)
    monkeypatch.setattr(bands, "TIMES_MEMORY", 0.01)


@settings(max_examples=6, derandomize=True, deadline=None)
@given(height=st.integers(60, 90), width=st.integers(20, 44), stride=st.integers(1, 2), kernel=st.sampled_from([3, 5]))
def test_outputs_are_those_of_onnxruntime(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, stride: int, kernel: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "TIMES_MEMORY", 0.01)
        patch.setattr(Cluster, "cache_bytes", 24 * (height // stride) * (width // stride))  # a quarter of a layer
        check(network(height, width, stride, kernel), tmp_path_factory.mktemp("bands"))


def test_layers_take_turns_where_the_cache_is_small(tmp_path: Path, small_cache: None) -> None:
    assert check(network(64, 60, 1, 3), tmp_path) >= 4


def test_layers_do_not_take_turns_where_the_cache_holds_them(tmp_path: Path) -> None:
    assert check(network(20, 20, 1, 3), tmp_path) == 0


@pytest.mark.cpus(2)
def test_two_threads_give_the_same_bits(tmp_path: Path, small_cache: None) -> None:
    onnx.save(network(64, 60, 1, 3), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
    x = {"x": numbers(1, 3, 64, 60, seed=3)}
    with es.open(bundle) as one, es.open(bundle, threads=2) as two:
        for _ in range(20):
            first, second = one.run(x), two.run(x)
            assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_any_number_of_parts_in_any_order(tmp_path: Path, small_cache: None) -> None:
    onnx.save(network(64, 60, 1, 3), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device="host", out=tmp_path / "m.edge")
    with es.open(bundle, runtime="local") as session:
        assert isinstance(session, LocalSession)
        inputs = random_inputs(session.manifest)
        expected = session.run(inputs)
        (sample,) = check_inputs(session.manifest, inputs, each=False)
        parts = Parts(session, sample, most=9)
        for count in (1, 2, 3, 9):
            for order in (lambda n: list(range(n)), lambda n: list(range(n))[::-1]):
                parts.run(count, order)
                for (name, one), many in zip(expected.items(), parts.outputs, strict=True):
                    assert one.tobytes() == many.tobytes(), f"{name} in {count} parts"
