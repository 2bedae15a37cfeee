"""llama2.c's ``tokenizer.bin``: pieces of text with scores, and how it merges bytes into them.

int32 length of the longest piece, then for each token float32 score, int32 length, bytes; spaces are spaces. Tokens 0,
1 and 2 are unknown, begin and end; 3 to 258 are single bytes, as ``<0x0A>``.

Source: karpathy/llama2.c, run.c (``build_tokenizer``, ``encode``, ``decode``)
"""

from __future__ import annotations

import heapq
import re
import struct
from dataclasses import dataclass

from edgesparse.errors import InputError

BOS = 1
_FIRST_BYTE, _LAST_SPECIAL = 3, 2
_BYTE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")
_LONGEST_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class BytePairs:
    """``pieces`` as they stand in the file, with the ``scores`` by which they are merged."""

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]
    ids: dict[bytes, int]

    def encode(self, text: bytes) -> list[int]:
        """``text`` behind a space, as bytes or characters that are tokens, merged while two neighbours are one.

        The best score goes first, of equal ones the leftmost. In n log n steps, where run.c takes n ** 2.
        """
        if not text:
            return []
        tokens = [t for c in _characters(b" " + text) for t in self._character(c)]
        before = list(range(-1, len(tokens) - 1))
        behind = [*range(1, len(tokens)), -1]
        alive = [True] * len(tokens)
        heap: list[tuple[float, int, int, int, int]] = []

        def offer(left: int) -> None:
            right = behind[left] if left >= 0 else -1
            if right < 0:
                return
            merged = self.ids.get(self.pieces[tokens[left]] + self.pieces[tokens[right]])
            if merged is not None:
                heapq.heappush(heap, (-self.scores[merged], left, merged, tokens[left], tokens[right]))

        for left in range(len(tokens)):
            offer(left)
        while heap:
            _, left, merged, first, second = heapq.heappop(heap)
            right = behind[left]
            if not alive[left] or right < 0 or (tokens[left], tokens[right]) != (first, second):
                continue  # one of the two was merged since
            tokens[left], alive[right], behind[left] = merged, False, behind[right]
            if behind[right] >= 0:
                before[behind[right]] = left
            offer(before[left])
            offer(left)
        return [token for token, there in zip(tokens, alive, strict=True) if there]

    def texts(self) -> tuple[bytes, ...]:
        """What each token writes; nothing for unknown, begin and end."""
        found = [bytes([int(m[1], 16)]) if (m := _BYTE.fullmatch(p)) else p for p in self.pieces]
        return tuple(b"" if i <= _LAST_SPECIAL else piece for i, piece in enumerate(found))

    def _character(self, text: bytes) -> list[int]:
        token = self.ids.get(text)
        return [token] if token is not None else [byte + _FIRST_BYTE for byte in text]


def _characters(text: bytes) -> list[bytes]:
    """Split as run.c does: a character goes on while continuation bytes of UTF-8 follow, up to four bytes."""
    found: list[bytearray] = []
    for byte in text:
        if byte & 0xC0 == 0x80 and found and len(found[-1]) < 4:
            found[-1].append(byte)
        else:
            found.append(bytearray([byte]))
    return [bytes(character) for character in found]


def read_bytepairs(data: bytes, where: str) -> BytePairs:
    """The vocabulary in the bytes of a ``tokenizer.bin``.

    Raises:
        InputError: cut short, or not of this form.
    """
    pieces: list[bytes] = []
    scores: list[float] = []
    at = 4
    while at < len(data):
        if at + 8 > len(data):
            raise InputError("cut short", where=where, hint="copy it again")
        score, length = struct.unpack_from("<fi", data, at)
        at += 8
        if not 0 <= length <= _LONGEST_PIECE or at + length > len(data) or score != score:
            raise InputError(f"token {len(pieces)} of {length} bytes: no tokenizer of llama2.c", where=where)
        pieces.append(data[at : at + length])
        scores.append(score)
        at += length
    if len(pieces) < _FIRST_BYTE + 256 or not all(_BYTE.fullmatch(p) for p in pieces[_FIRST_BYTE : _FIRST_BYTE + 256]):
        raise InputError("tokens 3 to 258 are not the single bytes: no tokenizer of llama2.c", where=where)
    ids: dict[bytes, int] = {}
    for index, piece in enumerate(pieces):
        ids.setdefault(piece, index)
    return BytePairs(tuple(pieces), tuple(scores), ids)
