"""What only the runtime ssh does: connecting, host keys, and everything that keeps a board from being used.

The rest of it is in test_device.py and test_device_faults.py. The server is tests/attached/ssh_board.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgesparse import runtimes
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.runtimes.ssh_login import parse

from .conftest import K, MakeBundle, X

if TYPE_CHECKING:
    from tests.attached.ssh_board import SshBoard


def refused(bundle: Path, runtime: str) -> str:
    """The message with which it is refused."""
    with pytest.raises(RuntimeFailure) as caught:
        runtimes.open(bundle, runtime)
    assert caught.value.exit_code == 4
    return str(caught.value)


def test_a_board(board: SshBoard, toy: MakeBundle) -> None:
    with runtimes.open(toy("executable"), "ssh", host=f"pi@127.0.0.1:{board.port}") as session:
        assert (session.run({"x": X, "k": K})["n"] == K + 1).all()
        assert session.machine["cpu"] == "aarch64" and session.machine["device"] == f"pi@127.0.0.1:{board.port}"


def test_a_name_of_the_configuration(board: SshBoard, toy: MakeBundle) -> None:
    (board.settings / "config").write_text(f"Host myboard\n  HostName 127.0.0.1\n  Port {board.port}\n  User pi\n")
    with runtimes.open(toy("executable"), "ssh:myboard") as session:
        session.run({"x": X, "k": K})
    assert board.pushed_bytes


def test_a_home_with_an_odd_name(board: SshBoard, toy: MakeBundle) -> None:
    board.root.home = "/home/p i'$(touch pwned)"
    home = board.root.root / board.root.home.lstrip("/")
    home.mkdir()
    with runtimes.open(toy("executable"), board.runtime) as session:
        assert (session.run({"x": X, "k": K})["n"] == K + 1).all()
        assert list(home.rglob("run-*"))
    assert not list(home.iterdir()) and not list(board.root.root.glob("home/**/pwned"))


def test_an_unknown_host_key(board: SshBoard, bundle: Path) -> None:
    board.know(None)
    text = refused(bundle, board.runtime)
    assert "its host key is not known" in text and f"`ssh -p {board.port} pi@127.0.0.1` once" in text
    (board.settings / "known_hosts").unlink()
    assert refused(bundle, board.runtime) == text


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_a_changed_host_key(board: SshBoard, bundle: Path, kind: str) -> None:
    import asyncssh

    board.know(asyncssh.generate_private_key(kind))
    text = refused(bundle, board.runtime)
    assert "its host key is not the one in known_hosts" in text
    assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in text


def test_a_refused_login(board: SshBoard, bundle: Path) -> None:
    (board.settings / "id_ed25519").unlink()
    text = refused(bundle, board.runtime)
    assert "it refused the login" in text and f"ssh-copy-id -p {board.port} pi@127.0.0.1" in text


def test_nobody_answers(board: SshBoard, bundle: Path) -> None:
    board.unplug()
    text = refused(bundle, board.runtime)
    assert "there is no connection" in text and f"`ssh -p {board.port} pi@127.0.0.1` must work first" in text


@pytest.mark.parametrize("machine", ["Linux armv7l", "Linux x86_64", "Darwin arm64", "nonsense", ""])
def test_a_board_with_another_system(board: SshBoard, bundle: Path, machine: str) -> None:
    (board.root.root / "system/bin/uname").write_text(f"#!/bin/sh\necho '{machine}'\n")
    text = refused(bundle, board.runtime)
    system, _, cpu = machine.partition(" ")
    assert f"runs {system} on {cpu}, but the bundle was compiled for Linux on aarch64" in text
    assert not board.pushed_bytes


def test_no_asyncssh(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = refused(bundle, "ssh:pi@board")
    assert "asyncssh is not installed" in text and "pip install 'edgesparse[ssh]'" in text


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("board", ("", "board", None)),
        ("pi@board:2222", ("pi", "board", 2222)),
        ("a@b@c", ("a@b", "c", None)),
        ("pi@[::1]:22", ("pi", "::1", 22)),
        ("fe80::1", ("", "fe80::1", None)),
    ],
)
def test_addresses(host: str, parts: tuple[str, str, int | None]) -> None:
    assert parse(host) == parts


@pytest.mark.parametrize("host", ["", "pi@", "pi@board:", "board:x", "board:0", "board:65536", "pi@-oProxyCommand=x"])
def test_what_is_no_address(bundle: Path, host: str) -> None:
    with pytest.raises(InputError, match="is no address of a board"):
        runtimes.open(bundle, "ssh", host=host)
