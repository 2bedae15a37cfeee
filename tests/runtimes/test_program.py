"""The program inside a bundle (main.c), natively on x86-64 and as arm64 under qemu: options and failures."""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesparse.build import PROGRAM_LINK_FLAGS
from edgesparse.runtimes import c

from .conftest import HERE, TARGETS, X86, K, W, X, compile_c

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts the toy program for the architecture of the test."""
    arch: str = request.param
    out = tmp_path_factory.mktemp(arch) / "model"
    sources = [HERE / "toy_model.c", *c.LIBRARY_SOURCES, *c.PROGRAM_SOURCES]
    compile_c({"x86_64": X86, "aarch64": TARGETS["executable"][0]}[arch], sources, out, PROGRAM_LINK_FLAGS)
    if platform.machine() == arch:
        return [str(out)]
    if arch == "x86_64":
        pytest.skip("the native program is for x86_64")
    request.getfixturevalue("require")("qemu-aarch64")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    return [str(emulator), str(out)]


pytestmark = pytest.mark.parametrize("program", ["x86_64", "aarch64"], indirect=True, scope="module")


@pytest.fixture
def run(program: list[str], tmp_path: Path) -> Run:
    W.tofile(tmp_path / "w.bin")
    X.tofile(tmp_path / "x.bin")
    K.tofile(tmp_path / "k.bin")

    def call(*arguments: str, folder: Path = tmp_path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*program, *arguments], cwd=folder, capture_output=True, timeout=60, check=False)

    return call


GOOD = ("--weights", "w.bin", "--input", "x.bin", "--input", "k.bin")


def test_outputs_of_one_sample(run: Run, tmp_path: Path) -> None:
    done = run(*GOOD, "--output", "y.bin", "--output", "n.bin", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    expected = {"model": "toy", "isa": "toy", "threads": 1, "cpus": [], "samples": 1, "wall_ns": []}
    assert json.loads(done.stdout) == expected
    assert np.array_equal(np.fromfile(tmp_path / "y.bin", np.float32), (2 * X + W).ravel())
    assert np.array_equal(np.fromfile(tmp_path / "n.bin", np.int64), K + 1)
    assert not list(tmp_path.glob("*.tmp"))


def test_samples_one_after_the_other(run: Run, tmp_path: Path) -> None:
    x, k = np.arange(35, dtype=np.float32).reshape(7, 5), np.arange(21).reshape(7, 3)
    x.tofile(tmp_path / "x.bin")
    k.tofile(tmp_path / "k.bin")
    done = run(*GOOD, "--output", "y.bin", "--output", "n.bin", "--samples", "7", "--json")
    assert json.loads(done.stdout)["samples"] == 7
    assert np.array_equal(np.fromfile(tmp_path / "y.bin", np.float32).reshape(7, 5), 2 * x + W)
    assert np.array_equal(np.fromfile(tmp_path / "n.bin", np.int64).reshape(7, 3), k + 1)


def test_timed_runs(run: Run) -> None:
    # More than fit into the buffer for text.
    done = run(*GOOD, "--num-runs", "3000", "--warmup-runs", "2", "--cpu", str(_a_cpu()), "--json")
    wall_ns = json.loads(done.stdout)["wall_ns"]
    assert len(wall_ns) == 3000 and all(isinstance(ns, int) and ns > 0 for ns in wall_ns)
    assert run(*GOOD, "--num-runs", "2").stdout.startswith(b"1 samples, toy; nanoseconds: ")


def test_every_call_is_timed(run: Run) -> None:
    found = json.loads(run(*GOOD, "--num-runs", "20", "--per-layer", "--json").stdout)
    assert len(found["wall_ns"]) == len(found["call_ns"]) == 20
    assert all(len(calls) == 1 and calls[0] > 0 for calls in found["call_ns"])
    assert found["page_bytes"] in (4096, 16384, 65536) and found["hwcap"] >= 0
    for counted in ("cycles", "instructions", "cache_misses"):
        assert len(found.get(counted, [0] * 20)) == 20
    assert "cycles" in found or found["counters_error"] > 0
    first, last = found["observations"][0], found["observations"][-1]
    assert (first["run"], last["run"]) == (0, 20) and first["at_ns"] == 0 < last["at_ns"]
    assert len(first["khz"]) == len(first["limit_khz"]) == len(found["watched_cpus"]) == len(found["most_khz"])
    assert len(first["millidegrees"]) == len(found["zones"]) and found["missed_observations"] == 0


def test_zeros_are_counted_after_a_call(run: Run, tmp_path: Path) -> None:
    """The toy's only call leaves 2 x in the arena."""
    np.array([0, 1, -0.0, -np.inf, 1e-40], np.float32).tofile(tmp_path / "x.bin")
    # all; all but the last, as two planes and as floats one of which is left out; and as pairs of halves
    places = "0:0:1:5:5:4,0:0:2:2:2:4,0:0:2:1:2:4,0:0:1:8:8:2"
    done = run(*GOOD, "--zeros", places, "--num-runs", "1", "--json")
    halves = np.array([0, 2, -0.0, -np.inf], np.float32).view(np.float16)
    assert json.loads(done.stdout)["zeros"] == [2, 2, 2, int(np.sum(halves == 0))], done.stderr
    assert "zeros" not in json.loads(run(*GOOD, "--num-runs", "1", "--json").stdout)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ("", None), ("0", "six numbers"), ("0:0:1:5:5", "six numbers"), ("0:0:1:5:5:4:", "six numbers"),
        ("0:0:1:5:5:x", "not a number"), ("1:0:1:5:5:4", "not in the order of the calls"),
        ("0:64:1:1:1:4", "beyond the arena"), ("0:0:1:17:17:4", "beyond the arena"),
        ("0:2:1:1:1:4", "beyond the arena"),
        ("0:0:1:4:2:4", "beyond the arena"), ("0:0:1:1:1:8", "beyond the arena"),
        ("0:0:4294967295:1:4294967295:4", "beyond the arena"), (",".join(["0:0:1:1:1:4"] * 4097), "too many places"),
    ],
    ids=lambda x: str(x)[:30],
)  # fmt: skip
def test_places_that_cannot_be(run: Run, places: str, said: str | None) -> None:
    done = run(*GOOD, "--zeros", places, "--json")
    assert done.returncode == (0 if said is None else 2) and (said or "").encode() in done.stderr


