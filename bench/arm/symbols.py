"""The functions of a static 64-bit ELF program."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from edgesparse.errors import InputError

_SYMTAB, _FUNCTION = 2, 2


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """A function: ``size`` in bytes."""

    address: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Program:
    """``functions`` sorted by address."""

    functions: tuple[Symbol, ...]

    def function(self, name: str) -> Symbol:
        """Raises InputError when there is none."""
        for symbol in self.functions:
            if symbol.name == name:
                return symbol
        raise InputError(f"the program has no function {name}", hint="this is a bug in bench/arm; please report it")

    def at(self, address: int) -> str:
        """The name of the function that ``address`` lies in; "" outside of all."""
        index = bisect_right(self.functions, address, key=lambda s: s.address) - 1
        found = self.functions[index] if index >= 0 else None
        return found.name if found and address < found.address + found.size else ""


def read_program(path: Path) -> Program:
    """The symbol table of ``path``, which must not be stripped.

    Raises:
        InputError: not a little-endian 64-bit ELF file, or one without symbols.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise InputError("not a little-endian 64-bit ELF file", where=str(path), hint="link an arm64 program")
    (table,), (entry, count) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQII", data, table + i * entry) for i in range(count)]
    functions = []
    for _, kind, _, _, offset, size, link, _ in headers:
        if kind != _SYMTAB:
            continue
        names = headers[link][4]
        for at in range(offset, offset + size, 24):
            name, info, _, _, address, length = struct.unpack_from("<IBBHQQ", data, at)
            if info & 15 == _FUNCTION and length:
                end = data.index(b"\0", names + name)
                functions.append(Symbol(address, length, data[names + name : end].decode()))
    if not functions:
        raise InputError("the program has no symbols", where=str(path), hint="link it without -s")
    return Program(tuple(sorted(functions)))
