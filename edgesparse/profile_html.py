"""A `Profile`, or two, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgesparse.layer_time import LayerTime, matched
from edgesparse.profile import Profile, described
from edgesparse.profile_plots import bars, roofline
from edgesparse.profile_time import over_time, sustained_over_time
from edgesparse.report import shape_text, short
from edgesparse.roof import Roof, roof
from edgesparse.spread import plain
from edgesparse.starts import compared
from edgesparse.tables_profile import facts, of_starts

STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:24px auto;max-width:1500px;padding:0 16px;color:#1b1f24}
h1{font-size:20px}h2{font-size:16px;margin-top:32px}table{border-collapse:collapse;width:100%;font-size:12px}
th,td{text-align:left;padding:3px 8px;border-bottom:1px solid #ddd;white-space:nowrap}
th{white-space:normal;vertical-align:bottom}
td.text{white-space:normal}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
svg{max-width:900px;display:block}p.warning{background:#fff3d6;padding:8px 12px}
div.wide{overflow-x:auto;margin-top:12px}
"""
COLUMNS = ("layer", "type", "inputs", "output", "pattern", "zeros %", "activation zeros %", "kernel")
NUMBERS = ("us", "min", "p90", "std", "%", "sum %", "GFLOP/s", "GB/s", "roofline %")


def html(profiles: Sequence[Profile]) -> str:
    names = " and ".join(p.bundle.rpartition("/")[2] for p in profiles)
    parts = [f"<h1>{escape(names)}</h1>"]
    for profile in profiles:
        parts += [f'<p class="warning">{escape(profile.bundle)}: {escape(w)}</p>' for w in profile.warnings]
    if len(profiles) == 2:
        found = compared(profiles[0].by_start, profiles[1].by_start, in_turns=True)
        said = f"takes {found.ratio:.3f} times as long as the first (95%: {found.low:.3f} to {found.high:.3f})"
        parts.append(f"<p>The second {said if found.known else 'cannot be compared'}; {of_starts(found)}.</p>")
    parts += ["<h2>Layers</h2>", bars(profiles)]
    if picture := roofline(profiles, _roofs(profiles)):
        parts += ["<h2>Roofline</h2>", picture]
    for profile in profiles:
        parts += [f"<h2>{escape(profile.bundle)}: over time</h2>"] * bool(seen := over_time(profile))
        parts += seen
        if (lasting := profile.sustained) is not None:
            parts += [f"<h2>{escape(profile.bundle)}: kept running for {lasting.seconds:.0f} s</h2>"]
            parts += sustained_over_time(lasting)
        parts += [f"<h2>{escape(profile.bundle)} for {escape(profile.device)}</h2>", _facts(profile)]
        parts.append(_table(profile.layers))
    if len(profiles) == 2:
        parts += ["<h2>Beside each other</h2>", _beside(*profiles)]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{escape(names)}: profile</title>\n<style>{STYLE}</style>\n<body>\n" + "\n".join(parts) + "\n</body>\n"
    )


def _roofs(profiles: Sequence[Profile]) -> list[Roof]:
    """Of each, where it is known; the same ones once."""
    return list(dict.fromkeys(found for p in profiles if (found := roof(described(p.device), p.machine)) is not None))


def _facts(profile: Profile) -> str:
    rows = {"bundle": profile.bundle, "device": profile.device, "precision": profile.precision, **facts(profile)}
    return _rows([], [[(escape(name), ""), (escape(str(words)), "text")] for name, words in rows.items() if words])


def _table(layers: Sequence[LayerTime]) -> str:
    rows = []
    for x in layers:
        words = (x.op, " ".join(map(shape_text, x.inputs)), shape_text(x.output), x.pattern,
                 f"{100 * x.zeros:.0f}" if x.pattern else "",
                 "" if x.activation_zeros is None else f"{100 * x.activation_zeros:.1f}", x.kernel)  # fmt: skip
        numbers = (
            *map(plain, (x.us.median, x.us.min, x.us.p90, x.us.std)), f"{100 * x.share:.1f}",
            f"{100 * x.cumulative:.1f}", f"{x.gflops:.4g}" if x.gflops else "", f"{x.gbs:.4g}" if x.gbs else "",
            "" if x.of_roofline is None else f"{100 * x.of_roofline:.1f}",
        )  # fmt: skip
        rows.append(
            [(_name(x.name), ""), *((escape(w), "") for w in words), *((n, "n") for n in numbers)]
        )  # fmt: skip
    return _rows([*((c, "") for c in COLUMNS), *((c, "n") for c in NUMBERS)], rows)


def _name(name: str) -> str:
    return f'<span title="{escape(name)}">{escape(short(name))}</span>'


def _beside(before: Profile, after: Profile) -> str:
    def number(value: float | None) -> tuple[str, str]:
        return ("" if value is None else plain(value), "n")

    rows = [
        [(_name(x.name), ""), (escape(x.op), ""), number(x.before_us), number(x.after_us), number(x.times)]
        for x in matched(before.layers, after.layers)
    ]
    return _rows([("layer", ""), ("type", ""), ("first, us", "n"), ("second, us", "n"), ("times", "n")], rows)


def _rows(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Cells are (HTML, class)."""
    first = "".join(f'<th class="{kind}">{words}</th>' for words, kind in head)
    lines = ["<tr>" + "".join(f'<td class="{kind}">{words}</td>' for words, kind in row) + "</tr>" for row in rows]
    return f'<div class="wide"><table>{"<tr>" + first + "</tr>" if head else ""}{"".join(lines)}</table></div>'
