"""The colours of `view`: by time, by zeros, and by what kind of kernel a layer got."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from edgesparse.explain import SPARSE_OPS, Verdict
from edgesparse.manifest import Layer

MODES: Mapping[str, str] = {"time": "time", "zeros": "zeros", "kind": "kernels and fall-backs"}

Colour = tuple[int, int, int]
TIME: Sequence[Colour] = ((255, 247, 230), (253, 190, 112), (226, 95, 30), (127, 29, 6))
ZEROS: Sequence[Colour] = ((237, 243, 248), (142, 202, 190), (31, 138, 130), (8, 66, 75))
NONE: Colour = (214, 218, 222)
DARK, LIGHT = "#15191d", "#ffffff"

KINDS: Mapping[str, tuple[Colour, str]] = {
    "sparse": ((126, 196, 162), "skips zeros"),
    "multiplied": ((244, 162, 97), "has zeros, but a dense kernel is faster"),
    "dense": ((159, 190, 222), "no zeros to skip"),
    "depthwise": ((200, 182, 226), "depthwise: nothing to skip"),
    "f32": ((236, 112, 99), "computes in f32, for there is no f16 kernel"),
    "plain": (NONE, "no weights"),
}
FEW_ZEROS = 0.02  # that happen to be there: nobody pruned the layer


def sort_of(layer: Layer, precision: str) -> tuple[str, str]:
    """(key of `KINDS`, what it says)."""
    if precision == "f16" and "_f16" not in layer.kernel and layer.op not in ("convert", "copy"):
        key = "f32"
    elif layer.op == "depthwise":
        key = "depthwise"
    elif not layer.pattern:
        key = "plain"
    elif layer.zeros <= FEW_ZEROS:
        key = "dense"
    else:
        skips = layer.op in SPARSE_OPS and not layer.kernel.startswith("es_winograd")
        key = "sparse" if skips else "multiplied"
    return key, KINDS[key][1]


def colours(layer: Layer, verdict: Verdict, slowest: float, precision: str) -> dict[str, tuple[str, str]]:
    """For each of `MODES` the fill of the node and the colour of its text."""
    time = _ramp(TIME, (verdict.us / slowest) ** 0.5) if verdict.us and slowest else NONE
    zeros = _ramp(ZEROS, layer.zeros) if layer.pattern else NONE
    kind = KINDS[sort_of(layer, precision)[0]][0]
    return {mode: (_hex(c), _ink(c)) for mode, c in zip(MODES, (time, zeros, kind), strict=True)}


def _ramp(stops: Sequence[Colour], at: float) -> Colour:
    places = np.linspace(0, 1, len(stops))
    red, green, blue = (int(np.interp(at, places, channel)) for channel in zip(*stops, strict=True))
    return red, green, blue


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _ink(colour: Colour) -> str:
    """Black or white, whichever stands out: relative luminance as in WCAG 2."""
    linear = [(c / 255) ** 2.2 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return DARK if (luminance + 0.05) / 0.06 > 1.05 / (luminance + 0.05) else LIGHT


def _key(colour: Colour, text: str) -> str:
    return f'<span class="key"><span class="swatch" style="background:{_hex(colour)}"></span>{html.escape(text)}</span>'


def _legend(mode: str, *keys: str) -> str:
    return f'<div class="legend" data-mode="{mode}">{"".join(keys)}</div>'


def _gradient(stops: Sequence[Colour], low: str, high: str) -> str:
    colours = ",".join(_hex(_ramp(stops, k / 6)) for k in range(7))
    bar = f'<span class="ramp" style="background:linear-gradient(to right,{colours})"></span>'
    return f'<span class="key">{low}{bar}{high}</span>'


def legends(kinds: Collection[str]) -> str:
    """One for each of `MODES`; of ``kinds``, keys of `KINDS`, those that occur."""
    shown = [_key(colour, text) for kind, (colour, text) in KINDS.items() if kind in kinds]
    return "\n".join(
        (
            _legend("time", _gradient(TIME, "short", "the slowest layer"), _key(NONE, "only one kernel: no time")),
            _legend("zeros", _gradient(ZEROS, "0%", "100% zeros"), _key(NONE, "no weights")),
            _legend("kind", *shown),
        )
    )
