"""Programs that tell what they have to say line by line."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence

OnLine = Callable[[bytes], None]
"""Called with each line that a program prints, and its end."""


class Lines:
    """Hands over lines whose parts arrive one by one. What no line feed follows is none yet."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line, self._begun = on_line, bytearray()

    def feed(self, part: bytes) -> None:
        whole, end, rest = part.rpartition(b"\n")
        if end:
            lines, self._begun = bytes(self._begun) + whole, bytearray()
            for line in lines.split(b"\n"):
                self._on_line(line + b"\n")
        self._begun += rest


def run_lines(arguments: Sequence[str], timeout_s: float, on_line: OnLine | None) -> subprocess.CompletedProcess[bytes]:
    """As subprocess.run, but that ``on_line`` gets every line of the output when it is there."""
    if on_line is None:
        return subprocess.run(arguments, capture_output=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False)
    lines = []
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL
    ) as process:  # fmt: skip
        late = threading.Timer(timeout_s, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                on_line(line)
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            ended_late = not late.is_alive()
            late.cancel()
        if ended_late:
            raise subprocess.TimeoutExpired(list(arguments), timeout_s)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, b"".join(lines), errors.read())


def last_line(said: bytes) -> bytes:
    return said.rstrip().rpartition(b"\n")[2]
