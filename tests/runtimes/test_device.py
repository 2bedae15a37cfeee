"""What the runtimes adb and ssh have in common, each on its test device: outputs, pushing, tidying up, faults."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import edgesparse as es
from edgesparse import runtimes
from edgesparse.attached import connect
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import read_manifest
from edgesparse.runtimes import adb, adb_client, device, ssh
from tests import tiny_models
from tests.attached.faults import Attached

from .conftest import K, MakeBundle, W, X, write_manifest

INPUTS = {"x": X, "k": K}
INPUT_BYTES = X.nbytes + K.nbytes
OUTPUT_BYTES = INPUT_BYTES


@pytest.fixture(autouse=True)
def nothing_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary files are made in a folder with an odd name, which is empty again after the test."""
    folder = tmp_path / "tmp; $(touch pwned) 'x"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())


@pytest.fixture
def nothing_stays_there(attached: Attached) -> Iterator[None]:
    """After the test the device holds what it held before, and runs nothing; it may need a moment to tidy up."""
    before = attached.root.files()
    yield
    wait_for(lambda: attached.root.files() == before and not attached.root.programs())
    assert attached.root.files() == before


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.02)


def is_right(outputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> bool:
    return np.array_equal(outputs["y"], 2 * X + W) and np.array_equal(outputs["n"], K + 1)


def stored(device: Attached) -> list[Path]:
    """The files of bundles in the device's store."""
    return [file for file in device.root.root.glob("*/**/edgesparse/*") if len(file.name) == 64]


@pytest.mark.usefixtures("nothing_stays_there")
def test_outputs_are_those_of_onnxruntime_and_qemu(attached: Attached, tmp_path: Path) -> None:
    onnx.save(tiny_models.classifier(), tmp_path / "m.onnx")
    bundle = es.compile(es.load(tmp_path / "m.onnx"), device="pixel-8", out=tmp_path / "m.edge")
    samples = tiny_models.numbers(3, 2, 8, 8)
    with runtimes.open(bundle, attached.runtime) as session, runtimes.open(bundle, "qemu") as emulator:
        there = session.run({"x": samples}, each=True)["y"]
        times = session.time_calls({"x": samples[:1]}, num_runs=3)
        here = emulator.run({"x": samples}, each=True)["y"]
    expected = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": samples})[0]
    assert np.array_equal(there, here) and np.array_equal(times.outputs[0], here[:1])
    assert len(times.wall_ns) == len(times.call_ns) == 3
    assert np.allclose(there, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_session_runs_and_times(attached: Attached, toy: MakeBundle) -> None:
    with runtimes.open(toy("executable"), attached.runtime, threads=2 if len(os.sched_getaffinity(0)) > 1 else 1) as s:
        assert is_right(s.run(INPUTS))
        stack = s.run({"x": np.repeat(X, 3, 0), "k": np.stack([K, K + 1, K + 2])}, each=True)
        assert np.array_equal(stack["n"], np.stack([K + 1, K + 2, K + 3]))
        result = s.bench(INPUTS, num_runs=5, warmup_runs=1)
        assert len(result.wall_ns) == 5 and min(result.wall_ns) > 0 and np.array_equal(result.outputs["n"], K + 1)
        assert s.machine["timing"] == "on the device" and s.machine["isa"] == "toy"
    s.close()
    with pytest.raises(RuntimeFailure, match="the session is closed"):
        s.run(INPUTS)


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize(("options", "words"), [({"threads": 257}, "257"), ({"threads": 200}, "may use"),
                                                ({"timeout_s": 0}, "not a time limit")])  # fmt: skip
def test_options_that_cannot_be(attached: Attached, toy: MakeBundle, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        runtimes.open(toy("executable"), attached.runtime, **options)
    assert attached.pushed_bytes == 0


def test_what_is_kept_is_not_pushed_again(attached: Attached, toy: MakeBundle) -> None:
    bundle = toy("executable")
    with runtimes.open(bundle, attached.runtime, keep=True) as session:
        assert is_right(session.run(INPUTS))
    there = {hashlib.sha256(file.read_bytes()).hexdigest() for file in stored(attached)}
    files = read_manifest(bundle).files
    assert there == {file.name for file in stored(attached)} == {files["model"], files["weights.bin"]}
    kept, before = attached.root.files(), attached.pushed_bytes
    for keep in (False, True):  # neither removes what the first session left
        with runtimes.open(bundle, attached.runtime, keep=keep) as session:
            assert attached.pushed_bytes == before
            assert is_right(session.run(INPUTS))
        before += INPUT_BYTES
        assert (attached.pushed_bytes, attached.root.files()) == (before, kept)


@pytest.mark.parametrize("damage", ["other content", "shorter"])
def test_what_is_damaged_there_is_pushed_again(attached: Attached, toy: MakeBundle, damage: str) -> None:
    bundle = toy("executable")
    runtimes.open(bundle, attached.runtime, keep=True).close()
    (weights,) = (file for file in stored(attached) if file.name == read_manifest(bundle).files["weights.bin"])
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + (b"!" if damage == "other content" else b""))
    before = attached.pushed_bytes
    with runtimes.open(bundle, attached.runtime) as session:
        assert attached.pushed_bytes == before + len(content)
        assert is_right(session.run(INPUTS))


@pytest.mark.usefixtures("nothing_stays_there")
def test_two_sessions_share_what_is_pushed(attached: Attached, toy: MakeBundle) -> None:
    """And either may go first: what the other one misses then is pushed again."""
    bundle = toy("executable")
    first = runtimes.open(bundle, attached.runtime)
    before = attached.pushed_bytes
    second = runtimes.open(bundle, attached.runtime)
    assert attached.pushed_bytes == before
    first.close()
    assert not stored(attached)
    assert is_right(second.run(INPUTS))
    second.close()


def test_nothing_else_is_touched(attached: Attached, toy: MakeBundle) -> None:
    mine = attached.root.root / attached.root.home.lstrip("/") / ".cache/mine"
    store = attached.root.root / "data/local/tmp/edgesparse"
    for file in (mine, store / "mine"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    before = attached.root.files()
    with runtimes.open(toy("executable"), attached.runtime) as session:
        session.run(INPUTS)
    assert attached.root.files() == before and mine.read_text() == "mine"


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize("name", ["-rf $(touch pwned).edge", "a'b\"; touch pwned; `x`.edge", "line\nbreak &.edge"])
def test_odd_names_are_harmless(
    attached: Attached, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bundle = toy("executable")
    monkeypatch.chdir(bundle.parent)
    bundle.rename(name)
    with runtimes.open(Path(name), attached.runtime) as session:
        assert is_right(session.run(INPUTS))
    assert not list(bundle.parent.rglob("pwned"))


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_damaged_bundle_is_refused(attached: Attached, toy: MakeBundle) -> None:
    bundle = toy("executable")
    (bundle / "weights.bin").write_bytes(bytes(20))
    with pytest.raises(RuntimeFailure, match=r"weights\.bin is damaged: its SHA-256") as caught:
        runtimes.open(bundle, attached.runtime)
    assert caught.value.exit_code == 4 and attached.pushed_bytes == 0


@pytest.mark.usefixtures("nothing_stays_there")
def test_what_arrives_damaged_is_not_used(attached: Attached, toy: MakeBundle) -> None:
    attached.faults.damage_pushed = True
    with pytest.raises(RuntimeFailure, match="model arrived damaged: its SHA-256 is not") as caught:
        runtimes.open(toy("executable"), attached.runtime)
    assert caught.value.exit_code == 4


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize(
    ("garbage", "words"),
    [
        ("", "printed no JSON document: b''"),
        ("\\377\\000\\033[2Jnonsense", "printed no JSON document"),
        ("[1, 2]", "printed no JSON document"),
        pytest.param("[" * 100_000, "printed no JSON document", id="deep"),
        ('{"wall_ns": ["x"]}', "timings that are none"),
        ('{"isa": "toy", "wall_ns": []}', "while outputs were copied from it"),  # none was written
    ],
)
def test_garbage_is_no_result(attached: Attached, toy: MakeBundle, garbage: str, words: str) -> None:
    bundle = toy("executable")
    (bundle / "model").write_text(f"#!/bin/sh\nprintf '{garbage}'\n")
    write_manifest(bundle, "executable")
    with runtimes.open(bundle, attached.runtime) as session, pytest.raises(RuntimeFailure) as caught:
        session.run(INPUTS)
    assert words in str(caught.value) and caught.value.exit_code == 4


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize(
    "noise",
    ["printf '\\033[2J\\377\\000 9999'", "head -c 100000 /dev/urandom", "true", "exit 200",
     "printf '\\nedgesparse-exit:%05000d' 0"],
)  # fmt: skip
def test_a_device_that_answers_nonsense(attached: Attached, toy: MakeBundle, noise: str) -> None:
    attached.faults.noise = noise
    with pytest.raises(RuntimeFailure) as caught:
        runtimes.open(toy("executable"), attached.runtime)
    assert caught.value.exit_code == 4 and str(caught.value).replace("\n", "").isprintable()
    assert len(str(caught.value)) < 2000


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_device_that_prints_without_end(attached: Attached, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (adb_client, ssh):
        monkeypatch.setattr(module, "LONGEST_OUTPUT_BYTES", 1 << 20)
    attached.faults.noise = "yes"
    with pytest.raises(RuntimeFailure, match="printed more than") as caught:
        runtimes.open(toy("executable"), attached.runtime)
    assert caught.value.exit_code == 4 and caught.value.hint


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize("command", ["yes", "cat /dev/zero", "echo no such folder; exit 3", "sleep 30"])
def test_a_shell_that_is_never_ready(attached: Attached, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    link = connect(attached.runtime)
    try:
        for module in (adb, ssh):
            monkeypatch.setattr(module, "QUESTION_S", 1.5)
        begin = time.monotonic()
        with pytest.raises(RuntimeFailure) as caught:
            link.guard(command)
        assert time.monotonic() - begin < 10 and len(str(caught.value)) < 2000
        if "exit" in command:
            assert "no such folder" in str(caught.value)
    finally:
        link.close()


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_device_that_does_not_answer(attached: Attached, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "QUESTION_S", 1)
    attached.faults.noise = "sleep 5"
    with pytest.raises(RuntimeFailure, match="no answer within 1 s") as caught:
        runtimes.open(toy("executable"), attached.runtime)
    assert caught.value.exit_code == 4 and "restart" in caught.value.hint


@pytest.mark.usefixtures("nothing_stays_there")
def test_outputs_of_another_size_are_none(attached: Attached, toy: MakeBundle) -> None:
    attached.faults.cut_pulled = True
    with runtimes.open(toy("executable"), attached.runtime) as session, pytest.raises(RuntimeFailure) as caught:
        session.run(INPUTS)
    assert any(words in str(caught.value) for words in ("output 'y' has 19 bytes, expected 20", "Unexpected EOF"))


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_program_that_fails_says_why(attached: Attached, toy: MakeBundle) -> None:
    with (
        runtimes.open(toy("executable", "-DTOY_FAILS"), attached.runtime) as session,
        pytest.raises(RuntimeFailure, match="model: the model failed"),
    ):
        session.run(INPUTS)


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "killed by signal 9 (SIGKILL)~perhaps the device ran out of memory"),
        (signal.SIGILL, "killed by signal 4 (SIGILL)~HWCAP are fp asimd evtstrm~compiled for test (toy)"),
        (signal.SIGSEGV, "killed by signal 11 (SIGSEGV)"),
    ],
)
def test_a_killed_program(attached: Attached, toy: MakeBundle, number: signal.Signals, words: str) -> None:
    def kill() -> None:
        wait_for(attached.root.programs)
        attached.root.popen(f"kill -{int(number)} {attached.root.programs()[0]}").wait()

    with runtimes.open(toy("executable", "-DTOY_HANGS"), attached.runtime) as session:
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(RuntimeFailure) as caught:
            session.run(INPUTS)
        killer.join()
    assert all(part in str(caught.value) for part in words.split("~")) and caught.value.exit_code == 4


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_program_that_hangs_is_killed(attached: Attached, toy: MakeBundle) -> None:
    with runtimes.open(toy("executable", "-DTOY_HANGS"), attached.runtime, timeout_s=1) as session:
        with pytest.raises(RuntimeFailure, match="did not finish within 1 s and was stopped") as caught:
            session.run(INPUTS)
        wait_for(lambda: not attached.root.programs(), seconds=1)
    assert "raise timeout_s" in str(caught.value)


@pytest.mark.usefixtures("nothing_stays_there")
def test_a_process_that_is_killed_leaves_nothing_there(attached: Attached, toy: MakeBundle) -> None:
    code = (
        "import sys, numpy as np, edgesparse.runtimes as r\n"
        "s = r.open(sys.argv[1], sys.argv[2])\n"
        "s.run({'x': np.zeros((1, 5), np.float32), 'k': np.zeros(3, np.int64)})\n"
    )
    bundle = toy("executable", "-DTOY_HANGS")
    child = subprocess.Popen([sys.executable, "-c", code, str(bundle), attached.runtime], start_new_session=True)
    wait_for(attached.root.programs, seconds=30)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize("during", ["push", "push of inputs", "run", "pull"])
def test_unplugged(attached: Attached, toy: MakeBundle, during: str) -> None:
    """One clear error and no result; the device tidies up by itself."""
    bundle = toy("executable", *(["-DTOY_HANGS"] if during == "run" else []))
    whole = sum((bundle / name).stat().st_size for name in ("model", "weights.bin"))
    if during == "push":
        attached.faults.unplug_after_pushed_bytes = whole // 2
    if during == "push of inputs":
        attached.faults.unplug_after_pushed_bytes = whole
    attached.faults.unplug_on_run = during == "run"
    if during == "pull":
        attached.faults.unplug_after_pulled_bytes = OUTPUT_BYTES // 3
    when = {"run": "while it ran a command", "pull": "while outputs were copied from it"}
    begin = time.monotonic()
    with pytest.raises(RuntimeFailure) as caught, runtimes.open(bundle, attached.runtime) as session:
        session.run(INPUTS)
    text = str(caught.value)
    assert when.get(during, "while files were copied to it") in text, text
    assert ("was disconnected" in text or "connection broke" in text) and caught.value.exit_code == 4
    assert time.monotonic() - begin < 10


def store_disk(device: Attached) -> str:
    """The folder that a disk of its own can be put at, which then holds the store."""
    return "/data/local/tmp" if device.runtime.startswith("adb") else device.root.home


def fill(device: Attached, left_kb: int) -> None:
    """Let the device's disk have room for ``left_kb`` only."""
    full = f"{store_disk(device)}/full"
    device.root.popen(f"cat /dev/zero >{full} 2>/dev/null; truncate -s -{left_kb}k {full}").wait()


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize("of", ["model", "inputs"])
def test_a_full_disk(attached: Attached, toy: MakeBundle, of: str) -> None:
    bundle = toy("executable")
    whole_kb = sum((bundle / name).stat().st_size for name in ("model", "weights.bin")) // 1024
    attached.root.limit_disk(store_disk(attached), whole_kb // 2 if of == "model" else whole_kb + 64)
    with pytest.raises(RuntimeFailure) as caught, runtimes.open(bundle, attached.runtime) as session:
        fill(attached, 0)
        session.run(INPUTS)
    text = str(caught.value)
    assert "no space left on the device" in text.lower() and "free some space" in caught.value.hint
    assert caught.value.exit_code == 4
    inside = attached.root.inside / store_disk(attached).lstrip("/")
    wait_for(lambda: {path.name for path in inside.iterdir()} <= {"full"})


@pytest.mark.usefixtures("nothing_stays_there")
@pytest.mark.parametrize(("left_kb", "words"), [(4, "cannot write"), (0, "a file of some bytes could not be written")])
def test_a_disk_that_is_full_when_outputs_are_written(
    attached: Attached, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch, left_kb: int, words: str
) -> None:
    """A page is enough for the number of the program, which then has none for its outputs; or there is none at all."""
    attached.root.limit_disk(store_disk(attached), 2048)
    with runtimes.open(toy("executable"), attached.runtime) as session:
        push = session._link.push  # type: ignore[attr-defined]

        def push_and_fill(*arguments: object) -> None:
            push(*arguments)
            fill(attached, left_kb)

        monkeypatch.setattr(session._link, "push", push_and_fill)  # type: ignore[attr-defined]
        with pytest.raises(RuntimeFailure) as caught:
            session.run(INPUTS)
    text = str(caught.value)
    assert words in text and "no space left" in text.lower() and "free some space for" in caught.value.hint, text
    assert caught.value.exit_code == 4 and not attached.root.programs() and not attached.pulled_bytes
    inside = attached.root.inside / store_disk(attached).lstrip("/")
    wait_for(lambda: [path.name for path in inside.iterdir()] == ["full"])


@pytest.mark.usefixtures("nothing_stays_there")
def test_an_instruction_that_the_cpu_lacks(attached: Attached, toy: MakeBundle) -> None:
    """A program that really gets SIGILL, from the CPU and not from somebody else."""
    with (
        runtimes.open(toy("executable", "-DTOY_ILLEGAL"), attached.runtime) as session,
        pytest.raises(RuntimeFailure, match=r"killed by signal 4 \(SIGILL\)") as caught,
    ):
        session.run(INPUTS)
    assert "its HWCAP are fp asimd evtstrm" in caught.value.hint and "choose --device" in caught.value.hint
    assert caught.value.exit_code == 4


def test_pushing_says_how_far_it_is(attached: Attached, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are there of bytes in all, from none to all, however late the device is."""
    monkeypatch.setattr(adb_client, "LOOK_S", 0.05)
    attached.faults.slow_push_s = 0.02
    bundle = toy("executable")
    with (bundle / "model").open("ab") as file:
        file.write(bytes(2 << 20))  # behind what the system loads
    write_manifest(bundle, "executable")
    total = sum((bundle / name).stat().st_size for name in ("model", "weights.bin"))
    told: list[tuple[int, int, str]] = []
    with runtimes.open(bundle, attached.runtime, on_push=lambda *how_far: told.append(how_far)) as session:
        pushed = len(told)
        assert is_right(session.run(INPUTS)) and len(told) == pushed  # inputs are not worth a word
    done = [there for there, _, _ in told]
    assert done == sorted(done) and 0 <= done[0] < done[-1] <= total and len(set(done)) > 5
    assert {(of, what) for _, of, what in told} == {(total, "sending bytes")}


def test_a_device_on_which_no_folder_can_be_made(attached: Attached, toy: MakeBundle) -> None:
    for place in ("data/local/tmp/edgesparse", f"{attached.root.home.lstrip('/')}/.cache"):
        file = attached.root.root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("not a folder")
    before = attached.root.files()
    with pytest.raises(RuntimeFailure, match=r"mkdir: .*(edgesparse|cache)") as caught:
        runtimes.open(toy("executable"), attached.runtime)
    assert caught.value.exit_code == 4 and attached.root.files() == before


def test_a_device_without_sha256sum_tells_files_by_their_size(attached: Attached, toy: MakeBundle) -> None:
    missing = attached.root.root / "system/bin/sha256sum"
    missing.write_text("#!/bin/sh\nexit 127\n")
    missing.chmod(0o755)
    bundle = toy("executable")
    with runtimes.open(bundle, attached.runtime, keep=True) as session:
        assert is_right(session.run(INPUTS))
    before = attached.pushed_bytes
    runtimes.open(bundle, attached.runtime).close()
    assert attached.pushed_bytes == before
