"""What only the runtime adb does: finding adb, choosing a device, and everything that keeps one from being used.

The rest of it is in test_device.py and test_device_faults.py. The adb here is the real one, the phone is
tests/attached/adb_device.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesparse import runtimes
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes import adb_client
from tests.attached.adb_device import AdbDevice
from tests.attached.fixtures import MakePhone, connect

from .conftest import K, MakeBundle, X


def refused(bundle: Path, runtime: str = "adb") -> str:
    """The message with which it is refused."""
    with pytest.raises(RuntimeFailure) as caught:
        runtimes.open(bundle, runtime)
    assert caught.value.exit_code == 4 and caught.value.hint
    return str(caught.value)


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let $ADB be ``script``."""
    program = folder / "fake adb"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("ADB", str(program))


def test_the_only_device_is_used(phone: AdbDevice, toy: MakeBundle) -> None:
    with runtimes.open(toy("executable"), "adb") as session:
        assert (session.run({"x": X, "k": K})["n"] == K + 1).all()
        facts = {"device": "Pixel 8", "soc": "Tensor G3", "android": "15", "abi": "arm64-v8a", "serial": phone.serial}
        assert facts.items() <= session.machine.items()


def test_one_of_several_devices(make_phone: MakePhone, toy: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    phones = [make_phone(), make_phone()]
    for phone in phones:
        connect(phone)
    bundle = toy("executable")
    text = refused(bundle)
    assert "several devices are attached" in text and all(phone.serial in text for phone in phones)
    assert any(f"--runtime adb:{phone.serial}" in text for phone in phones)
    with runtimes.open(bundle, f"adb:{phones[1].serial}") as session:
        session.run({"x": X, "k": K})
    assert not phones[0].pushed_bytes and phones[1].pushed_bytes
    monkeypatch.setenv("ANDROID_SERIAL", phones[0].serial)
    with runtimes.open(bundle, "adb"):
        assert phones[0].pushed_bytes


@pytest.mark.usefixtures("make_phone")
def test_no_device(bundle: Path) -> None:
    assert "no device is attached" in refused(bundle)
    assert "USB debugging" in refused(bundle)


@pytest.mark.parametrize("serial", ["nowhere", "; touch pwned", "-d", "a:b:c"])
def test_no_such_device(phone: AdbDevice, bundle: Path, serial: str) -> None:
    text = refused(bundle, f"adb:{serial}")
    assert f"no device '{serial}' is attached; there is {phone.serial}" in text and "adb connect" in text


def test_unauthorised(make_phone: MakePhone, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_client, "SETTLE_S", 0.2)
    phone = make_phone()
    phone.faults.unauthorised = True
    assert connect(phone).startswith("failed to authenticate")
    text = refused(bundle)
    assert f"{phone.serial} has not allowed this computer in" in text and "Allow USB debugging?" in text


def test_offline(phone: AdbDevice, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_client, "SETTLE_S", 0.2)
    phone.unplug()
    text = refused(bundle)
    assert f"{phone.serial} is offline" in text and "adb reconnect" in text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("no permissions (missing udev rules? user is in the plugdev group); see [http://x]", "may not use the USB"),
        ("recovery", "in the state 'recovery'"),
    ],
)
def test_states_of_a_usb_device(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, words: str
) -> None:
    pretend(tmp_path, monkeypatch, f"printf 'List of devices attached\\n0A1B\\t{state}\\n\\n'")
    assert "0A1B" in refused(bundle) and words in refused(bundle)


def test_a_phone_with_another_cpu(phone: AdbDevice, bundle: Path) -> None:
    for abi in ("armeabi-v7a", "x86_64", "\N{PILE OF POO}; exit", ""):
        phone.root.set_properties({"ro.product.cpu.abi": abi})
        text = refused(bundle)
        assert f"runs programs for {abi or 'nothing it tells of'}, but the bundle was compiled for aarch64" in text
    assert not phone.pushed_bytes


def test_a_phone_that_tells_no_exit_codes(make_phone: MakePhone, bundle: Path) -> None:
    phone = make_phone()
    phone.faults.features = "cmd"
    connect(phone)
    assert "tells no exit codes" in refused(bundle)


def test_no_adb(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("ADB", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "adb is not installed" in refused(bundle) and "apt-get install adb" in refused(bundle)
    monkeypatch.setenv("ADB", "/no/such/adb")
    assert "$ADB is /no/such/adb, which is not a program" in refused(bundle)


def test_adb_of_the_python_package(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site/adbutils/binaries"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "adb").write_text("#!/bin/sh\necho found me >&2; exit 1\n")
    (package / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("ADB", raising=False)
    monkeypatch.delitem(sys.modules, "adbutils", raising=False)
    monkeypatch.syspath_prepend(package.parent.parent)
    assert "found me" in refused(bundle)


def test_a_server_that_cannot_be_started(
    bundle: Path, require: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    require("adb")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(taken.getsockname()[1]))
        text = refused(bundle)
    assert "adb's server cannot be started" in text and "ANDROID_ADB_SERVER_PORT" in text


def test_adb_that_is_no_program(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, "")
    Path(os.environ["ADB"]).write_bytes(b"\x7fELF")
    assert "cannot be started" in refused(bundle)


def test_the_command_line(phone: AdbDevice, bundle: Path, toy: MakeBundle) -> None:
    """`--runtime adb:SERIAL`, its result and its exit code."""
    command = [sys.executable, "-m", "edgesparse", "bench", str(toy("executable")), "--num-runs", "3", "--runtime"]
    done = subprocess.run([*command, f"adb:{phone.serial}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Pixel 8" in done.stdout + done.stderr, done.stderr
    done = subprocess.run([*command, "adb:nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 4 and "no device 'nowhere'" in done.stderr


@pytest.mark.parametrize("name", ["adb:", "qemu:x", "auto:x", "local:"])
def test_names_of_runtimes_with_a_device(bundle: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}'|no runtime 'auto'"):
        runtimes.open(bundle, name)
    with pytest.raises(InputError, match="'adb:x' is not how"):
        runtimes.open(bundle, "adb:x", serial="y")
