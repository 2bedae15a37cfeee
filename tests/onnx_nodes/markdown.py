"""The outcomes as the second table of docs/operators.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import onnx

from tests.onnx_nodes.cases import CRASHED, FAILED, PASSED, UNSUPPORTED, Outcome

_TENSOR = re.compile(r"^tensor '.*' is (\w+);.*")
_KERNEL = re.compile(r"^\w+ of ([a-z]+\d+|bool); .* supported$")
_QUOTED = re.compile(r"'[^']*' ")
_LONG = {"f32": "float", "i8": "int8", "u8": "uint8", "i32": "int32", "i64": "int64"}


def node_tests_markdown(outcomes: Sequence[Outcome]) -> str:
    """One row an operator: how many cases passed, and why the others were refused."""
    total = Counter(o.status for o in outcomes)
    frozen = sum(o.frozen for o in outcomes)
    lines = [
        f"With onnx {onnx.__version__}: {len(outcomes)} cases, {total[PASSED]} passed ({frozen} of them frozen), "
        f"{total[UNSUPPORTED]} unsupported, {total[FAILED]} failed, {total[CRASHED]} crashed.",
        "",
        "| operator | passed | frozen | unsupported | why |",
        "|---|---:|---:|---:|---|",
    ]
    for operator in sorted({o.operator for o in outcomes}, key=lambda name: (" " in name, name)):
        own = [o for o in outcomes if o.operator == operator]
        count = Counter(o.status for o in own)
        lines.append(
            f"| {operator} | {count[PASSED]} | {sum(o.frozen for o in own) or ''} | {count[UNSUPPORTED] or ''} "
            f"| {_why(own)} |"
        )
    return "\n".join(lines) + "\n"


def onnx_version(text: str) -> str:
    """The version of onnx whose cases ``text`` counts; empty when it holds no table."""
    found = re.search(r"^With onnx (\S+): ", text, re.M)
    return found[1] if found else ""


def _why(outcomes: Sequence[Outcome]) -> str:
    reasons = Counter(_short(o.reason) for o in outcomes if o.status == UNSUPPORTED)
    types = [r.removeprefix("type ") for r in reasons if r.startswith("type ")]
    listed = [f"types {', '.join(types)}"] if types else []
    listed += [f"{r} ({n})" if n > 1 else r for r, n in reasons.items() if not r.startswith("type ")]
    return "; ".join(listed).replace("|", "\\|")


def _short(reason: str) -> str:
    """Without what differs from case to case in otherwise equal reasons."""
    if found := _TENSOR.match(reason):
        return f"type {found[1].lower()}"
    if found := _KERNEL.match(reason):
        return f"type {_LONG.get(found[1], found[1])}"
    return _QUOTED.sub("", reason)
