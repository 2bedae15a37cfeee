"""A `Sweep` as SVG: colours are patterns, dashes methods, thin lines random masks."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from edgesparse.plot import COLOURS, DASHES, text
from edgesparse.sparsity.knee import LOSS
from edgesparse.sparsity.sweep import RANDOM, Curve, Sweep

WIDTH, HEIGHT = 920, 470
LEFT, TOP, RIGHT, BOTTOM = 62, 44, 640, 410  # of the axes; the legend is right of them
LETTERS = 60


def svg(title: str, sweep: Sweep) -> str:
    """The values over the sparsity asked for, with the 1% point (ring) and the knee (square) of each line."""
    return _Plot(sweep).svg(title)


class _Plot:
    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        values = [sweep.dense, *(p.value for c in sweep.curves for p in c.points)]
        share = all(0 <= v <= 1 for v in values)
        self.low, self.high = (0.0, 1.0) if share else (min(values), max(values) + (max(values) == min(values)))
        self.percent = share and sweep.metric in ("top1", "agreement")
        self.patterns = list(dict.fromkeys(c.pattern for c in sweep.curves))
        self.methods = [m for m in dict.fromkeys(c.method for c in sweep.curves) if m != RANDOM]

    def svg(self, title: str) -> str:
        shown = title if len(title) <= LETTERS else f"…{title[1 - LETTERS :]}"
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
                text(LEFT, 22, shown, size=15), *self._axes(), *self._dense(),
                *(part for curve in self.sweep.curves for part in self._curve(curve)), *self._legend(), "</svg>", "",
            )
        )  # fmt: skip

    def _place(self, sparsity: float, value: float) -> tuple[float, float]:
        up = (value - self.low) / (self.high - self.low)
        return LEFT + sparsity * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)

    def _axes(self) -> list[str]:
        parts = []
        for i in range(6):
            value = self.low + (self.high - self.low) * i / 5
            y = self._place(0, value)[1]
            parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(text(LEFT - 6, y + 4, f"{100 * value:g}" if self.percent else f"{value:.3g}", anchor="end"))
        for i in range(0, 11, 2):
            x = self._place(i / 10, self.low)[0]
            parts.append(f'<line x1="{x:.1f}" y1="{BOTTOM}" x2="{x:.1f}" y2="{BOTTOM + 4}" stroke="#444"/>')
            parts.append(text(x, BOTTOM + 18, f"{i / 10:g}", anchor="middle"))
        parts.append(f'<line x1="{LEFT}" y1="{BOTTOM}" x2="{RIGHT}" y2="{BOTTOM}" stroke="#444"/>')
        middle = (LEFT + RIGHT) / 2
        parts.append(text(middle, BOTTOM + 38, "sparsity of the pruned layers, without retraining", anchor="middle"))
        what = f"{self.sweep.metric}{', %' if self.percent else ''}, of {self.sweep.samples} samples"
        parts.append(text(LEFT - 40, TOP - 8, what))
        return parts

    def _dense(self) -> list[str]:
        """The dense value, and a band of one standard error around it."""
        y = self._place(0, self.sweep.dense)[1]
        parts = [f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#888" stroke-width="1"/>']
        if self.sweep.standard_error:
            top = self._place(0, min(self.sweep.dense + self.sweep.standard_error, self.high))[1]
            bottom = self._place(0, max(self.sweep.dense - self.sweep.standard_error, self.low))[1]
            box = f'x="{LEFT}" y="{top:.1f}" width="{RIGHT - LEFT}" height="{bottom - top:.1f}"'
            parts.insert(0, f'<rect {box} fill="#eee"/>')
        return parts

    def _colour(self, pattern: str) -> str:
        return COLOURS[self.patterns.index(pattern) % len(COLOURS)]

    def _style(self, pattern: str, method: str) -> str:
        dash = "1 3" if method == RANDOM else DASHES[self.methods.index(method) % len(DASHES)]
        width = 1.2 if method == RANDOM else 1.8
        style = f'fill="none" stroke="{self._colour(pattern)}" stroke-width="{width}"'
        return style + (f' stroke-dasharray="{dash}"' if dash else "")

    def _curve(self, curve: Curve) -> list[str]:
        colour, parts = self._colour(curve.pattern), []
        places = [self._place(p.sparsity, p.value) for p in curve.points]
        if len(places) > 1:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{points}" {self._style(curve.pattern, curve.method)}/>')
        for point, (x, y) in zip(curve.points, places, strict=True):
            tip = f"{curve.pattern} {curve.method} {point.sparsity:g}: {point.value:.4g}"
            solid = colour if curve.method != RANDOM else "white"
            radius = 2.5 if len(places) > 1 else 4.5
            circle = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{solid}" stroke="{colour}"'
            parts.append(f"<circle {circle}>{_title(tip)}</circle>")
        if curve.method != RANDOM:
            by_sparsity = {p.sparsity: at for p, at in zip(curve.points, places, strict=True)}
            if curve.s_1pct is not None and curve.s_1pct > 0:
                x, y = by_sparsity[curve.s_1pct]
                ring = f'cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="{colour}" stroke-width="1.5"'
                parts.append(f"<circle {ring}>{_title(f'1% point: {curve.s_1pct:g}')}</circle>")
            if curve.s_knee is not None:
                x, y = by_sparsity[curve.s_knee]
                box = f'x="{x - 5.5:.1f}" y="{y - 5.5:.1f}" width="11" height="11" fill="none" stroke="{colour}"'
                parts.append(f'<rect {box} stroke-width="1.5">{_title(f"knee: {curve.s_knee:g}")}</rect>')
        return parts

    def _legend(self) -> list[str]:
        parts: list[str] = []
        x, y = RIGHT + 24, TOP + 10
        for curve in self.sweep.curves:
            if len(curve.points) > 1:
                ends = f'x1="{x}" y1="{y - 4}" x2="{x + 34}" y2="{y - 4}"'
                parts.append(f"<line {ends} {self._style(curve.pattern, curve.method)}/>")
            else:
                colour = self._colour(curve.pattern)
                solid = colour if curve.method != RANDOM else "white"
                parts.append(f'<circle cx="{x + 17}" cy="{y - 4}" r="4.5" fill="{solid}" stroke="{colour}"/>')
            parts.append(text(x + 42, y, f"{curve.pattern} {curve.method}"))
            y += 18
            if curve.method != RANDOM and curve.s_1pct is not None:
                knee = "none" if curve.s_knee is None else f"{curve.s_knee:g}"
                parts.append(text(x + 42, y, f"1% point {curve.s_1pct:g}, knee {knee}", size=11))
                y += 18
        marks = ("○ around a point: the last that loses at most", f"{LOSS:.0%} of dense; □: the knee", "grey: dense")
        lines: Sequence[str] = (*marks, "band: one standard error") if self.sweep.standard_error else marks
        for line in lines:
            y += 15
            parts.append(text(x, y, line, size=11))
        return parts


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>"