def test_timing_stops_after_a_while(run: Run) -> None:
    found = json.loads(run(*GOOD, "--num-runs", "10000000", "--max-secs", "1", "--json").stdout)
    assert 1 <= len(found["wall_ns"]) < 10_000_000


@pytest.mark.parametrize("mask", ["all", "{:x}", "0x{:X}"])
def test_cores_by_mask(run: Run, mask: str) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    found = run(*GOOD, "--num-runs", "2", "--cores", mask.format(1 << allowed[0]), "--json")
    assert found.returncode == 0, found.stderr
    watched = json.loads(found.stdout)["watched_cpus"]
    assert watched == (allowed if mask == "all" else allowed[:1])


def test_clocks_and_temperatures(program: list[str], tmp_path: Path, run: Run) -> None:
    """qemu looks for files in a folder first: there, a phone's /sys."""
    if len(program) == 1:
        pytest.skip("natively there is nothing to stand in for /sys")
    cpu = min(os.sched_getaffinity(0))
    files = {
        f"devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq": "2400000",
        f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq": "1800000",
        f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_max_freq": "2000000",
        "class/thermal/thermal_zone0/type": 'cpu "big"',
        "class/thermal/thermal_zone0/temp": "41500",
        "class/thermal/thermal_zone1/type": "outside",
        "class/thermal/thermal_zone1/temp": "-3000",
        "class/power_supply/battery/current_now": "-350000",
        "class/power_supply/battery/status": "Not charging",
        "class/power_supply/battery/voltage_now": "4100000",
    }
    for name, text in files.items():
        path = tmp_path / "root/sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    emulated = [program[0], "-L", str(tmp_path / "root"), program[1], *GOOD, "--num-runs", "1", "--cpu", str(cpu)]
    done = subprocess.run([*emulated, "--json"], cwd=tmp_path, capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert (found["watched_cpus"], found["most_khz"]) == ([cpu], [2400000])
    assert found["zones"] == ['cpu "big"', "outside"] and found["battery"] == "Not charging"
    for one in found["observations"]:
        assert (one["khz"], one["limit_khz"], one["millidegrees"]) == ([1800000], [2000000], [41500, -3000])
        assert (one["microamperes"], one["microvolts"]) == (-350000, 4100000)


def test_timed_runs_are_on_the_biggest_core(program: list[str], run: Run, tmp_path: Path) -> None:
    """qemu looks for files in a folder first: there, one core of those that this process may use is bigger."""
    if len(program) == 1:
        pytest.skip("natively there is nothing to stand in for /sys")
    allowed = sorted(os.sched_getaffinity(0))
    for big in {allowed[0], allowed[-1]}:
        for cpu in allowed:
            folder = tmp_path / f"root{big}/sys/devices/system/cpu/cpu{cpu}"
            folder.mkdir(parents=True)
            (folder / "cpu_capacity").write_text("1024\n" if cpu == big else "250\n")
        emulated = [program[0], "-L", str(tmp_path / f"root{big}"), program[1], *GOOD, "--json"]
        timed = subprocess.run([*emulated, "--num-runs", "2"], cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(timed.stdout)["cpus"] == ([big] if len(allowed) > 1 else [])
        chosen = subprocess.run(
            [*emulated, "--num-runs", "2", "--cpu", str(allowed[0])], cwd=tmp_path, capture_output=True, check=True
        )
        assert json.loads(chosen.stdout)["cpus"] == [allowed[0]]
        untimed = subprocess.run(emulated, cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(untimed.stdout)["cpus"] == []


def test_help_names_the_ports(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in (b"Runs toy.", b"x (20 bytes)", b"n (24 bytes)", b"--warmup-runs"):
        assert word in done.stdout
    assert run("--version").stdout == b"toy toy\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bogus",), "unknown option --bogus"),
        (("x.bin",), "unknown option x.bin"),
        (("",), "unknown option"),
        ((*GOOD, "--json", "--jso"), "unknown option --jso"),
        ((), "--weights is missing"),
        (("--weights",), "--weights needs a value"),
        (("--weights", "w.bin"), "no --input for x"),
        (("--weights", "w.bin", "--input", "x.bin"), "no --input for k"),
        ((*GOOD, "--input", "more.bin"), "one --input too many: more.bin"),
        ((*GOOD, "--output", "y.bin"), "no --output for n"),
        ((*GOOD, *["--output", "o.bin"] * 3), "one --output too many: o.bin"),
        ((*GOOD, *["--input", "i.bin"] * 70), "too many --input"),
        ((*GOOD, "--samples", "0"), "at least 1"),
        ((*GOOD, "--samples", "-1"), "not a number in range: --samples -1"),
        ((*GOOD, "--samples", ""), "not a number in range: --samples (empty)"),
        ((*GOOD, "--samples", "2x"), "not a number in range"),
        ((*GOOD, "--num-runs", "99999999999999999999999"), "not a number in range"),
        ((*GOOD, "--cpu", "1023"), "--cpu"),
        ((*GOOD, "--cores", "huge"), "--cores is big, little, all or a mask"),
        ((*GOOD, "--cores", ""), "--cores is big, little, all or a mask"),
        ((*GOOD, "--cores", "0x"), "--cores is big, little, all or a mask"),
        ((*GOOD, "--cores", "f" * 300), "--cores is big, little, all or a mask"),
        ((*GOOD, "--cores", "0x0"), "may not run on the CPUs of --cores"),
        ((*GOOD, "--cores", "big", "--cpu", "0"), "--cpu and --cores exclude each other"),
        ((*GOOD, "--max-secs", "x"), "not a number in range: --max-secs x"),
        ((*GOOD, "--samples", "2"), "input file x.bin has 20 bytes, expected 40"),
        (("--weights", "x.bin", "--input", "k.bin", "--input", "x.bin"), "input file k.bin has 24 bytes, expected 20"),
        (("--weights", "k.bin", *GOOD[2:]), "weights file k.bin has 24 bytes, expected 20 (not of this model)"),
        (("--weights", "none.bin", *GOOD[2:]), "cannot open none.bin: no such file"),
        (("--weights", ".", *GOOD[2:]), "."),
        ((*GOOD, "--output", "no/y.bin", "--output", "n.bin"), "cannot write no/y.bin.tmp: no such file or folder"),
        ((*GOOD, "--output", "y" * 5000, "--output", "n.bin"), "too long"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_2(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    before = sorted(tmp_path.iterdir())
    done = run(*arguments)
    text = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b""
    assert text.startswith("model: ") and text.count("\n") == 1 and words in text
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing(program: list[str], run: Run, tmp_path: Path) -> None:
    """A write that fails in the middle: the output is a link to /dev/full."""
    (tmp_path / "y.bin.tmp").symlink_to("/dev/full")
    done = run(*GOOD, "--output", "y.bin", "--output", "n.bin")
    assert done.returncode == 2 and b"cannot write y.bin.tmp: no space left on the device" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.bin", "w.bin", "x.bin"]


def test_stdout_that_cannot_be_written(program: list[str], run: Run, tmp_path: Path) -> None:
    run()  # writes the files
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*program, *GOOD, "--json"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2 and b"cannot write to stdout" in done.stderr


def test_garbage_never_crashes_it(run: Run) -> None:
    words = random.Random(5)
    options = ["--weights", "--input", "--output", "--samples", "--num-runs", "--json", "w.bin", "x.bin", "k.bin", "."]
    for _ in range(40):
        arguments = [
            words.choice([*options, "%s%n", "\xff\x01", "9" * 30, "-", "--"]) for _ in range(words.randrange(9))
        ]
        assert run(*arguments).returncode in (0, 2), arguments


def _a_cpu() -> int:
    return min(os.sched_getaffinity(0))
