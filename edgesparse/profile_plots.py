"""Pictures of a `Profile` as SVG, written by hand: bars of layers, and the roofline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from edgesparse.plot import COLOURS, text
from edgesparse.profile import Profile
from edgesparse.report import short
from edgesparse.roof import Roof
from edgesparse.spread import plain

WIDTH, BAR, NAMES = 900, 20, 330
LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 64, 700, 40, 300, 350


def bars(profiles: Sequence[Profile]) -> str:
    """The median of every layer, those of a second profile below those of the first."""
    names = list(dict.fromkeys(x.name for p in profiles for x in p.layers))
    times = [{x.name: x for x in p.layers} for p in profiles]
    longest = max((x.us.median for p in profiles for x in p.layers), default=1.0) or 1.0
    parts, y = [], 24
    for name in names:
        parts.append(text(NAMES - 8, y + BAR * len(times) / 2 + 2, short(name), anchor="end"))
        for number, found in enumerate(times):
            if (layer := found.get(name)) is not None:
                width = max((WIDTH - NAMES - 110) * layer.us.median / longest, 1.0)
                tip = escape(f"{layer.name}: {layer.kernel}, {plain(layer.us.median)} us, {layer.share:.1%}")
                parts.append(
                    f'<rect x="{NAMES}" y="{y}" width="{width:.1f}" height="{BAR - 4}" fill="{colour(number)}">'
                    f"<title>{tip}</title></rect>"
                )
                words = f"{plain(layer.us.median)} us, {layer.share:.1%}"
                parts.append(text(NAMES + width + 6, y + 12, words, size=11))
            y += BAR
        y += 4
    legend = [
        part for i, p in enumerate(profiles) for part in
        (f'<rect x="{NAMES + 260 * i}" y="4" width="10" height="10" fill="{colour(i)}"/>',
         text(NAMES + 16 + 260 * i, 13, p.bundle.rpartition("/")[2]))
    ]  # fmt: skip
    return svg(y + 8, [*legend, *parts])


def roofline(profiles: Sequence[Profile], roofs: Sequence[Roof]) -> str:
    """GFLOP/s over operations per byte, both logarithmic, below ``roofs``."""
    dots = [(i, x, 2 * x.macs / x.bytes) for i, p in enumerate(profiles) for x in p.layers if x.gflops and x.bytes]
    if not dots:
        return ""
    speeds = [x.gflops for _, x, _ in dots] + [roof.gflops for roof in roofs]
    low_x, high_x = _decades([at for _, _, at in dots])
    low_y, high_y = _decades(speeds)

    def place(at: float, speed: float) -> tuple[float, float]:
        x = (math.log10(at) - low_x) / (high_x - low_x)
        y = (math.log10(speed) - low_y) / (high_y - low_y)
        return LEFT + x * (RIGHT - LEFT), BOTTOM - y * (BOTTOM - TOP)

    parts = [text(LEFT, 20, "GFLOP/s over operations per byte of weights, inputs and outputs", size=14)]
    for power in range(low_x, high_x + 1):
        x, _ = place(10.0**power, 10.0**low_y)
        parts += [line(x, TOP, x, BOTTOM), text(x, BOTTOM + 18, f"{10.0**power:g}", anchor="middle")]
    for power in range(low_y, high_y + 1):
        _, y = place(10.0**low_x, 10.0**power)
        parts += [line(LEFT, y, RIGHT, y), text(LEFT - 6, y + 4, f"{10.0**power:g}", anchor="end")]
    for roof in roofs:
        peak, bandwidth = roof.gflops, roof.gbs
        limits = [10.0**low_x, min(max(peak / bandwidth, 10.0**low_x), 10.0**high_x), 10.0**high_x]
        points = [place(at, max(min(peak, bandwidth * at), 10.0**low_y)) for at in limits]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="#444" stroke-width="1.5"/>')
        parts.append(text(RIGHT, points[-1][1] - 6, str(roof), anchor="end", size=11))
    for number, layer, at in dots:
        x, y = place(at, max(layer.gflops, 10.0**low_y))
        tip = escape(f"{layer.name}: {layer.gflops:.4g} GFLOP/s, {plain(layer.us.median)} us")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 12 * math.sqrt(layer.share):.1f}" fill="{colour(number)}" '
            f'fill-opacity="0.5"><title>{tip}</title></circle>'
        )
    return svg(HEIGHT, parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten around all of them, at least one apart."""
    low = math.floor(math.log10(min(v for v in values if v > 0)))
    return low, max(math.ceil(math.log10(max(values))), low + 1)


def colour(number: int) -> str:
    return COLOURS[1:][number % (len(COLOURS) - 1)]


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def svg(height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">'
    return "\n".join([head, *parts, "</svg>"])
