"""The pool of libmodel.so and of the program: same results on any number of threads, and none left behind."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesparse import runtimes
from edgesparse.build import LIBRARY_LINK_FLAGS, PROGRAM_LINK_FLAGS
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes import c
from edgesparse.runtimes.session import thread_count

from .conftest import HERE, TARGETS, X86, K, W, X, compile_c

CPUS = len(os.sched_getaffinity(0))
X86_ONLY = pytest.mark.skipif(platform.machine() != "x86_64", reason="the toy library is built for x86_64")
TOO_FEW_CPUS, BUSY = -3, -5  # of model_info.h


def tasks() -> set[str]:
    return set(os.listdir("/proc/self/task"))


def settled(before: set[str]) -> set[str]:
    """The threads that are new; what has ended may be listed for a moment."""
    for _ in range(100):
        if not (left := tasks() - before):
            return left
        time.sleep(0.01)
    return tasks() - before


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The toy model with a pool that believes in 64 CPUs."""
    if platform.machine() != "x86_64":
        pytest.skip("built for x86_64")
    out = tmp_path_factory.mktemp("many") / "many.so"
    sources = [HERE / "toy_model.c", HERE / "many_threads.c", c.FOLDER / "memory.c"]
    compile_c(X86, sources, out, (*LIBRARY_LINK_FLAGS, "-fPIC"))
    loaded = ctypes.CDLL(str(out))
    loaded.evenly.restype = loaded.by_weights.restype = ctypes.c_int64
    loaded.model_run.argtypes = [ctypes.c_void_p] * 4
    return loaded


class Toy:
    """Buffers of the toy model for ``threads`` threads."""

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        self._run = library.model_run
        room = np.zeros(64 * (threads + 3), np.uint8)
        at = -room.ctypes.data % 64
        self._weights = room[at : at + W.nbytes].view(np.float32)
        self._weights[:] = W
        self.arena = room[at + 64 : at + 64 * (threads + 1)]
        self.x, self.k, self.y, self.n = X.copy(), K.copy(), np.empty(5, np.float32), np.empty(3, np.int64)
        self._ins = (ctypes.c_void_p * 2)(self.x.ctypes.data, self.k.ctypes.data)
        self._outs = (ctypes.c_void_p * 2)(self.y.ctypes.data, self.n.ctypes.data)

    def run(self) -> int:
        return int(self._run(self._weights.ctypes.data, self.arena.ctypes.data, self._ins, self._outs))

    def right(self) -> bool:
        return np.array_equal(self.y, 2 * self.x[0] + W) and np.array_equal(self.n, self.k + 1)


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 5, 8, 17])
def test_results_do_not_depend_on_the_number_of_threads(library: ctypes.CDLL, threads: int) -> None:
    """More threads than CPUs, too, so that they have to wait for each other asleep."""
    before = tasks()
    toy, numbers = Toy(library, threads), np.random.default_rng(threads)
    assert library.model_threads(threads) == 0
    assert len(tasks() - before) == threads - 1
    for _ in range(300 if threads <= CPUS else 40):
        toy.x[:] = numbers.standard_normal(toy.x.shape)
        toy.y[:], toy.n[:] = np.nan, 0
        assert toy.run() == 0 and toy.right()
    # each wrote into work memory of its own
    marks = toy.arena.view(np.int32)[::16][1:threads]
    assert marks.tolist() == list(range(1, threads))
    assert library.model_threads(1) == 0
    assert not settled(before)
    assert toy.run() == 0 and toy.right()


def test_workers_sleep_between_runs(library: ctypes.CDLL) -> None:
    toy = Toy(library, 3)
    library.model_threads(3)
    toy.run()
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
    assert toy.run() == 0 and toy.right()
    library.model_threads(1)


def test_numbers_of_threads_that_cannot_be(library: ctypes.CDLL) -> None:
    for wrong in (0, -1, 257, 1 << 30):
        assert library.model_threads(wrong) == -2
    assert library.model_threads(65) == TOO_FEW_CPUS
    assert library.model_thread_id(0) == library.model_thread_id(1) == -1


def test_thread_numbers_are_those_of_linux(library: ctypes.CDLL) -> None:
    before = tasks()
    library.model_threads(4)
    numbers = [library.model_thread_id(i) for i in range(1, 4)]
    assert {str(n) for n in numbers} == tasks() - before
    assert library.model_thread_id(4) == -1
    library.model_threads(1)


