"""`doctor`: what is here, what is not, what is broken, and what to do about each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesparse.doctor import BROKEN, MISSING, OK, Finding, doctor

from .conftest import Call


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {x.what: x for x in found}


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_what_the_tests_run_with_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADB", str(program(tmp_path / "adb", "echo List of devices attached")))
    found = by_name(doctor())
    for what in ("Python", "compiler (zig)", "cache", "onnxruntime"):
        assert found[what].state == OK and found[what].required == (what != "onnxruntime"), found[what]
    assert "0 attached" in found["adb"].found
    assert all(x.fix or x.state == OK for x in found.values())


def test_devices_are_listed_with_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ["List of devices attached", "good device", "shy unauthorized", "gone offline", ""]
    monkeypatch.setenv("ADB", str(program(tmp_path / "adb", "\n".join(f"echo '{line}'" for line in lines))))
    found = by_name(doctor())
    assert found["device good"].state == OK and found["device good"].needed == "--runtime adb:good"
    assert found["device shy"].state == BROKEN and "Allow USB debugging" in found["device shy"].fix
    assert found["device gone"].state == BROKEN and "does not answer" in found["device gone"].found


def test_programs_that_are_not_there_or_do_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QEMU", str(tmp_path / "none"))
    monkeypatch.setenv("NODE", str(program(tmp_path / "node", "echo no such library >&2; exit 127")))
    monkeypatch.setenv("CHROMIUM", str(program(tmp_path / "chromium", "echo Chromium 1.2.3")))
    monkeypatch.setenv("FIREFOX", str(tmp_path / "none"))
    monkeypatch.setenv("ADB", str(program(tmp_path / "adb", "echo cannot bind >&2; exit 1")))
    found = by_name(doctor())
    assert found["arm64 emulator"].state == MISSING and "qemu-user-static" in found["arm64 emulator"].fix
    assert found["node"].state == BROKEN and "no such library" in found["node"].found
    assert found["Chromium"].state == OK and found["Chromium"].found.startswith("Chromium 1.2.3")
    assert found["Chromium"].needed == "--runtime chromium" and found["Firefox"].needed == "--runtime firefox"
    assert found["Firefox"].state == MISSING and found["Firefox"].fix == "apt-get install firefox-esr"
    assert found["adb"].state == BROKEN and "cannot bind" in found["adb"].found and found["adb"].fix


def test_a_cache_that_cannot_be_written_ends_with_4(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGESPARSE_CACHE", "/proc/edgesparse")
    code, out, err = call("doctor", "--json")
    assert code == 4 and "without" in err and "cache" in err
    (cache,) = [x for x in json.loads(out) if x["what"] == "cache"]
    assert cache["state"] == BROKEN and "EDGESPARSE_CACHE" in cache["fix"]


def test_the_command(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADB", str(tmp_path / "none"))
    code, out, err = call("doctor")
    assert code == 0, err
    assert "compiler (zig)" in out and "missing" in out and "apt-get install adb" in out
