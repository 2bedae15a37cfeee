"""Kernels as assembly text, with the flags of the build, and the loops in it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgesparse.build import COMMON_FLAGS, RUNTIME_C, compiler_version, zig
from edgesparse.errors import InputError
from edgesparse.kernels import COMMON, ISAS, flags, included_text
from edgesparse.places import cache_dir
from edgesparse.types import Kernel
from edgesparse.workspace import workspace

TRIPLES = {"x86_64": "x86_64-linux-gnu.2.17", "aarch64": "aarch64-linux-musl"}
"""Architectures with registers to look at; WebAssembly has none, its engine allocates them."""

_BRANCH = re.compile(r"^(?:b|b\.\w+|cbn?z|tbn?z|j\w+)\s.*?(\.L\w+)$")
_MULTIPLY_ADD = {
    "x86_64": re.compile(r"^(?:vfmadd\w+|v?mul[ps]s)\b"),  # without FMA a multiplication stands for both
    "aarch64": re.compile(r"^(?:fmla|fmadd)\b"),
}
_DOT = re.compile(r"^sdot v\d+\.4s\b")
_BYTES = re.compile(r"^(?:sdot v\d+\.4s|sm(?:ull|lal)2? v\d+\.8h)\b")
_WHOLE = {"x86_64": re.compile(r"^\w+ps\b"), "aarch64": re.compile(r"^fmla v\d+\.(?:4s|8h)\b")}
_VECTOR = {"x86_64": re.compile(r"%[xyz]mm\d"), "aarch64": re.compile(r"\b[qdshv]\d+(?:\.\d+[bhsd])?\b")}
_COMMENT = {"x86_64": re.compile(r"\s*#.*"), "aarch64": re.compile(r"\s*//.*")}
_STACK = {"x86_64": re.compile(r"\(%(?:rsp|(rbp))\b"), "aarch64": re.compile(r"\[(?:sp|(x29))\b")}
_FRAME = {"x86_64": re.compile(r"^movq\s+%rsp, %rbp$"), "aarch64": re.compile(r"^(?:mov|add)\s+x29, sp\b")}


@dataclass(frozen=True, slots=True)
class Loop:
    """An innermost loop: ``instructions`` from its label to the branch back.

    ``framed``: the frame pointer of its function points to the stack, and is not a register like any other.
    ``skipped``: which of them lie between a branch forward and where it goes.
    """

    function: str
    architecture: str
    instructions: tuple[str, ...]
    framed: bool
    skipped: frozenset[int] = frozenset()

    @property
    def shortest(self) -> Loop:
        """Without the instructions that a branch forward skips, if all of these are taken."""
        left = tuple(text for i, text in enumerate(self.instructions) if i not in self.skipped)
        return replace(self, instructions=left, skipped=frozenset())

    @property
    def byte_products(self) -> int:
        """Products of two bytes in a round, on arm64: 16 of ``sdot``, 8 of a multiplication that widens."""
        return sum(16 if _DOT.match(text) else 8 for text in self.instructions if _BYTES.match(text))

    @property
    def multiply_adds(self) -> int:
        """Instructions that multiply and add vectors (or single floats)."""
        return sum(bool(_MULTIPLY_ADD[self.architecture].match(text)) for text in self.instructions)

    @property
    def whole_vectors(self) -> int:
        """Those of `multiply_adds` that fill a vector: not one float, nor half a register of NEON."""
        return sum(
            bool(_MULTIPLY_ADD[self.architecture].match(text) and _WHOLE[self.architecture].match(text))
            for text in self.instructions
        )

    @property
    def spills(self) -> tuple[str, ...]:
        """Instructions that have vector registers and memory on the stack as operands."""
        return tuple(text for text in self.instructions if self._on_stack(text) and self._is_vector(text))

    def _on_stack(self, text: str) -> bool:
        found = _STACK[self.architecture].search(text)
        return found is not None and (self.framed or found[1] is None)

    def _is_vector(self, text: str) -> bool:
        return _VECTOR[self.architecture].search(text) is not None


def compile_assembly(kernel: Kernel) -> str:
    """The assembly text of ``kernel``, compiled once per text and flags.

    Raises:
        InputError: a kernel for an architecture without registers (see TRIPLES).
        BuildError: the compiler refused it.
    """
    isa = ISAS[kernel.isa]
    if isa.architecture not in TRIPLES:
        raise InputError(f"{isa.architecture} has no registers to look at", where=kernel.symbol)
    defines = {"ES_SUFFIX": kernel.symbol.removeprefix(f"es_{kernel.stem}"), "ES_VL": isa.width, **kernel.tiles}
    options = [
        "-target", TRIPLES[isa.architecture], "-fPIC", *COMMON_FLAGS, *flags(kernel),
        *(f"-D{key}={value}" for key, value in defines.items()),
        "-S", "-Wno-unused-command-line-argument",  # zig adds -c
    ]  # fmt: skip
    key = hashlib.sha256("\0".join([compiler_version(), *options, included_text(kernel.source)]).encode()).hexdigest()
    out = cache_dir() / "assembly" / f"{kernel.symbol}-{key[:32]}.s"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with workspace(out.parent) as scratch:
            fresh = scratch / "kernel.s"
            includes = [f"-I{folder}" for folder in (Path(COMMON), RUNTIME_C)]
            zig("cc", [*options, *includes, kernel.source, "-o", fresh], scratch)
            os.replace(fresh, out)
    return out.read_text()


def hot_loops(kernel: Kernel) -> list[Loop]:
    """The innermost loops with the most multiply-adds of whole vectors; there are several where a loop has variants.

    Loops for the few pixels of planes smaller than a vector are not hot, even where they multiply more often.

    Raises:
        InputError: there is no loop with any.
    """
    found = list(loops(compile_assembly(kernel), ISAS[kernel.isa].architecture))
    found.sort(key=lambda loop: (-loop.whole_vectors, -loop.multiply_adds, len(loop.instructions)))
    if not found or not found[0].multiply_adds:
        raise InputError(
            "no loop with multiply-adds in its assembly", where=kernel.symbol,
            hint="does bench/assembly.py know the multiply-adds of this instruction set?",
        )  # fmt: skip
    best = (found[0].whole_vectors, found[0].multiply_adds)
    return [loop for loop in found if (loop.whole_vectors, loop.multiply_adds) == best]


def loops(assembly: str, architecture: str) -> Iterator[Loop]:
    """Every innermost loop: from a label to a later branch back to it, with no such pair inside."""
    for name, lines in _functions(assembly, architecture):
        labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
        pairs = []
        for i, line in enumerate(lines):
            found = _BRANCH.match(line)
            if found and labels.get(found[1], i) < i:
                pairs.append((labels[found[1]], i))
        framed = any(_FRAME[architecture].match(line) for line in lines)
        for first, last in pairs:
            inside = [p for p in pairs if p != (first, last) and first <= p[0] and p[1] <= last]
            if not inside:
                between = {
                    k for i in range(first, last + 1)
                    if (branch := _BRANCH.match(lines[i])) and i < labels.get(branch[1], i) <= last
                    for k in range(i + 1, labels[branch[1]])
                }  # fmt: skip
                body = [(k, lines[k]) for k in range(first, last + 1) if not lines[k].endswith(":")]
                skipped = frozenset(i for i, (k, _) in enumerate(body) if k in between)
                yield Loop(name, architecture, tuple(text for _, text in body), framed, skipped)


def _functions(assembly: str, architecture: str) -> Iterator[tuple[str, list[str]]]:
    """(name, lines without comments and directives) of every function."""
    name, lines = "", list[str]()
    for raw in assembly.splitlines():
        line = re.sub(r"\s+", " ", _COMMENT[architecture].sub("", raw)).strip()
        if not line or (line.startswith(".") and not line.endswith(":")):
            continue
        if line.endswith(":") and not line.startswith("."):
            if lines:
                yield name, lines
            name, lines = line[:-1], []
        else:
            lines.append(line)
    if lines:
        yield name, lines
