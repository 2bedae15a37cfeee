"""Sparsity patterns: which weights are set to zero together.

A weight is seen as ``(Co, Ci, *kernel)``. `FAMILIES` maps the first word of a pattern to its parser;
a new kind of pattern is a file with a class that has the methods of `Pattern`, and a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgesparse.errors import InputError
from edgesparse.patterns.block import MAX_COLUMNS, ROWS, Block, parse_block, parse_slice, parse_unstructured
from edgesparse.patterns.nm import LARGEST_M, NM, parse_nm
from edgesparse.patterns.pattern import Mask, Pattern, Scores, keep_largest, zero_count
from edgesparse.patterns.taps import FEWEST, MOST, Taps, parse_taps

__all__ = [
    "FAMILIES", "NM", "ROWS", "Block", "Mask", "Pattern", "Scores", "Taps", "keep_largest", "parse_pattern",
    "with_rows", "zero_count",
]  # fmt: skip

_HEIGHTS = ", ".join(map(str, ROWS))
FAMILIES: Mapping[str, tuple[Callable[[str], Pattern | None], str]] = {
    "unstructured": (parse_unstructured, "unstructured"),
    "block": (parse_block, f"block:RxC (R output channels: {_HEIGHTS}; C input channels: 1 to {MAX_COLUMNS})"),
    "slice": (parse_slice, "slice:RxC (the same, whole kernels of a convolution)"),
    "taps": (parse_taps, f"taps:K or taps:KxR (K of the 9 positions of 3x3 kernels: {FEWEST} to {MOST}; R channels)"),
    "nm": (
        parse_nm,
        f"nm:N:M or nm:N:MxR (N of M input channels, M up to {LARGEST_M}; the same for R output channels)",
    ),
}
"""First word -> parser of what follows the colon (None: it cannot be read), and the form for messages."""


def parse_pattern(text: str) -> Pattern:
    """``"block:4x1"`` -> `Block`; surrounding spaces and upper case are accepted.

    Raises:
        InputError: an unknown pattern; the message lists those known.
    """
    family, _, arguments = text.strip().lower().partition(":")
    found = FAMILIES[family][0](arguments) if family in FAMILIES else None
    if found is None:
        known = "; ".join(form for _, form in FAMILIES.values())
        raise InputError(f"unknown pattern '{text}'", hint=f"known patterns: {known}")
    return found


def with_rows(pattern: Pattern, rows: int) -> Pattern:
    """The same pattern, shared by ``rows`` output channels: ``nm:2:4`` -> ``nm:2:4x4``, ``unstructured`` ->
    ``block:4x1``.

    Raises:
        InputError: ``rows`` is no height that patterns have.
    """
    if isinstance(pattern, NM):
        return parse_pattern(f"nm:{pattern.keep}:{pattern.group}x{rows}")
    if isinstance(pattern, Taps):
        return parse_pattern(f"taps:{pattern.keep}x{rows}")
    columns = pattern.columns if isinstance(pattern, Block) else 1
    return parse_pattern(f"{'slice' if isinstance(pattern, Block) and pattern.whole else 'block'}:{rows}x{columns}")
