"""Latency or accuracy over sparsity as an SVG, written by hand.

Latency: colours are engines, dashes are patterns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from edgesparse.plot import COLOURS, DASHES
from edgesparse.plot import round_up as _round_up
from edgesparse.plot import text as _text

WIDTH, HEIGHT = 900, 460
LEFT, TOP, RIGHT, BOTTOM = 60, 40, 640, 400  # of the axes; the legend is right of them
SLOWEST = 3.0  # a line above so many times our dense latency is named, not drawn: it would flatten all others

Line = Mapping[float, float]  # sparsity -> ms, or percent


def svg(
    title: str, lines: Mapping[tuple[str, str], Line], ideal_from_ms: float | None, unit: str = "ms",
    axis: str = "sparsity of the pruned layers",
) -> str:  # fmt: skip
    """``lines``: (what has a colour, what has a dash) -> its points, at least one, in ``unit``.

    ``ideal_from_ms``: the dense latency from which 1/density is drawn; None: no such line.
    """
    limit = SLOWEST * (ideal_from_ms or min((min(line.values()) for line in lines.values()), default=1.0))
    if unit != "ms":
        limit = math.inf
    drawn = {key: line for key, line in lines.items() if max(line.values()) <= limit}
    left_out = [f"{e} {p}: {max(line.values()):.0f} ms" for (e, p), line in lines.items() if (e, p) not in drawn]
    top_ms = _round_up(max((max(line.values()) for line in drawn.values()), default=1.0) * 1.05)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=15),
        *_axes(top_ms, unit, axis),
    ]
    if ideal_from_ms is not None:
        ends = _points({0.0: ideal_from_ms, 1.0: 0.0}, top_ms)
        parts.append(f'<polyline points="{ends}" fill="none" stroke="#888" stroke-width="1"/>')
    engines = list(dict.fromkeys(engine for engine, _ in drawn))
    patterns = list(dict.fromkeys(pattern for _, pattern in drawn))
    for (engine, pattern), line in drawn.items():
        style = _style(engines.index(engine), patterns.index(pattern))
        parts.append(f'<polyline points="{_points(line, top_ms)}" {style}/>')
        for share, ms in line.items():
            x, y = _place(share, ms, top_ms)
            colour = COLOURS[engines.index(engine) % len(COLOURS)]
            tip = escape(f"{engine} {pattern} {share:g}: {ms:.2f} {unit}")
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"><title>{tip}</title></circle>')
    parts += _legend(engines, patterns, ideal_from_ms is not None, left_out)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _style(engine: int, pattern: int) -> str:
    dash = DASHES[pattern % len(DASHES)]
    return (
        f'fill="none" stroke="{COLOURS[engine % len(COLOURS)]}" stroke-width="{2 if engine == 0 else 1.2}"'
        + (f' stroke-dasharray="{dash}"' if dash else "")
    )  # fmt: skip


def _place(share: float, ms: float, top_ms: float) -> tuple[float, float]:
    return LEFT + share * (RIGHT - LEFT), BOTTOM - ms / top_ms * (BOTTOM - TOP)


def _points(line: Line, top_ms: float) -> str:
    places = [_place(share, line[share], top_ms) for share in sorted(line)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _axes(top_ms: float, unit: str, axis: str) -> list[str]:
    parts = []
    for i in range(6):
        ms = top_ms * i / 5
        y = _place(0, ms, top_ms)[1]
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{ms:g}", anchor="end"))
    for i in range(0, 11, 2):
        x = _place(i / 10, 0, top_ms)[0]
        parts.append(f'<line x1="{x:.1f}" y1="{BOTTOM}" x2="{x:.1f}" y2="{BOTTOM + 4}" stroke="#444"/>')
        parts.append(_text(x, BOTTOM + 18, f"{i / 10:g}", anchor="middle"))
    parts.append(f'<line x1="{LEFT}" y1="{BOTTOM}" x2="{RIGHT}" y2="{BOTTOM}" stroke="#444"/>')
    parts.append(_text((LEFT + RIGHT) / 2, BOTTOM + 38, axis, anchor="middle"))
    parts.append(_text(LEFT - 6, TOP - 8, unit, anchor="end"))
    return parts


def _legend(engines: Sequence[str], patterns: Sequence[str], ideal: bool, left_out: Sequence[str]) -> list[str]:
    parts, x, y = [], RIGHT + 24, TOP + 10
    for i, engine in enumerate(engines):
        parts += [f'<line x1="{x}" y1="{y - 4}" x2="{x + 34}" y2="{y - 4}" {_style(i, 0)}/>', _text(x + 42, y, engine)]
        y += 18
    y += 8
    for i, pattern in enumerate(patterns):
        style = _style(0, i)
        parts += [f'<line x1="{x}" y1="{y - 4}" x2="{x + 34}" y2="{y - 4}" {style}/>', _text(x + 42, y, pattern)]
        y += 18
    if ideal:
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 34}" y2="{y - 4}" stroke="#888"/>')
        parts.append(_text(x + 42, y, "ideal: dense × (1 − sparsity)"))
        y += 18
    if left_out:
        y += 8
        parts.append(_text(x, y, "slower than this picture:"))
        for line in left_out[:8]:
            y += 16
            parts.append(_text(x, y, line, size=11))
    return parts
