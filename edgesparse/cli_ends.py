"""What commands print to, and how they end: errors in the words of the command line, a reader who has seen enough."""

from __future__ import annotations

import os
import re
import select
import sys
from io import TextIOWrapper
from typing import NoReturn

UNREAD = 141
"""What a shell says of a program whose output nobody reads any more: 128 + SIGPIPE."""
_BOTH = re.compile(r"\b\w+=(?:'\w+'|\w*) \((--[^)]+)\)")


def ready_streams() -> None:
    """What the shell closed (``>&-``) leads nowhere, before a file that is opened takes its number; letters that the
    terminal's encoding lacks, and bytes that are no text, are written as escapes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as we run
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def as_typed(error: str) -> str:
    """Hints name what Python and what the command line take, as ``force=True (--force)``: here the option alone."""
    text, hint, rest = error.partition("\n  hint: ")
    return text + hint + _BOTH.sub(r"\1", rest)


def end_unread(broken: BrokenPipeError) -> NoReturn:
    """End with `UNREAD` and no word, as programs do that SIGPIPE ends.

    Python ignores that signal, for a pipe to a child or to a device may break as well: then ``broken`` is raised.
    """
    unread = _unread()
    if not unread:
        raise broken
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for file in unread:  # what is still in a buffer is written at the end of the process
        os.dup2(nowhere, file)
    sys.exit(UNREAD)


def _unread() -> list[int]:
    """Of stdout and stderr, what is a pipe or a socket that nobody reads."""
    poll = select.poll()
    for file in (1, 2):
        poll.register(file, 0)
    return [file for file, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]
