"""Texts that attached devices write: token by token, and what happens where that is interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.errors import RuntimeFailure
from edgesparse.runtimes.generation import Request
from tests.attached.faults import Attached
from tests.decoder.made import decoder

pytestmark = pytest.mark.usefixtures("nothing_stays_here", "nothing_stays_there")
ENDLESS = 1 << 24  # tokens: hours of an emulator
PROMPT = "def "


class Enough(Exception):
    pass


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small decoder whose tokens are bytes."""
    out = tmp_path_factory.mktemp("made") / "lm.edge"
    return compile_decoder(decoder(vocabulary=256), "rpi5", out, weights="f32")


def test_the_first_token_comes_before_the_last_is_computed(attached: Attached, bundle: Path) -> None:
    """Of a text that does not end; and the session goes on after that."""
    prompt, seen, running = list(PROMPT.encode()), list[int](), list[bool]()
    with runtimes.open(bundle, "qemu") as session:
        expected = session.generate(prompt, Request(5)).tokens

    def on_token(token: int) -> None:
        seen.append(token)
        running.append(bool(attached.root.programs()))
        if len(seen) == 3:
            raise Enough

    with runtimes.open(bundle, attached.runtime) as session:
        with pytest.raises(Enough):
            session.generate(prompt, Request(ENDLESS, sliding=True), on_token)
        assert tuple(seen) == expected[:3] and all(running)
        assert not attached.root.programs()
        assert session.generate(prompt, Request(5)).tokens == expected


def test_control_c(attached: Attached, bundle: Path) -> None:
    """Of the command line, while it waits for tokens."""
    options = ["--sliding-window", "--max-tokens", str(ENDLESS), "--runtime", attached.runtime]
    command = [sys.executable, "-m", "edgesparse", "generate", str(bundle), PROMPT, *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as child:  # fmt: skip
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.read(len(PROMPT) + 3).decode(errors="replace").startswith(PROMPT)
        assert attached.root.programs()
        os.killpg(child.pid, signal.SIGINT)
        child.stdout.read()
        assert b"Traceback" not in child.stderr.read()
    assert child.returncode == 130


def test_the_reader_of_the_text_goes_away(attached: Attached, bundle: Path) -> None:
    """As `| head -c 6` does."""
    options = ["--sliding-window", "--max-tokens", str(ENDLESS), "--runtime", attached.runtime]
    command = [sys.executable, "-m", "edgesparse", "generate", str(bundle), PROMPT, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.read(len(PROMPT) + 3)
        child.stdout.close()
        assert b"disconnected" not in child.stderr.read()
    assert not attached.root.programs()


@pytest.mark.parametrize("fault", ["killed", "unplugged", "late"])
def test_what_goes_wrong_after_the_first_token(attached: Attached, bundle: Path, fault: str) -> None:
    seen: list[int] = []

    def on_token(token: int) -> None:
        seen.append(token)
        if len(seen) == 1 and fault == "unplugged":
            attached.unplug()
        if len(seen) == 1 and fault == "killed":
            attached.root.popen(f"kill -9 {attached.root.programs()[0]}").wait()

    timeout_s = 2 if fault == "late" else 60
    words = {"killed": r"killed by signal 9 \(SIGKILL\)", "unplugged": "while it ran a command", "late": "within 2 s"}
    with (
        pytest.raises(RuntimeFailure, match=words[fault]) as caught,
        runtimes.open(bundle, attached.runtime, timeout_s=timeout_s) as session,
    ):
        session.generate(list(PROMPT.encode()), Request(ENDLESS, sliding=True), on_token)
    assert caught.value.exit_code == 4 and seen


@pytest.mark.parametrize("said", ["256", "9" * 5000])
def test_a_token_that_there_is_not(attached: Attached, bundle: Path, tmp_path: Path, said: str) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy.edge")
    (copy / "model").write_text(f"#!/bin/sh\necho 7; echo {said}; exit 1\n")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["model"] = hashlib.sha256((copy / "model").read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    seen: list[int] = []
    with (
        pytest.raises(RuntimeFailure, match="printed a token that there is not"),
        runtimes.open(copy, attached.runtime) as session,
    ):
        session.generate([1], Request(5), seen.append)
    assert seen == [7]
