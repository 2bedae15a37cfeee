"""Time over sparsity of each layer and pattern as an SVG, written by hand: one panel a layer, and all together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from edgesparse.plot import COLOURS, DASHES, text
from edgesparse.report import shape_text, short
from edgesparse.sparsity.whatif import Curve, WhatIf, WhatIfLayer

PANEL_WIDTH, PANEL_HEIGHT, COLUMNS, TOP = 320, 230, 3, 76
LEFT, RIGHT, UPPER, LOWER = 52, 304, 34, 190  # of the axes in a panel
LINES = COLOURS[1:]  # black is for the axes
_Panel = tuple[str, float, Mapping[str, Curve], Mapping[str, float | None]]
"""Title, the dense time, curves by pattern, and from where on each pays."""


def svg(found: WhatIf, title: str) -> str:
    """One document: all layers together first, then each; layers with the same curves share a panel."""
    patterns = list(dict.fromkeys(p for layer in found.layers for p in layer.curves))
    dense_us = sum(layer.dense_us for layer in found.layers)
    together = {p: found.total(p) for p in patterns}
    panels: list[_Panel] = [("all layers that can be pruned", dense_us, together, {})]
    for group in _alike(found.layers):
        first = group[0]
        name = f"{len(group)} layers like {short(first.layer)}" if len(group) > 1 else short(first.layer)
        crossings = {p: first.break_even(p) for p in first.curves}
        panels.append((f"{name} ({shape_text(first.shape)})", first.dense_us, first.curves, crossings))
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * PANEL_WIDTH, TOP + rows * PANEL_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(16, 24, f"{title} on {found.device}: time over sparsity, {found.source}", size=16),
        *_legend(patterns),
    ]
    for number, (name, dense, lines, pays) in enumerate(panels):
        x, y = number % COLUMNS * PANEL_WIDTH, TOP + number // COLUMNS * PANEL_HEIGHT
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _panel(name, dense, {p: lines[p] for p in patterns if p in lines}, patterns, pays)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def html(found: WhatIf, title: str) -> str:
    """The same as a page that needs nothing else."""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}: time over sparsity</title>\n"
        f'<body style="margin:0 auto;max-width:1200px">\n{svg(found, title)}</body>\n</html>\n'
    )


def _alike(layers: Sequence[WhatIfLayer]) -> list[list[WhatIfLayer]]:
    """Layers of one shape whose times differ by less than 2% are one group: the same layer, with other weights."""
    groups: list[list[WhatIfLayer]] = []
    for layer in layers:
        home = next((group for group in groups if _same(group[0], layer)), None)
        if home is None:
            groups.append([layer])
        else:
            home.append(layer)
    return groups


def _same(one: WhatIfLayer, other: WhatIfLayer) -> bool:
    if one.shape != other.shape or one.curves.keys() != other.curves.keys():
        return False
    pairs = [(curve[s], other.curves[p].get(s, math.inf)) for p, curve in one.curves.items() for s in curve]
    return all(math.isclose(a, b, rel_tol=0.02) for a, b in [(one.dense_us, other.dense_us), *pairs])


def _panel(
    name: str, dense_us: float, curves: Mapping[str, Curve], patterns: Sequence[str],
    crossings: Mapping[str, float | None],
) -> list[str]:  # fmt: skip
    top = 1.08 * max([dense_us, *(us for curve in curves.values() for us in curve.values())], default=1.0) or 1.0

    def place(share: float, us: float) -> str:
        return f"{LEFT + share * (RIGHT - LEFT):.1f},{LOWER - us / top * (LOWER - UPPER):.1f}"

    def at(share: float, us: float) -> str:
        x, y = place(share, us).split(",")
        return f'cx="{x}" cy="{y}"'

    parts = [text(LEFT - 40, 18, name, size=12)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = LEFT + share * (RIGHT - LEFT)
        parts.append(f'<line x1="{x:.1f}" y1="{UPPER}" x2="{x:.1f}" y2="{LOWER}" stroke="#eee"/>')
        parts.append(text(x, LOWER + 14, f"{share:g}", anchor="middle", size=10))
    for part in (0.0, 0.5, 1.0):
        y = LOWER - dense_us * part / top * (LOWER - UPPER)
        parts.append(text(LEFT - 4, y + 3, _time(dense_us * part), anchor="end", size=10))
    parts.append(f'<line x1="{LEFT}" y1="{LOWER}" x2="{RIGHT}" y2="{LOWER}" stroke="#444"/>')
    dense, ideal = f"{place(0, dense_us)} {place(1, dense_us)}", f"{place(0, dense_us)} {place(1, 0)}"
    parts.append(f'<polyline points="{dense}" fill="none" stroke="#444" stroke-width="1"/>')
    parts.append(f'<polyline points="{ideal}" fill="none" stroke="#999" stroke-width="1" stroke-dasharray="3 3"/>')
    for pattern, curve in curves.items():
        points = " ".join(place(share, curve[share]) for share in sorted(curve))
        parts.append(f'<polyline points="{points}" {_style(patterns.index(pattern))}/>')
        for share, us in sorted(curve.items()):
            if share:
                tip = escape(f"{pattern} {share:g}: {_time(us)}, {dense_us / us:.2f} times as fast as dense")
                colour = LINES[patterns.index(pattern) % len(LINES)]
                parts.append(f'<circle {at(share, us)} r="2.5" fill="{colour}"><title>{tip}</title></circle>')
        crossing = crossings.get(pattern)
        if crossing is not None:
            colour, tip = LINES[patterns.index(pattern) % len(LINES)], f"{pattern} pays from {crossing:.2f} on"
            parts.append(
                f'<circle {at(crossing, dense_us)} r="4" fill="white" stroke="{colour}" stroke-width="1.5">'
                f"<title>{escape(tip)}</title></circle>"
            )
    return parts


def _legend(patterns: Sequence[str]) -> list[str]:
    parts: list[str] = []
    x = 16
    lines = [(pattern, _style(i)) for i, pattern in enumerate(patterns)]
    lines += [("dense", 'stroke="#444"'), ("ideal: dense × (1 − sparsity)", 'stroke="#999" stroke-dasharray="3 3"')]
    for words, style in lines:
        parts.append(f'<line x1="{x}" y1="48" x2="{x + 30}" y2="48" {style}/>')
        parts.append(text(x + 36, 52, words))
        x += 50 + 7 * len(words)
    parts.append(f'<circle cx="{x + 6}" cy="48" r="4" fill="white" stroke="#444" stroke-width="1.5"/>')
    parts.append(text(x + 16, 52, "from here on it beats dense"))
    return parts


def _style(number: int) -> str:
    dash = DASHES[number % len(DASHES)]
    colour = LINES[number % len(LINES)]
    return f'fill="none" stroke="{colour}" stroke-width="1.6"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _time(us: float) -> str:
    return f"{us / 1000:.3g} ms" if us >= 1000 else f"{us:.3g} µs"
