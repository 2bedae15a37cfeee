"""Test devices as fixtures: a phone behind the real adb, and a board behind ssh."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .adb_device import AdbDevice
from .arm_root import ArmRoot

if TYPE_CHECKING:
    from .faults import Attached
    from .ssh_board import SshBoard

MakePhone = Callable[[], AdbDevice]


@pytest.fixture(scope="session")
def namespaces(require: Callable[[str], None]) -> None:
    """What an `ArmRoot` needs."""
    require("namespaces")
    require("qemu-aarch64")


@pytest.fixture(scope="session")
def adb_server(require: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of adb's server, which is no one else's and keeps its keys to itself."""
    require("adb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(tmp_path_factory.mktemp("adb"))}
    subprocess.run(["adb", "start-server"], env=environment, check=True, capture_output=True, timeout=60)
    yield port
    subprocess.run(["adb", "kill-server"], env=environment, check=True, capture_output=True, timeout=60)


@pytest.fixture
def make_phone(
    namespaces: None, adb_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakePhone]:
    """``make_phone()``: one more phone, not yet connected; all are gone after the test."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.delenv("ADB", raising=False)
    made: list[AdbDevice] = []

    def make() -> AdbDevice:
        made.append(AdbDevice(ArmRoot(tmp_path / f"phone{len(made)}", "/data")))
        return made[-1]

    yield make
    for device in made:
        device.unplug()
        device.root.close()
        subprocess.run(["adb", "disconnect", device.serial], check=False, capture_output=True, timeout=60)


def connect(device: AdbDevice) -> str:
    """What `adb connect` says, which ends with 0 whatever happens."""
    done = subprocess.run(["adb", "connect", device.serial], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.fixture
def phone(make_phone: MakePhone) -> AdbDevice:
    """A phone that adb lists."""
    device = make_phone()
    assert connect(device).startswith("connected to")
    return device


@pytest.fixture
def board(
    namespaces: None, require: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SshBoard]:
    """A board that this user may log in to, with an empty home folder."""
    require("asyncssh")
    from .ssh_board import SshBoard

    home = tmp_path / "user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = SshBoard(ArmRoot(tmp_path / "board", "/home/pi"), home / ".ssh")
    yield made
    made.close()
    made.root.close()


@pytest.fixture(params=["phone", "board"])
def attached(request: pytest.FixtureRequest) -> Attached:
    """Each of the two."""
    device: Attached = request.getfixturevalue(request.param)
    return device


@pytest.fixture
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
