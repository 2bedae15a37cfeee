"""What went on during a `Profile` as SVG: its runs, clocks and temperatures over seconds, and its sustained runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from edgesparse.plot import COLOURS as PALETTE
from edgesparse.plot import DASHES, round_up, text
from edgesparse.profile import Profile
from edgesparse.profile_plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, colour, line, svg
from edgesparse.spread import plain
from edgesparse.sustained import Sustained
from edgesparse.thermal import watched

MOST_DOTS, MOST_LINES = 2000, 14
CAPPED, HOT = "clock capped", "hot"
COLOURS = {"": "#0072b2", CAPPED: "#e69f00", HOT: "#d55e00", f"{HOT}, {CAPPED}": "#7f1d1d"}
Points = Sequence[tuple[float, float]]
Lines = Mapping[str, Points]


def over_time(profile: Profile) -> list[str]:
    """Runs with their marks, clocks and temperatures, each where the device told of it."""
    seen = profile.facts.get("observations") or []
    if len(seen) < 2:
        return []
    clocks = {i: _values(seen, "khz", i, 1e6) for i in range(len(profile.facts["watched_cpus"]))}
    zones = {i: _values(seen, "millidegrees", i, 1e3) for i in range(len(profile.facts["zones"]))}
    return [_runs(profile, seen), *_device(profile.facts["watched_cpus"], clocks, profile.facts["zones"], zones)]


def _device(
    cpus: Sequence[int], clocks: Mapping[int, Points], names: Sequence[str], zones: Mapping[int, Points]
) -> list[str]:
    """Clocks of the cores and temperatures of the zones, by their numbers in ``cpus`` and ``names``."""
    found = []
    if any(clocks.values()):
        found.append(_plot("GHz of each core over seconds", _cores(cpus, clocks)))
    if any(zones.values()):
        found.append(_plot(*_zones(names, zones)))
    return found


def _runs(profile: Profile, seen: Sequence[Mapping[str, Any]]) -> str:
    """A dot for each timed run, or for every n-th where there are many."""
    step = -(-len(profile.run_us) // MOST_DOTS)
    capped, hot = set(profile.marks.capped), set(profile.marks.hot)
    dots: dict[str, list[tuple[float, float]]] = {kind: [] for kind in COLOURS}
    for number, at in enumerate(_begins(seen, len(profile.run_us))):
        if number % step == 0:
            kind = ", ".join([HOT] * (number in hot) + [CAPPED] * (number in capped))
            dots[kind].append((at, profile.run_us[number]))
    some = "" if step == 1 else f", one of {step}"
    return _plot(f"microseconds of each timed run{some} over seconds", {}, dots)


def _begins(seen: Sequence[Mapping[str, Any]], count: int) -> list[float]:
    """Seconds at which each run began, as if those between two readings had taken the same time."""
    found: list[float] = []
    for one, following in pairwise(seen):
        runs, begin, end = following["run"] - one["run"], one["at_ns"] / 1e9, following["at_ns"] / 1e9
        found += [begin + (end - begin) * i / runs for i in range(runs)]
    return (found + [found[-1] if found else 0.0] * count)[:count]


def _cores(cpus: Sequence[int], clocks: Mapping[int, Points]) -> Lines:
    """Cores that always had the same clock are one line: those of a cluster."""
    together: dict[tuple[tuple[float, float], ...], list[int]] = {}
    for i, points in clocks.items():
        if points:
            together.setdefault(tuple(points), []).append(cpus[i])
    return {f"CPU {', '.join(map(str, numbers))}": points for points, numbers in together.items()}


def _zones(names: Sequence[str], zones: Mapping[int, Points]) -> tuple[str, Lines]:
    """A title, and the zones by which the device is judged before those that got hottest."""
    positions = watched(names).positions
    known = sorted((i for i in zones if zones[i]), key=lambda i: (i not in positions, -max(v for _, v in zones[i])))
    of = f" {MOST_LINES} of {len(known)} zones" if len(known) > MOST_LINES else " each zone"
    labels = {i: names[i] if list(names).count(names[i]) == 1 else f"{names[i]} ({i})" for i in known[:MOST_LINES]}
    return f"degrees Celsius of{of} over seconds", {label: zones[i] for i, label in labels.items()}


def _values(seen: Sequence[Mapping[str, Any]], name: str, index: int, unit: float) -> Points:
    return [(one["at_ns"] / 1e9, one[name][index] / unit) for one in seen if one[name][index] != -1]


def sustained_over_time(found: Sustained) -> list[str]:
    """Medians and 90th percentiles of the rounds, and what the device did meanwhile."""

    def points(values: Sequence[float | None]) -> Points:
        middles = [(r.begin_s + r.end_s) / 2 for r in found.rounds]
        return [(at, value) for at, value in zip(middles, values, strict=True) if value is not None]

    times = {name: points([getattr(r.us, name) for r in found.rounds]) for name in ("median", "p90")}
    clocks = {i: points([r.ghz[i] if i < len(r.ghz) else None for r in found.rounds]) for i in range(len(found.cpus))}
    zones = {
        i: points([r.celsius[i] if i < len(r.celsius) else None for r in found.rounds]) for i in range(len(found.zones))
    }
    title = f"microseconds of a run over seconds: at the end {found.ratio:.3f} times as long"
    return [_plot(title, times), *_device(found.cpus, clocks, found.zones, zones)]


def _plot(title: str, lines: Lines, dots: Lines | None = None) -> str:
    """Values over seconds from 0, lines with a legend; dots have the colours of `COLOURS`."""
    all_points = [point for points in (*lines.values(), *(dots or {}).values()) for point in points]
    end = max((at for at, _ in all_points), default=1.0) or 1.0
    top = round_up(max(max((value for _, value in all_points), default=1.0) * 1.05, 1e-9))
    low = min(0.0, *(value for _, value in all_points), 0.0)

    def place(at: float, value: float) -> tuple[float, float]:
        return LEFT + at / end * (RIGHT - LEFT), BOTTOM - (value - low) / (top - low) * (BOTTOM - TOP)

    parts = [text(LEFT, 20, title, size=14)]
    for i in range(6):
        _, y = place(0, low + (top - low) * i / 5)
        parts += [line(LEFT, y, RIGHT, y), text(LEFT - 6, y + 4, plain(low + (top - low) * i / 5), anchor="end")]
    step = round_up(end / 6)
    for i in range(math.floor(end / step) + 1):
        parts.append(text(place(step * i, 0)[0], BOTTOM + 18, f"{step * i:g}", anchor="middle"))
    legend: list[tuple[str, str, str]] = []
    for number, (name, points) in enumerate(lines.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        dash = DASHES[number // (len(PALETTE) - 1) % len(DASHES)]  # where the colours are used up
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour(number)}" stroke-width="1.5" '
            f'stroke-dasharray="{dash}"/>'
        )
        legend.append((colour(number), dash, name))
    for kind, points in (dots or {}).items():
        for x, y in (place(*point) for point in points):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{COLOURS[kind]}"/>')
        if points:
            legend.append((COLOURS[kind], "", kind or "not marked"))
    for number, (paint, dash, name) in enumerate(legend[:MOST_LINES]):
        y = TOP + 5 + 18 * number
        parts.append(
            f'<line x1="{RIGHT + 12}" y1="{y}" x2="{RIGHT + 36}" y2="{y}" stroke="{paint}" stroke-width="4" '
            f'stroke-dasharray="{dash}"/>'
        )
        parts.append(text(RIGHT + 42, y + 4, name if len(name) < 25 else f"{name[:23]}…"))
    return svg(HEIGHT, parts)