def test_from_any_number_to_any_other(library: ctypes.CDLL) -> None:
    before, order = tasks(), random.Random(5)
    for _ in range(40):
        threads = order.randint(1, 9)
        toy = Toy(library, threads)
        assert library.model_threads(threads) == 0
        assert toy.run() == 0 and toy.right()
    library.model_threads(1)
    assert not settled(before)


def test_the_pool_refuses_a_second_run_at_the_same_time(library: ctypes.CDLL) -> None:
    """Every run is right or refused, whatever the other thread does."""
    library.model_threads(2)
    results: list[tuple[int, bool]] = []

    def work() -> None:
        toy = Toy(library, 2)
        for _ in range(300):
            toy.y[:] = np.nan
            code = toy.run()
            results.append((code, code == BUSY or toy.right()))

    callers = [threading.Thread(target=work) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    library.model_threads(1)
    assert {code for code, _ in results} <= {0, BUSY} and all(right for _, right in results)


blocks = st.lists(st.integers(0, 300), min_size=1, max_size=80)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(kept=blocks, parts=st.integers(1, 20))
def test_parts_cover_every_block_once_and_are_balanced(library: ctypes.CDLL, kept: list[int], parts: int) -> None:
    start = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)
    cost = np.array(kept) + library.block_cost()
    reached, begin = 0, ctypes.c_int64()
    for part in range(parts):
        end = library.by_weights(
            ctypes.c_void_p(start.ctypes.data), ctypes.c_int64(len(kept)), part, parts, ctypes.byref(begin)
        )
        assert begin.value == reached <= end
        assert abs(cost[reached:end].sum() - cost.sum() / parts) <= cost.max()
        reached = end
    assert reached == len(kept)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(count=st.integers(0, 1 << 40), parts=st.integers(1, 256))
def test_even_parts(library: ctypes.CDLL, count: int, parts: int) -> None:
    reached, begin = 0, ctypes.c_int64()
    for part in range(parts):
        end = library.evenly(ctypes.c_int64(count), part, parts, ctypes.byref(begin))
        assert begin.value == reached and count // parts <= end - reached <= -(-count // parts)
        reached = end
    assert reached == count


@X86_ONLY
@pytest.mark.cpus(2)
class TestLocal:
    def test_two_threads(self, built: Callable[..., Path]) -> None:
        with runtimes.open(built("shared"), "local", threads=2) as session:
            assert session.machine["threads"] == "2"
            np.testing.assert_array_equal(session.run({"x": X, "k": K})["y"], 2 * X + W)
            result = session.bench({"x": X, "k": K}, num_runs=5, warmup_runs=1)
            assert len(result.wall_ns) == 5 and result.machine["pinned_cpu"].count(",") == 1

    def test_one_thread_starts_none(self, built: Callable[..., Path]) -> None:
        before = tasks()
        with runtimes.open(built("shared"), "local") as session:
            session.run({"x": X, "k": K})
            assert tasks() == before
            assert session.machine["threads"] == "1"

    def test_a_hundred_sessions_leave_no_thread(self, built: Callable[..., Path]) -> None:
        bundle, before = built("shared"), tasks()
        for _ in range(100):
            with runtimes.open(bundle, "local", threads=2) as session:
                session.run({"x": X, "k": K})
                assert len(tasks() - before) == 1
        gc.collect()
        assert not settled(before)

    def test_zero_is_one_for_each_cpu(self, built: Callable[..., Path]) -> None:
        with runtimes.open(built("shared"), "local", threads=0) as session:
            assert session.machine["threads"] == str(CPUS)

    def test_timed_runs_are_pinned_and_let_go(self, built: Callable[..., Path]) -> None:
        before, known = os.sched_getaffinity(0), tasks()
        with runtimes.open(built("shared"), "local", threads=2) as session:
            session.bench({"x": X, "k": K}, num_runs=2, warmup_runs=0)
            (worker,) = tasks() - known
            assert os.sched_getaffinity(0) == os.sched_getaffinity(int(worker)) == before

    def test_a_forked_process_has_no_threads(self, built: Callable[..., Path]) -> None:
        with runtimes.open(built("shared"), "local", threads=2) as session:
            session.run({"x": X, "k": K})
            child = os.fork()
            if child == 0:
                try:
                    session.run({"x": X, "k": K})
                except RuntimeFailure as error:
                    session.close()
                    os._exit(0 if "forked" in str(error) else 1)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            np.testing.assert_array_equal(session.run({"x": X, "k": K})["y"], 2 * X + W)


