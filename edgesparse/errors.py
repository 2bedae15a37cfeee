"""The one family of exceptions. Each says what is wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence


class EdgeSparseError(Exception):
    """Something the user can act on.

    Args:
        what: one sentence, lower case, without a final full stop.
        where: file, node or shape the sentence is about.
        hint: the next command or change to try.

    ``exit_code`` is what the command line ends with (0 ok, 2 bad usage or bad input file,
    3 unsupported operator, 4 device or runtime problem, 5 a gate failed).
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class InputError(EdgeSparseError, ValueError):
    """A file, shape, option or array the user gave cannot be used (exit code 2)."""


class UnsupportedError(EdgeSparseError):
    """The model holds operators we cannot compile; ``problems`` lists all of them (exit code 3)."""

    exit_code = 3

    def __init__(self, problems: Sequence[EdgeSparseError], *, where: str = "") -> None:
        self.problems = tuple(problems)
        noun = "node is" if len(self.problems) == 1 else "nodes are"
        super().__init__(f"{len(self.problems)} {noun} not supported", where=where)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"- {p}" for p in self.problems)])


class RuntimeFailure(EdgeSparseError):
    """A device or an engine is missing or failed (exit code 4)."""

    exit_code = 4


class GateError(EdgeSparseError):
    """A tolerance, a limit or a regression gate was not met (exit code 5)."""

    exit_code = 5


class BuildError(EdgeSparseError):
    """The C compiler refused our own output: a bug of ours, with the compiler's words."""

    exit_code = 1
