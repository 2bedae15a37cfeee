"""What plots of lines as SVG, written by hand, have in common: text, colours, dashes, round numbers."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

DASHES = ("", "7 3", "2 3", "9 3 2 3", "1 4")
# our own first, which is also the widest; then Okabe and Ito's palette, which colour-blind people can tell apart
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00")


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def round_up(value: float) -> float:
    """To 1, 1.5, 2, 2.5, 3, 4, 5, 6 or 8 times a power of ten: the fifths of it are short numbers."""
    power = 10.0 ** math.floor(math.log10(value))
    step = next((s for s in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if s * power >= value), 10)
    return float(step * power)
