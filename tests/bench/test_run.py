"""Children, and the whole benchmark on a small network. How long anything takes is not looked at."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench import networks, peers
from bench.child import Child
from bench.command import parse_cpu
from bench.engine import Network, aligned
from bench.environments import Unavailable, python_for
from bench.process import ChildFailure
from bench.results import read
from bench.rounds import largest_error
from tests.conftest import require

CORE = parse_cpu(None)


def test_ds_cnn_against_onnxruntime(tmp_path: Path) -> None:
    require("torch")
    out = tmp_path / "out.json"
    options = ["--models", "ds_cnn", "--sparsity", "0,0.8", "--patterns", "block:4x1", "--runs", "3", "--per-turn", "2"]
    assert networks.main([*options, "--json", str(out)]) == 0
    results = read(out)
    assert [(r.engine, r.pattern, r.status, r.reason) for r in results] == [
        (engine, pattern, "timed", "") for pattern in ("dense", "block:4x1") for engine in ("edgesparse", "onnxruntime")
    ]
    for r in results:
        assert r.cpu is not None and r.wall is not None and r.cpu.count == r.wall.count == 3
        assert 0 < r.cpu.min_ms <= r.cpu.median_ms <= r.cpu.max_ms
        assert r.max_rel_error is not None and r.max_rel_error < 1e-4
        assert r.machine["core"] == str(CORE) and str(tmp_path) not in r.command
    assert results[0].zeros < 0.01 and 0.4 < results[2].zeros < 0.8
    assert "| edgesparse | block:4x1 |" in out.with_suffix(".md").read_text()
    assert (tmp_path / "out-ds_cnn.svg").exists()

    assert networks.main([*options, "--json", str(out)]) == 2  # it exists
    before = out.read_text()
    assert networks.main([*options, "--json", str(out), "--resume"]) == 0
    assert out.read_text() == before


@pytest.mark.cpus(2)
def test_one_thread_and_two(tmp_path: Path) -> None:
    require("torch")
    out = tmp_path / "out.json"
    options = ["--models", "ds_cnn", "--sparsity", "0.8", "--patterns", "block:4x1", "--runs", "2", "--per-turn", "2"]
    assert networks.main([*options, "--threads", "1,2", "--json", str(out)]) == 0
    results = read(out)
    assert [(r.engine, r.threads, r.status) for r in results] == [
        (engine, threads, "timed") for threads in (1, 2) for engine in ("edgesparse", "onnxruntime")
    ]
    for r in results:
        assert r.clock == (r.cpu if r.threads == 1 else r.wall) and r.machine["core"].count(",") == r.threads - 1
    text = out.with_suffix(".md").read_text()
    assert "CPU time, ms per inference" in text and "2 threads, a core for each" in text
    assert (tmp_path / "out-ds_cnn-2threads.svg").exists()


@pytest.mark.parametrize("name", [peers.OURS, *peers.known()])
def test_a_peer_can_be_read_without_its_engine(name: str) -> None:
    peer = peers.load(name)
    assert callable(peer.prepare) and all(isinstance(r, str) for r in peer.REQUIREMENTS)
    # a version that moves would compare different engines under one name
    assert not peer.REQUIREMENTS or "==" in peer.REQUIREMENTS[0]


def test_a_child_reports_what_the_engine_raises(tmp_path: Path) -> None:
    missing = Network(tmp_path / "missing.onnx", {"x": (1,)}, {"y": (1,)}, tmp_path, 1)
    with Child("onnxruntime", Path(sys.executable), [CORE]) as child:
        with pytest.raises(ChildFailure, match=r"missing\.onnx"):
            child.prepare(missing)
        with pytest.raises(ChildFailure, match="'time' before 'prepare'"):
            child.time(1, 0)


def test_a_child_that_ends_says_why() -> None:
    with (
        Child("no_such_peer", Path(sys.executable), [99999]) as child,
        pytest.raises(ChildFailure, match="ended with exit code 1: OSError"),
    ):
        child.time(1, 0)


def test_an_environment_that_no_python_here_fits() -> None:
    peer = ModuleType("peer")
    peer.__dict__.update(REQUIREMENTS=("engine==1",), PYTHONS=(2,))
    with pytest.raises(Unavailable, match=r"needs Python 3\.2"):
        python_for("engine", peer)


def test_outputs_of_other_shapes_are_infinitely_far_off() -> None:
    x = np.ones((1, 4), np.float32)
    assert largest_error([x, 2 * x], [x, 1.5 * x]) == 0.25
    assert largest_error([x], [x[0]]) == largest_error([x], [x, x]) == np.inf


def test_aligned() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3).T
    y = aligned(x)
    assert y.ctypes.data % 64 == 0 and y.flags["C_CONTIGUOUS"] and np.array_equal(x, y)
