"""docs/operators.md: its table of operators comes from the code.

``python -m edgesparse.docs docs/operators.md`` writes it again. The second table of that file, how ONNX's own
tests fare, comes from ``pytest tests/onnx_nodes --update-snapshots``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from edgesparse.errors import InputError
from edgesparse.kernels import table
from edgesparse.ops import OPERATORS

INTERNAL = "edgesparse"  # the domain of nodes that only our own passes make
_BYTES = {"b1", "b4", "b8"}  # kernels that move elements of so many bytes, whatever they are


def operators_markdown() -> str:
    """The table of operators: name, the kernels it may run with their types, limits, file."""
    lines = ["| operator | kernels (types) | limits | file |", "|---|---|---|---|"]
    for (domain, name), operator in sorted(OPERATORS.items(), key=lambda item: (item[0][0] != "", item[0])):
        if domain == INTERNAL:
            continue
        full = f"{domain}::{name}" if domain else name
        file = operator.lower.__module__.replace(".", "/") + ".py"
        lines.append(
            f"| {full} | {', '.join(map(kernel_types, operator.kernels)) or 'none'} "
            f"| {operator.limits.replace('|', chr(92) + '|')} | [{Path(file).name}](../{file}) |"
        )
    return "\n".join(lines) + "\n"


def kernel_types(name: str) -> str:
    """``binary (f32, i32, i64)``: the types that the kernel table has ``name`` for. Raises KeyError for none."""
    types = {kernel.dtype for kernel in table() if kernel.op == name}
    if not types:
        raise KeyError(f"an operator names the kernel '{name}', which is not in the table")
    return f"{name} ({'any' if types >= _BYTES else ', '.join(sorted(types))})"


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


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_section(target.read_text(), "operators", operators_markdown()))
