"""Messages over pipes: four bytes of length (little-endian), then one JSON object."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

Message = dict[str, Any]
LARGEST_BYTES = 1 << 26  # arrays travel in files; a longer message is something else printed into the pipe
_LENGTH = struct.Struct("<I")


def send(pipe: IO[bytes], message: Mapping[str, Any]) -> None:
    body = json.dumps(message).encode()
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Message | None:
    """The next message, or None where the other side has closed the pipe.

    Raises:
        ValueError: not a message.
    """
    head = pipe.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise ValueError("the pipe was closed in the middle of a message")
    (length,) = _LENGTH.unpack(head)
    if length > LARGEST_BYTES:
        raise ValueError(f"a message of {length} bytes: something else was written into the pipe")
    body = pipe.read(length)
    if len(body) < length:
        raise ValueError("the pipe was closed in the middle of a message")
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message
