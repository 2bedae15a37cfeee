"""The same model on every engine: outputs, stacks, timings, and what can go wrong while it runs."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgesparse.runtimes as runtimes
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Port, read_manifest
from edgesparse.types import DTYPES

from .conftest import WEIGHTS, K, MakeBundle, W, X, packed, write_manifest
from .test_open import need

FLOATS, INTEGERS, SHORT = (
    Port(name="x", shape=(1, 5), dtype="f32", bytes=20), Port(name="n", shape=(3,), dtype="i64", bytes=24),
    Port(name="short", shape=(1,), dtype="f32", bytes=4),
)  # fmt: skip
ON = {
    "local": "shared", "qemu": "executable", "wasmtime": "wasm", "node": "wasm", "chromium": "wasm", "firefox": "wasm"
}  # fmt: skip


@pytest.fixture(params=sorted(ON))
def runtime(request: pytest.FixtureRequest, require: object) -> str:
    name: str = request.param
    if name == "local" and platform.machine() != "x86_64":
        pytest.skip("the toy library is built for x86_64")
    need(require, name)
    return name


def test_one_sample(runtime: str, built: Callable[..., Path]) -> None:
    with runtimes.open(built(ON[runtime]), runtime) as session:
        outputs = session.run({"x": X, "k": K})
        assert session.machine["runtime"] == runtime
    assert list(outputs) == ["y", "n"]
    assert outputs["y"].dtype == np.float32 and np.array_equal(outputs["y"], 2 * X + W)
    assert outputs["n"].dtype == np.int64 and np.array_equal(outputs["n"], K + 1)
    outputs["y"] += 1  # writable, and the caller's own


def test_a_stack(runtime: str, built: Callable[..., Path]) -> None:
    x = np.random.default_rng(7).standard_normal((9, 5)).astype(np.float32)
    k = np.arange(27).reshape(9, 3)
    with runtimes.open(built(ON[runtime]), runtime) as session:
        outputs = session.run({"x": x, "k": k}, each=True)
        again = session.run({"x": x, "k": k}, each=True)
    assert np.array_equal(outputs["y"], 2 * x + W) and np.array_equal(outputs["n"], k + 1)
    assert np.array_equal(again["y"], outputs["y"])


def test_bench(runtime: str, built: Callable[..., Path]) -> None:
    calls: list[tuple[int, int]] = []
    with runtimes.open(built(ON[runtime]), runtime) as session:
        result = session.bench({"x": X, "k": K}, num_runs=4, warmup_runs=2, on_progress=lambda *a: calls.append(a))
    assert len(result.wall_ns) == 4 and all(ns >= 0 for ns in result.wall_ns)
    assert max(result.wall_ns) > 0 or runtime in ("chromium", "firefox")  # whose clocks are coarser than this model
    assert calls[-1] == (4, 4)
    assert np.array_equal(result.outputs["y"], 2 * X + W)
    assert result.machine["isa"] == "toy"
    if runtime == "qemu" and platform.machine() != "aarch64":
        assert result.machine["timing"] == "emulated, not a device timing"


def test_auto_runs_every_kind(runtime: str, built: Callable[..., Path]) -> None:
    with runtimes.open(built(ON[runtime])) as session:
        assert np.array_equal(session.run({"x": X, "k": K})["n"], K + 1)


def test_weights_of_another_size_are_refused(runtime: str, toy: MakeBundle) -> None:
    kind, twice = ON[runtime], np.append(W, W)
    bundle = toy(kind)
    (bundle / WEIGHTS[kind]).write_bytes(packed(twice)[0] if kind == "wasm" else twice.tobytes())
    described = {"weights": packed(twice)[1]} if kind == "wasm" else {}
    write_manifest(bundle, kind, isas=("toy",), **described)  # with the right hash
    with pytest.raises(RuntimeFailure, match=r"40 bytes"), runtimes.open(bundle, runtime) as session:
        session.run({"x": X, "k": K})


@pytest.mark.parametrize(
    "change",
    [
        {"arena_bytes": 0}, {"inputs": (FLOATS, SHORT)}, {"inputs": (FLOATS,)}, {"outputs": (SHORT, INTEGERS)},
        {"outputs": (FLOATS, INTEGERS, SHORT)},
    ],
)  # fmt: skip
def test_a_manifest_of_another_model(runtime: str, toy: MakeBundle, change: dict[str, object]) -> None:
    """Its sizes would let the model read and write beyond the buffers."""
    bundle = toy(ON[runtime])
    write_manifest(bundle, ON[runtime], **change)
    inputs = {p.name: np.zeros(p.shape, DTYPES[p.dtype]) for p in read_manifest(bundle).inputs}
    if runtime == "qemu" and "arena_bytes" in change:
        return  # the program takes it from itself
    with pytest.raises(RuntimeFailure) as caught, runtimes.open(bundle, runtime) as session:
        session.run(inputs)
    words = r"compile the model again|has \d+ bytes, expected|no --(in|out)put for|too many"
    assert re.search(words, str(caught.value))


def test_a_model_that_fails_says_so(runtime: str, toy: MakeBundle) -> None:
    bundle = toy(ON[runtime], "-DTOY_FAILS")
    with runtimes.open(bundle, runtime) as session, pytest.raises(RuntimeFailure, match=r"failed|returned 1|model_run"):
        session.run({"x": X, "k": K})


@pytest.mark.parametrize(("name", "kind"), [("qemu", "executable"), ("node", "wasm")])
def test_a_program_that_hangs_is_stopped(toy: MakeBundle, require: object, name: str, kind: str) -> None:
    need(require, name)
    bundle = toy(kind, "-DTOY_HANGS")
    with runtimes.open(bundle, name, timeout_s=0.5) as session, pytest.raises(RuntimeFailure, match=r"within 0.5 s"):
        session.run({"x": X, "k": K})


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_must_be_a_time(built: Callable[..., Path], require: object, limit: float) -> None:
    need(require, "qemu")
    with pytest.raises(InputError, match=r"time limit"):
        runtimes.open(built("executable"), "qemu", timeout_s=limit)


def test_a_program_that_crashes_names_the_signal(toy: MakeBundle, require: object) -> None:
    need(require, "qemu")
    bundle = toy("executable", "-DTOY_CRASHES")
    with runtimes.open(bundle, "qemu") as session, pytest.raises(RuntimeFailure, match=r"SIG(SEGV|TRAP|ILL)"):
        session.run({"x": X, "k": K})


def test_the_program_runs_without_its_executable_bit(toy: MakeBundle, require: object) -> None:
    need(require, "qemu")
    bundle = toy("executable")
    (bundle / "model").chmod(stat.S_IRUSR | stat.S_IWUSR)
    with runtimes.open(bundle, "qemu") as session:
        assert np.array_equal(session.run({"x": X, "k": K})["n"], K + 1)
    session.close()


def test_wasm_traps_are_reported(toy: MakeBundle, require: object) -> None:
    for name in ("wasmtime", "node", "chromium", "firefox"):
        need(require, name)
        bundle = toy("wasm", "-DTOY_CRASHES")
        with runtimes.open(bundle, name) as session, pytest.raises(RuntimeFailure, match=r"model_run stopped"):
            session.run({"x": X, "k": K})


@pytest.mark.usefixtures("here_is_x86")
class TestLocal:
    def test_the_isa_can_be_forced_for_one_session_only(self, toy: MakeBundle) -> None:
        bundle = toy("shared")
        write_manifest(bundle, "shared", isas=("toy", "slow", "none"))
        with runtimes.open(bundle, "local", isa="slow") as slow, runtimes.open(bundle, "local") as usual:
            assert slow.machine["isa"] == "slow" and usual.machine["isa"] == "toy"
        with pytest.raises(RuntimeFailure, match=r"cannot run none") as caught:
            runtimes.open(bundle, "local", isa="none")
        assert caught.value.hint == "leave out isa, or use one of slow", "what this CPU has, not what was compiled"
        with pytest.raises(InputError, match=r"no code for 'avx9'"):
            runtimes.open(bundle, "local", isa="avx9")

    def test_a_bundle_of_another_machine(self, toy: MakeBundle) -> None:
        bundle = toy("executable")
        with pytest.raises(RuntimeFailure, match=r"aarch64-linux.*x86_64-linux") as caught:
            runtimes.open(bundle, "local")
        assert "--runtime qemu" in str(caught.value) and "--device host" in str(caught.value)

    def test_what_is_not_a_library(self, toy: MakeBundle) -> None:
        bundle = toy("shared")
        (bundle / "libmodel.so").write_text("not a library")
        write_manifest(bundle, "shared")
        with pytest.raises(RuntimeFailure, match=r"cannot be loaded"):
            runtimes.open(bundle, "local")

    def test_a_replaced_bundle_is_read_anew(self, toy: MakeBundle) -> None:
        bundle = toy("shared")
        before = runtimes.open(bundle, "local")
        for name in ("libmodel.so", "weights.bin"):
            (bundle / name).unlink()  # as a rename over it does; the old pages stay mapped
        np.zeros(5, np.float32).tofile(bundle / "weights.bin")
        (bundle / "libmodel.so").write_bytes((toy("shared", '-DTOY_ISA="new"') / "libmodel.so").read_bytes())
        write_manifest(bundle, "shared")
        with before, runtimes.open(bundle, "local") as after:
            assert (before.machine["isa"], after.machine["isa"]) == ("toy", "new")
            assert np.array_equal(before.run({"x": X, "k": K})["y"], 2 * X + W)
            assert np.array_equal(after.run({"x": X, "k": K})["y"], 2 * X)

    def test_a_closed_session_says_so(self, built: Callable[..., Path]) -> None:
        session = runtimes.open(built("shared"), "local")
        session.close()
        session.close()
        with pytest.raises(RuntimeFailure, match=r"closed"):
            session.run({"x": X, "k": K})

    def test_nothing_is_left_open(self, built: Callable[..., Path]) -> None:
        runtimes.open(built("shared"), "local").close()
        gc.collect()  # what earlier tests left to it would be counted here, and perhaps not below
        before = len(os.listdir("/proc/self/fd"))
        maps = Path("/proc/self/maps").read_text().count("libmodel")
        for _ in range(20):
            runtimes.open(built("shared"), "local").close()
        assert len(os.listdir("/proc/self/fd")) == before
        assert Path("/proc/self/maps").read_text().count("libmodel") == maps == 0

    def test_bench_restores_the_affinity(self, built: Callable[..., Path]) -> None:
        before = os.sched_getaffinity(0)
        seen: list[set[int]] = []
        cpu = min(before)
        with runtimes.open(built("shared"), "local", cpu=cpu) as session:
            session.bench({"x": X, "k": K}, 1, 0, lambda *_: seen.append(os.sched_getaffinity(0)))
        assert seen == [{cpu}] and os.sched_getaffinity(0) == before
        with pytest.raises(InputError, match=r"CPU 100000"):
            runtimes.open(built("shared"), "local", cpu=100000)

    def test_threads_take_turns(self, built: Callable[..., Path]) -> None:
        x = np.random.default_rng(1).standard_normal((200, 5)).astype(np.float32)
        k = np.zeros((200, 3), np.int64)
        wrong: list[int] = []

        def work() -> None:
            wrong.append(int((session.run({"x": x, "k": k}, each=True)["y"] != 2 * x + W).sum()))

        with runtimes.open(built("shared"), "local") as session:
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wrong == [0] * 4

    def test_the_library_exports_its_interface_only(self, built: Callable[..., Path]) -> None:
        library = ctypes.CDLL(str(built("shared") / "libmodel.so"))
        assert library.model_run
        out = (built("shared") / "libmodel.so").read_bytes()
        assert b"libc.so" not in out and b"memcpy\0" not in out
