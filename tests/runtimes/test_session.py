"""Checking of inputs and stacking of outputs, without any engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgesparse.runtimes as runtimes
from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, Port, read_manifest
from edgesparse.runtimes.arrays import check_inputs, stack_outputs
from edgesparse.runtimes.null import NullSession
from edgesparse.runtimes.program import without

from .conftest import K, X, write_manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    write_manifest(tmp_path, "shared")
    return read_manifest(tmp_path)


def test_one_sample_in_order(manifest: Manifest) -> None:
    ((x, k),) = check_inputs(manifest, {"k": K, "x": X}, each=False)
    assert np.array_equal(x, X) and np.array_equal(k, K)


@pytest.mark.parametrize("x", [np.arange(15.0, dtype=np.float32).reshape(3, 5)[:, None], np.ones((3, 5), np.float32)])
def test_each_takes_a_stack_with_or_without_the_batch(manifest: Manifest, x: np.ndarray) -> None:
    samples = check_inputs(manifest, {"x": x, "k": np.stack([K, K, K])}, each=True)
    assert len(samples) == 3
    for i, sample in enumerate(samples):
        assert sample[0].shape == (1, 5) and sample[0].flags.c_contiguous
        assert np.array_equal(sample[0].ravel(), x[i].ravel())
        assert sample[1].shape == (3,)


def test_outputs_with_batch_one_are_joined_and_others_stacked(manifest: Manifest) -> None:
    results = [(X + i, K + i) for i in range(4)]
    stacked = stack_outputs(manifest, results, each=True)
    assert stacked["y"].shape == (4, 5) and stacked["n"].shape == (4, 3)
    assert np.array_equal(stacked["y"][2], X[0] + 2) and np.array_equal(stacked["n"][3], K + 3)
    assert stack_outputs(manifest, results[:1], each=False)["n"].shape == (3,)


def test_non_contiguous_arrays_are_accepted(manifest: Manifest) -> None:
    wide = np.arange(10, dtype=np.float32).reshape(1, 10)
    ((x, _),) = check_inputs(manifest, {"x": wide[:, ::2], "k": K[::-1]}, each=False)
    assert x.flags.c_contiguous and x.tolist() == [[0, 2, 4, 6, 8]]


def test_lists_take_the_dtype_of_the_port(manifest: Manifest) -> None:
    ((x, k),) = check_inputs(manifest, {"x": [[1, 2, 3, 4, 5.5]], "k": [1, 2, 3]}, each=False)
    assert x.dtype == np.float32 and k.dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": None}, ["input 'x'", "missing", "float32 [1, 5]"]),
        ({"z": X}, ["input 'z'", "no such input", "'x', 'k'"]),
        ({"x": X[0]}, ["input 'x'", "expected float32 [1, 5], got float32 [5]"]),
        ({"x": X.astype("f8")}, ["input 'x'", "got float64 [1, 5]", "x.astype('float32')"]),
        ({"x": X.astype(">f4")}, ["input 'x'", "got >f4", "x.astype('float32')"]),
        ({"k": K.astype("i4")}, ["input 'k'", "expected int64 [3], got int32 [3]", "astype('int64')"]),
        ({"k": [1.0, 2.0, 3.0]}, ["input 'k'", "expected int64 [3], got float64 [3]"]),
        ({"x": [[1, 2], [3]]}, ["input 'x'", "rectangular"]),
        ({"x": [["a"] * 5]}, ["input 'x'", "expected float32 [1, 5], got <U1"]),
        ({"x": np.ones((7, 5), np.float32)}, ["input 'x'", "got float32 [7, 5]", "each=True"]),
        ({"x": X[0]}, ["the batch axis is missing: 'x': x[None]"]),
    ],
)
def test_a_wrong_input_is_named(manifest: Manifest, changes: dict[str, object], words: list[str]) -> None:
    inputs = {k: v for k, v in ({"x": X, "k": K} | changes).items() if v is not None}
    with pytest.raises(ValueError) as caught:
        check_inputs(manifest, inputs, each=False)
    assert isinstance(caught.value, InputError)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("x", "k", "words"),
    [
        (X, K, ["input 'k'", "expected a stack int64 [n, 3], got int64 [3]"]),
        (np.ones((2, 5), np.float32), np.stack([K] * 3), ["input 'k'", "3 samples, but 'x' has 2"]),
        (np.ones((0, 5), np.float32), np.stack([K]), ["input 'x'", "no sample"]),
        (np.ones((2, 6), np.float32), np.stack([K]), ["input 'x'", "[n, 5]", "got float32 [2, 6]"]),
    ],
)
def test_a_wrong_stack_is_named(manifest: Manifest, x: np.ndarray, k: np.ndarray, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_inputs(manifest, {"x": x, "k": k}, each=True)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("inputs", [[X, K], X, None, "x.npz"])
def test_inputs_without_names(manifest: Manifest, inputs: Any) -> None:
    with pytest.raises(InputError, match=r"given by name, not as") as caught:
        check_inputs(manifest, inputs, each=False)
    assert caught.value.hint == "run({'x': ..., 'k': ...})"


def test_each_needs_an_input(tmp_path: Path) -> None:
    write_manifest(tmp_path, "shared", inputs=())
    with pytest.raises(InputError, match="no input to iterate over"):
        check_inputs(read_manifest(tmp_path), {}, each=True)
    assert check_inputs(read_manifest(tmp_path), {}, each=False) == [()]


def test_scalar_ports(tmp_path: Path) -> None:
    write_manifest(tmp_path, "shared", inputs=(Port(name="s", shape=(), dtype="f32", bytes=4),))
    manifest = read_manifest(tmp_path)
    assert check_inputs(manifest, {"s": 2}, each=False)[0][0].shape == ()
    stack = check_inputs(manifest, {"s": [1.0, 2.0]}, each=True)
    # arrays with an address, and not NumPy's numbers, which have none
    assert [type(s) for (s,) in stack] == [np.ndarray] * 2 and [s.ctypes.data > 0 for (s,) in stack] == [True] * 2


def test_null_records_calls(tmp_path: Path) -> None:
    write_manifest(tmp_path, "wasm")
    with runtimes.open(tmp_path, "null") as session:
        assert isinstance(session, NullSession)
        y = session.run({"x": np.ones((6, 5), np.float32), "k": np.stack([K] * 6)}, each=True)
        progress: list[tuple[int, int]] = []
        result = session.bench({"x": X, "k": K}, num_runs=3, warmup_runs=1, on_progress=lambda *a: progress.append(a))
    assert y["y"].shape == (6, 5) and y["n"].dtype == np.int64
    assert len(result.wall_ns) == 3 and progress == [(3, 3)]
    assert session.calls == [("run", 6), ("bench", 3, 1), ("close",)]


@pytest.mark.parametrize(("runs", "warmup"), [(0, 0), (-1, 0), (1, -1)])
def test_impossible_numbers_of_runs(tmp_path: Path, runs: int, warmup: int) -> None:
    write_manifest(tmp_path, "wasm")
    with runtimes.open(tmp_path, "null") as session, pytest.raises(InputError):
        session.bench({"x": X, "k": K}, num_runs=runs, warmup_runs=warmup)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=40), st.floats(0, 2_000))
def test_what_calling_takes_is_subtracted(call_ns: list[int], empty_ns: float) -> None:
    found = without(call_ns, empty_ns)
    assert len(found) == len(call_ns) and min(found) >= 0
    assert all(ns <= max(before - empty_ns, 0) + 1 for ns, before in zip(found, call_ns, strict=True))
    owed = 0.0  # at the end at most, where calls were shorter than that
    for ns in call_ns:
        owed = max(owed + empty_ns - ns, 0.0)
    assert sum(found) == pytest.approx(sum(call_ns) - len(call_ns) * empty_ns + owed, abs=len(call_ns))
