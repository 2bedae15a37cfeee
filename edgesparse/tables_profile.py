"""What `profile` and `diff` print: tables, or with ``json`` one document with the same facts and more."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from edgesparse.layer_time import LayerTime, Match, by_type, matched
from edgesparse.profile import COUNTERS, Profile
from edgesparse.report import harmless, note, print_facts, print_json, print_table, shape_text, short, warn
from edgesparse.spread import Spread, plain
from edgesparse.starts import Compared, compared
from edgesparse.sustained import Round, Sustained

COLUMNS = (
    "layer", "type", "inputs", "output", "pattern", "zeros %", "activation zeros %", "kernel", "us", "%", "sum %",
    "GFLOP/s", "GB/s", "roofline %",
)  # fmt: skip
TOP = 10
ONE_START = "the interval is of these runs; started anew, the same bundle may differ by some percent more"
CONDITIONS = ("precision", "runtime", "cpu", "device", "soc", "threads", "cores", "isa")
"""Of what a session says of itself, that on which times hang."""


def profiles(found: Sequence[Profile], baseline: Profile | None, json: bool) -> None:
    """Run order, by time and by type, as TFLite's benchmark has them. Two profiles stand beside each other, and the
    first beside ``baseline``."""
    if json:
        print_json(document(found, baseline))
        return _warn_unlike(baseline, found[0]) if baseline is not None else None
    for profile in found:
        times = "emulated" if profile.emulated else "measured"
        print_table(
            f"{profile.bundle} for {profile.device}: layers in run order, {times}", COLUMNS,
            [_cells(x) for x in profile.layers],
        )  # fmt: skip
        slowest = sorted(profile.layers, key=lambda x: -x.us.median)[:TOP]
        print_table("By time", COLUMNS, [_cells(x) for x in slowest])
        print_table(
            "By type", ("type", "layers", "us", "%"),
            [(op, count, us, round(100 * share, 1)) for op, count, us, share in by_type(profile.layers)],
        )  # fmt: skip
        print_facts("", facts(profile))
        if profile.sustained is not None:
            lasting(profile.sustained)
        for text in profile.warnings:
            warn(text)
    if len(found) > 1:
        beside(found[0], found[1], in_turns=True)
    if baseline is not None:
        difference(baseline, found[0], json=False)
    if any(x.of_roofline is not None for profile in found for x in profile.layers):
        note(
            "roofline %: the least time by the device's peak and bandwidth, published or estimated or what "
            "`edgesparse calibrate` measured; over the time that it took"
        )
    return None


def lasting(found: Sustained) -> None:
    """The beginning beside the end, and how much slower that is."""
    parts = [found.within(last=False), found.within(last=True)]
    rows: list[tuple[object, ...]] = [
        (name, getattr(found.first, name), getattr(found.last, name)) for name in ("median", "p90", "count")
    ]
    rows += [(f"CPU {cpu}, GHz", *_means(parts, "ghz", i)) for i, cpu in enumerate(found.cpus)]
    rows += [(f"{zone}, C", *_means(parts, "celsius", i)) for i, zone in enumerate(found.zones)]
    rows += [(f"runs marked {name}", *(sum(getattr(r, name) for r in part) for part in parts))
             for name in ("capped", "hot")]  # fmt: skip
    print_table(
        f"Runs for {found.seconds:.0f} s, microseconds",
        ("", f"first {found.window_s:g} s", f"last {found.window_s:g} s"), [row for row in rows if row[1] is not None],
    )  # fmt: skip
    print(
        f"at the end a run takes {found.ratio:.3f} times as long as at the beginning "
        f"(the model ran in {found.busy:.0%} of the time)"
    )


def _means(parts: Sequence[Sequence[Round]], name: str, index: int) -> list[float | None]:
    """Of each part the mean over its rounds, to two digits behind the point."""
    columns = [[v for r in part if index < len(getattr(r, name)) and (v := getattr(r, name)[index]) is not None]
               for part in parts]  # fmt: skip
    return [round(sum(column) / len(column), 2) if column else None for column in columns]


def beside(before: Profile, after: Profile, in_turns: bool = False) -> None:
    """Layers of both by name, and the whole with its interval."""
    print_table(
        f"{before.bundle} and {after.bundle}, microseconds", ("layer", "type", "first", "second", "times"),
        [_match_cells(x) for x in matched(before.layers, after.layers)],
    )  # fmt: skip
    found = compared(before.by_start, after.by_start, in_turns=in_turns)
    said = "cannot be compared: whole runs take less than a step of the clock"
    if found.known:
        said = (
            f"takes {found.ratio:.3f} times as long (95%: {found.low:.3f} to {found.high:.3f}): "
            f"{1 / found.ratio:.2f} times as fast as {before.bundle}"
        )
    print(harmless(f"{after.bundle} {said}"))
    note(of_starts(found))


def of_starts(found: Compared) -> str:
    """What the interval is of."""
    return f"the interval is of {found.starts[0]} and {found.starts[1]} starts" if found.over_starts else ONE_START


def difference(before: Profile, after: Profile, json: bool) -> None:
    if json:
        print_json(_difference(before, after))
    else:
        beside(before, after)
    _warn_unlike(before, after)


def _warn_unlike(before: Profile, after: Profile) -> None:
    """What of two profiles is different beside the bundle, so that their times should not be compared."""
    one, other = ({"precision": p.precision, **p.machine} for p in (before, after))
    for name in CONDITIONS:
        if one.get(name, "") != other.get(name, ""):
            warn(f"the two are of another {name}: {one.get(name) or 'unknown'}, then {other.get(name) or 'unknown'}")
    if not {x.name for x in before.layers} & {x.name for x in after.layers}:
        warn(f"{before.bundle} and {after.bundle} have no layer of the same name: are they of the same network?")


def _difference(before: Profile, after: Profile) -> dict[str, Any]:
    found = compared(before.by_start, after.by_start)
    layers = [{**dataclasses.asdict(x), "times": x.times} for x in matched(before.layers, after.layers)]
    interval = [found.low, found.high] if found.known else None
    return {
        "unit": "us", "ratio": found.ratio if found.known else None, "interval_95": interval,
        "over_starts": found.over_starts, "layers": layers,
    }  # fmt: skip


def document(found: Sequence[Profile], baseline: Profile | None) -> dict[str, Any]:
    whole = [{**dataclasses.asdict(p), "whole": dataclasses.asdict(p.whole)} for p in found]
    compared = {} if baseline is None else {"baseline": _difference(baseline, found[0])}
    return {"unit": "us", "profiles": whole, **compared}


def _match_cells(x: Match) -> tuple[object, ...]:
    return short(x.name), x.op, x.before_us, x.after_us, None if x.times is None else round(x.times, 2)


def _cells(x: LayerTime) -> tuple[object, ...]:
    return (
        short(x.name), x.op, " ".join(map(shape_text, x.inputs)), shape_text(x.output), x.pattern,
        f"{100 * x.zeros:.0f}" if x.pattern else "",
        _percent(x.activation_zeros), x.kernel, x.us.median, _percent(x.share), _percent(x.cumulative),
        x.gflops or None, x.gbs or None, _percent(x.of_roofline),
    )  # fmt: skip


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def facts(profile: Profile) -> Mapping[str, object]:
    """What the table of facts says, which the HTML has, too."""
    whole = profile.whole
    ratio = profile.layers_us.median / whole.median if whole.median else 0.0
    found: dict[str, object] = {
        "whole run": _spread(whole),
        "sum of layers": f"{_spread(profile.layers_us)}: {ratio:.3f} of the whole run",
        "machine": ", ".join(f"{k} {v}" for k, v in profile.machine.items() if v),
    }
    marked = profile.marks
    if profile.facts.get("observations"):
        capped = f"{len(marked.capped)} with a capped clock"
        if not any(most > 0 for most in profile.facts["most_khz"]):
            capped = "no clock can be read"
        hot = "no temperature can be read"
        if marked.hot_above is not None:
            hot = f"{len(marked.hot)} above {marked.hot_above:g} C ({', '.join(marked.zones)})"
        found["marked runs"] = f"{len(marked.runs)} of {whole.count}: {capped}, {hot}"
    if marked.unmarked is not None:
        found["unmarked runs"] = _spread(marked.unmarked)
    if profile.energy is not None:
        found["energy"] = str(profile.energy)
    for name in COUNTERS:
        if values := profile.facts.get(name):
            found[name.replace("_", " ")] = f"{sorted(values)[len(values) // 2]} a run (median)"
    if why := profile.facts.get("counters_error"):
        found["not counted"] = f"{', '.join(n for n in COUNTERS if n not in profile.facts)}: {os.strerror(why).lower()}"
    return found


def _spread(us: Spread) -> str:
    return (
        f"median {plain(us.median)} us, min {plain(us.min)}, p90 {plain(us.p90)}, max {plain(us.max)}, "
        f"std {plain(us.std)} "
        f"({us.count} runs)"
    )
