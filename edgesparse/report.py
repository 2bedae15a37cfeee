"""Tables and JSON for the command line: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 200
LONGEST_NAME = 44
# What a terminal obeys, or what turns text around: names in models and words of devices may hold it.
_OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # called where it is handled; how the program then ends is not for rich to say


def stdout() -> Console:
    # a pipe has no width: what is cut off there cannot be found by grep
    return _Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, markup=False)


def stderr() -> Console:
    return _Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def harmless(text: str) -> str:
    """``text`` with nothing in it that a terminal obeys, but for line ends."""
    return _OBEYED.sub("\ufffd", text)


def harmless_text(text: str) -> str:
    """As `harmless`, for texts that may be indented by tabs."""
    return "\t".join(map(harmless, text.split("\t")))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; columns that hold only numbers (or are empty) are right-aligned."""
    table = Table(
        title=Text(harmless(title)), box=box.SIMPLE_HEAD, title_justify="left", show_edge=False, pad_edge=False
    )
    cells = [[_cell(v) for v in row] for row in rows]
    for i, column in enumerate(columns):
        number = all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        table.add_column(Text(harmless(column)), justify="right" if number and rows else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console = stdout()
    console.print(table)
    console.print()


def print_facts(title: str, facts: Mapping[str, object]) -> None:
    """Two columns without a head: what, and its value."""
    table = Table(title=Text(harmless(title)), box=None, title_justify="left", show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(harmless(name)), Text(_cell(value)))
    console = stdout()
    console.print(table)
    console.print()


def print_json(document: object) -> None:
    """One JSON document on stdout, indented; numbers that JSON lacks (NaN, infinity) become strings."""
    # elsewhere letters would be written as escapes of Python's, which are not JSON's
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(_plain(document), indent=2, ensure_ascii=not unicode)
    print(_OBEYED.sub(lambda found: json.dumps(found[0])[1:-1], text))


def note(text: str) -> None:
    stderr().print(f"note: {harmless(text)}")


def warn(text: str) -> None:
    stderr().print(f"warning: {harmless(text)}")


@contextmanager
def progress(title: str) -> Iterator[Any]:
    """Gives ``on_progress(done, total, what="")``, a bar on stderr. Quiet when stderr is not a terminal."""
    console = stderr()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=None)

        def on_progress(done: int, total: int, what: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{title} {what}".strip())

        yield on_progress


def kilobytes(count: int) -> str:
    """``123456`` -> ``123.5 kB`` (1 kB = 1000 bytes)."""
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.2f} MB"


def short(name: str) -> str:
    """The end of a long name: what converters join with semicolons is a list of all that became the node."""
    last = name.rpartition(";")[2]
    return last if len(last) <= LONGEST_NAME else f"…{last[1 - LONGEST_NAME :]}"


def shape_text(shape: Sequence[object]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return harmless(str(value))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if hasattr(value, "item"):  # a NumPy number
        return _plain(value.item())
    return str(value)
