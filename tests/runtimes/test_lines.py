"""What a program prints is told line by line while it runs, over adb and over ssh as on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesparse.attached import connect
from edgesparse.errors import RuntimeFailure
from edgesparse.runtimes.device import Link
from edgesparse.runtimes.lines import Lines, OnLine, run_lines
from tests.attached.faults import Attached

SECONDS = 30.0  # the longest that a command which waits for nothing but its own line may take


@given(st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"a\nb", b"\n\n"])))
def test_lines_do_not_depend_on_how_they_arrive(parts: list[bytes]) -> None:
    told: list[bytes] = []
    lines = Lines(told.append)
    for part in parts:
        lines.feed(part)
    whole = b"".join(parts)
    assert b"".join(told) == whole[: whole.rfind(b"\n") + 1]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in told)


@pytest.fixture
def link(attached: Attached) -> Iterator[Link]:
    made = connect(attached.runtime)
    yield made
    made.close()


def waits_for(go: str) -> str:
    """A command that prints its last line only when somebody has read the first, and made the file ``go``."""
    return f"echo first; until [ -e {go} ]; do sleep 0.02; done; printf 'la'; sleep 0.1; echo st; printf rest; exit 3"


def test_a_line_is_told_before_the_next_is_printed(attached: Attached, link: Link) -> None:
    told: list[bytes] = []

    def on_line(line: bytes) -> None:
        if line == b"first\n":
            (attached.root.root / "tmp/go").touch()
        told.append(line)

    done = link.run(waits_for("/tmp/go"), SECONDS, on_line)
    assert told[:2] == [b"first\n", b"last\n"]
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"first\nlast\nrest", b"")


def test_on_this_machine_too(tmp_path: Path) -> None:
    go, told = tmp_path / "go", list[bytes]()

    def on_line(line: bytes) -> None:
        go.touch()
        told.append(line)

    done = run_lines(["sh", "-c", waits_for(str(go))], SECONDS, on_line)
    assert told == [b"first\n", b"last\n", b"rest"] and done.returncode == 3


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), KeyboardInterrupt(), ValueError("no more")])
def test_what_a_reader_raises_is_no_fault_of_the_device(link: Link, error: BaseException) -> None:
    def on_line(line: bytes) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        link.run("echo first; sleep 60", SECONDS, on_line)
    assert caught.value is error
    assert link.run("echo still there", SECONDS).stdout.strip() == b"still there"


def _unplugged(device: Attached) -> OnLine:
    def on_line(line: bytes) -> None:
        device.unplug()

    return on_line


@pytest.mark.parametrize(
    ("command", "timeout_s", "reader", "expected"),
    [
        ("while :; do echo line; sleep 0.1; done", 1.0, lambda device: lambda line: None, TimeoutError),
        ("echo line; sleep 60", SECONDS, _unplugged, RuntimeFailure),
    ],
    ids=["late", "unplugged"],
)
def test_commands_whose_lines_end_too_late_or_never(
    attached: Attached, link: Link, command: str, timeout_s: float, reader: Callable[[Attached], OnLine],
    expected: type[Exception],
) -> None:  # fmt: skip
    told: list[bytes] = []
    read = reader(attached)

    def on_line(line: bytes) -> None:
        told.append(line)
        read(line)

    with pytest.raises(expected) as caught:
        link.run(command, timeout_s, on_line)
    assert told and set(told) == {b"line\n"}
    if expected is RuntimeFailure:
        assert "while it ran a command" in str(caught.value)


def test_a_program_that_prints_lines_without_end_is_stopped(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("adb_client", "ssh"):
        module = sys.modules[f"edgesparse.runtimes.{name}"]
        monkeypatch.setattr(module, "LONGEST_OUTPUT_BYTES", 1 << 16)
    told: list[bytes] = []
    with pytest.raises(RuntimeFailure, match="printed more than"):
        link.run("yes", SECONDS, told.append)
    assert told and set(told) == {b"y\n"}
