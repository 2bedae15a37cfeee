"""weights.bin as it is written: array after array, so that large models need no second copy in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgesparse.errors import InputError
from edgesparse.types import Array

ALIGN_BYTES = 64


class Blob:
    """A file of arrays, each at a multiple of 64 bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._file = path.open("wb")
        self._digest = hashlib.sha256()

    def add(self, array: Array) -> int:
        """Append; returns the offset. Raises InputError where the disk is full."""
        at, data = self.bytes, np.ascontiguousarray(array)
        self._write(data.reshape(-1).view(np.uint8).data)
        self._write(memoryview(bytes(-self.bytes % ALIGN_BYTES)))
        return at

    def close(self) -> str:
        """No more arrays; the SHA-256 of all, in hexadecimal."""
        self._file.close()
        return self._digest.hexdigest()

    def _write(self, data: memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise InputError(
                f"could not be written: {error.strerror or error}", where=str(self.path),
                hint="free some space there: the weights are written beside the bundle first",
            ) from error  # fmt: skip
        self._digest.update(data)
        self.bytes += data.nbytes
