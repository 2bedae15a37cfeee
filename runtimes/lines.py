"""Programs that tell what they have to say line by line."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence

OnLine = Callable[[bytes], None]
"""Called with each line that a program prints."""


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
