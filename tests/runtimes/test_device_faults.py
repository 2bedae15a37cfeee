"""What goes wrong with a device: each fault has one clear error, exit code 4, and leaves nothing on either side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from edgesparse import runtimes
from edgesparse.attached import connect
from edgesparse.errors import RuntimeFailure
from edgesparse.runtimes import adb, adb_client, device, ssh
from tests.attached.faults import Attached
from tests.attached.fixtures import wait_for

from .conftest import INPUTS, OUTPUT_BYTES, MakeBundle, write_manifest

pytestmark = pytest.mark.usefixtures("nothing_stays_here")


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
        ('{"wall_ns": ["x"]}', "facts that are none: wall_ns.0"),
        ('{"wall_ns": [-5]}', "facts that are none: wall_ns.0"),
        pytest.param('{"wall_ns": [1' + "0" * 400 + "]}", "facts that are none: wall_ns.0", id="huge"),
        ('{"wall_ns": [1], "call_ns": [2]}', "facts that are none: call_ns.0"),
        ('{"observations": 1}', "facts that are none: observations"),
        ('{"observations": [{"run": 0}]}', "facts that are none: observations.0.at_ns"),
        ('{"zones": ["\\\\ud800"]}', "printed no JSON document"),
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


def test_a_device_on_which_no_folder_can_be_made(attached: Attached, toy: MakeBundle) -> None:
    for place in ("data/local/tmp/edgesparse", f"{attached.root.home.lstrip('/')}/.cache"):
        file = attached.root.root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("not a folder")
    before = attached.root.files()
    with pytest.raises(RuntimeFailure, match=r"mkdir: .*(edgesparse|cache)") as caught:
        runtimes.open(toy("executable"), attached.runtime)
    assert caught.value.exit_code == 4 and attached.root.files() == before