@X86_ONLY
def test_more_threads_than_cpus_are_refused(built: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=rf"{CPUS + 1} threads, but this process may use {CPUS} CPU"):
        runtimes.open(built("shared"), "local", threads=CPUS + 1)


@pytest.mark.parametrize("threads", [-1, 257])
def test_what_is_no_number_of_threads(threads: int) -> None:
    with pytest.raises(InputError, match="not a number of threads"):
        thread_count(threads, 1000)


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The toy program with everything it needs but ``--threads``."""
    folder = tmp_path_factory.mktemp(request.param)
    triple = {"x86_64": X86, "aarch64": TARGETS["executable"][0]}[request.param]
    sources = [HERE / "toy_model.c", *c.LIBRARY_SOURCES, *c.PROGRAM_SOURCES]
    compile_c(triple, sources, folder / "model", PROGRAM_LINK_FLAGS)
    for name, array in (("w", W), ("x", X), ("k", K)):
        array.tofile(folder / f"{name}.bin")
    files = ["--weights", f"{folder}/w.bin", "--input", f"{folder}/x.bin", "--input", f"{folder}/k.bin"]
    emulator: list[str] = []
    if platform.machine() != request.param:
        if request.param == "x86_64":
            pytest.skip("the native program is for x86_64")
        request.getfixturevalue("require")("qemu-aarch64")
        emulator = [os.environ.get("QEMU", "qemu-aarch64-static")]
    return [*emulator, f"{folder}/model", *files]


class TestWebAssembly:
    @pytest.mark.cpus(2)
    def test_node(self, built: Callable[..., Path], require: Callable[[str], None]) -> None:
        require("node")
        with runtimes.open(built("wasm"), "node", threads=2) as session:
            assert session.machine["threads"] == "2"
            y = session.run({"x": np.stack([X, X + 1]), "k": np.stack([K, K])}, each=True)["y"]
            np.testing.assert_array_equal(y, np.concatenate([2 * X + W, 2 * (X + 1) + W]))
            assert len(session.bench({"x": X, "k": K}, num_runs=300, warmup_runs=0).wall_ns) == 300

    def test_more_threads_than_cpus(self, built: Callable[..., Path]) -> None:
        with pytest.raises(InputError, match="threads, but this process may use"):
            runtimes.open(built("wasm"), "node", threads=CPUS + 1)

    def test_wasmtime_has_one(self, built: Callable[..., Path]) -> None:
        with pytest.raises(InputError, match=r"cannot share a memory between threads(.|\n)*runtime node"):
            runtimes.open(built("wasm"), "wasmtime", threads=2)


class TestProgram:
    @pytest.mark.cpus(2)
    def test_two_threads(self, command: list[str], tmp_path: Path) -> None:
        outputs = ["--output", f"{tmp_path}/y", "--output", f"{tmp_path}/n"]
        done = subprocess.run(
            [*command, *outputs, "--threads", "2", "--num-runs", "20", "--json"], capture_output=True, check=True
        )
        assert b'"threads": 2' in done.stdout
        np.testing.assert_array_equal(np.fromfile(tmp_path / "y", np.float32), 2 * X[0] + W)
        np.testing.assert_array_equal(np.fromfile(tmp_path / "n", np.int64), K + 1)

    @pytest.mark.cpus(2)
    def test_a_cpu_for_each(self, command: list[str]) -> None:
        cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
        done = subprocess.run([*command, "--threads", "0", "--cpu", cpus, "--json"], capture_output=True, check=True)
        assert b'"threads": 2' in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--threads", "200"), "--threads 200: this process may use"),
            (("--threads", "257"), "not a number in range: --threads 257"),
            (("--threads", "x"), "not a number in range: --threads x"),
            (("--cpu", "0,0"), "listed twice"),
            (("--cpu", "0,"), "not a number in range: --cpu (empty)"),
            (("--cpu", "0,1"), "one number for each"),
            (("--cpu", "123456789"), "not a number in range"),
        ],
    )
    def test_refusals(self, command: list[str], arguments: tuple[str, ...], words: str) -> None:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
