"""docs/operators.md: its table of operators comes from the code.

``python -m edgesparse.docs docs/operators.md`` writes it again. The second table of that file, how ONNX's own
tests fare, comes from ``pytest tests/onnx_nodes --update-snapshots``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from inspect import isfunction
from pathlib import Path
from types import CodeType
from typing import Any

from edgesparse.errors import InputError
from edgesparse.kernels import table
from edgesparse.ops import CONTRACTS, OPERATORS, Operator

INTERNAL = "edgesparse"  # the domain of nodes that only our own passes make
_NO_ARITHMETIC = ("view", "assign")


def operators_markdown() -> str:
    """The table of operators: name, the C calls it becomes with their types, limits, file."""
    lines = ["| operator | kernels (types) | limits | file |", "|---|---|---|---|"]
    for (domain, name), operator in sorted(OPERATORS.items(), key=lambda item: (item[0][0] != "", item[0])):
        if domain == INTERNAL:
            continue
        full = f"{domain}::{name}" if domain else name
        file = operator.lower.__module__.replace(".", "/") + ".py"
        lines.append(
            f"| {full} | {', '.join(_kernels(operator)) or 'none'} | {operator.limits.replace('|', chr(92) + '|')} "
            f"| [{Path(file).name}](../{file}) |"
        )
    return "\n".join(lines) + "\n"


def with_section(text: str, name: str, body: str) -> str:
    """``text`` with what stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` replaced by ``body``.

    Raises:
        InputError: ``text`` has no such section.
    """
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    if not pattern.search(text):
        raise InputError(f"no section '{name}'", hint=f"put {begin.strip()} and {end} where it belongs")
    return pattern.sub(lambda _: f"{begin}\n{body}\n{end}", text)


def _kernels(operator: Operator) -> Iterator[str]:
    """``binary (f32, i32, i64)`` for every contract that ``operator.lower`` may call."""
    found = {word for word in _words(operator.lower, set()) if word in CONTRACTS and word not in _NO_ARITHMETIC}
    for op in sorted(found):
        bind = CONTRACTS[op].bind
        stems = {op} if bind is None else set(_words(bind, set()))
        types = sorted({k.dtype for k in table() if k.op == op or k.stem in stems})
        yield f"{op} ({'any' if types == ['b1', 'b4', 'b8'] else ', '.join(types)})" if types else op


def _words(function: Callable[..., Any], seen: set[object]) -> Iterator[str]:
    """The strings in the code of ``function`` and of every function of ``edgesparse.ops`` it names."""
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None or function in seen or not function.__module__.startswith("edgesparse.ops"):
        return
    seen.add(function)
    names: dict[str, Any] = getattr(function, "__globals__", {})
    for part in _codes(code):
        yield from (c for c in part.co_consts if isinstance(c, str))
        for name in part.co_names:
            if isfunction(names.get(name)):
                yield from _words(names[name], seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_section(target.read_text(), "operators", operators_markdown()))
