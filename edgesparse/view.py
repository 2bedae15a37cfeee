"""One HTML file that shows a network: what runs, how long it takes, where its zeros are, and why."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.compiled import Compiled, compiled
from edgesparse.explain import Verdict, explain
from edgesparse.heatmap import heatmap
from edgesparse.layered import layered
from edgesparse.manifest import Layer
from edgesparse.report import kilobytes, shape_text
from edgesparse.unpacked import weight_of
from edgesparse.view_colours import MODES, colours, legends, sort_of

if TYPE_CHECKING:
    import onnx_ir as ir

Progress = Callable[[int, int, str], None]
WIDTH, HEIGHT, PITCH, PORT_WIDTH = 216.0, 44.0, 74.0, 170.0  # of nodes, and from one row to the next
MARGIN = 14.0
LETTERS = 31  # of a name in a node; its end tells layers apart
SLOWEST = 12
FEW = 0.005  # zeros that are not worth a word


def view(
    model: str | Path | ir.Model | Compiled, device: str = "host", precision: str = "f32",
    on_progress: Progress | None = None,
) -> str:  # fmt: skip
    """The HTML document, without references to anything outside of it.

    Names in the model are data: they are escaped where they are markup, and the page's policy allows no script but its
    own.

    Raises:
        InputError, UnsupportedError, RuntimeFailure: as `compiled`.
    """
    found = model if isinstance(model, Compiled) else compiled(model, device, precision)
    verdicts = explain(found.layers)
    total = sum(v.us for v in verdicts)
    slowest = max((v.us for v in verdicts), default=0.0)
    layers = []
    for k, (layer, verdict) in enumerate(zip(found.layers, verdicts, strict=True)):
        layers.append(_layer(layer, verdict, found, total, slowest))
        if on_progress is not None:
            on_progress(k + 1, len(verdicts), "")
    script = (resources("edgesparse") / "pages/view.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "TITLE": html.escape(_clean(f"{found.name} on {found.device}")),
        "SUMMARY": html.escape(_summary(found, verdicts)),
        "MODES": "".join(f'<button type="button" data-mode="{k}">{html.escape(v)}</button>' for k, v in MODES.items()),
        "LEGENDS": legends([sort_of(layer, found.precision)[0] for layer in found.layers]),
        "GRAPH": _graph(found, verdicts),
        "DATA": _json({"layers": layers, "slowest": _slowest(verdicts, total), "notes": list(found.notes)}),
        "SCRIPT": script, "SCRIPT_HASH": f"sha256-{digest}",
    }  # fmt: skip
    page = (resources("edgesparse") / "pages/view.html").read_text()
    return re.sub(r"%%(\w+)%%", lambda match: parts[match[1]], page)


def _json(document: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(document, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _summary(found: Compiled, verdicts: Sequence[Verdict]) -> str:
    timed = [v for v in verdicts if v.us]
    us, dense = sum(v.us for v in timed), sum(v.dense_us for v in timed)
    how = "measured" if timed and all(v.measured for v in timed) else "estimated"
    time = f"{us:,.0f} µs on one core, {how}; {dense:,.0f} µs if all were dense" if timed else "no times known"
    return (
        f"{len(found.layers)} kernel calls, {found.precision}; {time}; weights {kilobytes(len(found.weights))}. "
        "Times are of layers with a choice of kernels."
    )


def _slowest(verdicts: Sequence[Verdict], total: float) -> list[dict[str, Any]]:
    order = sorted((k for k, v in enumerate(verdicts) if v.us), key=lambda k: -verdicts[k].us)[:SLOWEST]
    return [
        {"layer": k, "name": _short(verdicts[k].layer, 36), "us": f"{verdicts[k].us:.3g}",
         "share": f"{verdicts[k].us / total:.1%}"}
        for k in order
    ]  # fmt: skip


def _layer(layer: Layer, v: Verdict, found: Compiled, total: float, slowest: float) -> dict[str, Any]:
    facts: dict[str, str] = {
        "operation": v.op, "kernel": v.kernel, "kind": sort_of(layer, found.precision)[1],
        "output": shape_text(layer.shape),
    }  # fmt: skip
    if v.us:
        how = "measured" if v.measured else "estimated"
        facts["time"] = f"{v.us:.4g} µs, {how}; {v.us / total:.1%} of all"
        facts["if dense"] = f"{v.dense_us:.4g} µs: {v.speedup:.2f} times"
    if v.pattern:
        facts["zeros"] = f"{v.zeros:.1%}, {v.pattern}"
    if layer.macs:
        facts["multiplications"] = f"{layer.macs:,}"
    if layer.weight_bytes or layer.stored:
        facts["stored"] = kilobytes(sum(s.bytes for s in layer.stored))
    chosen, *others = (v.reason or "the only kernel").split("; not ")
    facts["why"] = chosen
    if v.advice:
        facts["advice"] = v.advice
    weight = weight_of(layer, found.weights)
    heat = None
    if weight is not None and weight.size:
        made = heatmap(weight)
        cell = f", {made.block[0]} x {made.block[1]} weights a cell" if made.block != (1, 1) else ""
        kernel = f" x {shape_text(layer.weight_shape[2:])} positions" if weight[0, 0].size > 1 else ""
        shape = f"{layer.weight_shape[0]} output channels (down) x {layer.weight_shape[1]} input channels{kernel}{cell}"
        heat = {
            **dataclasses.asdict(made),
            "magnitude_title": f"mean |w|, dark is {made.largest:.3g}, red is zero: {shape}",
            "zeros_title": "share of zeros: dark is none, pale is nearly all, red is all",
        }  # fmt: skip
    unknown = f"no picture: the weights of {v.kernel} are packed in a way that is not unpacked here"
    return {
        "name": _clean(v.layer), "facts": [(k, _clean(t)) for k, t in facts.items()], "heat": heat,
        "others": _clean("; ".join(others)), "no_heat": unknown if heat is None and layer.weight_shape else "",
        "colours": colours(layer, v, slowest, found.precision),
    }  # fmt: skip


def _graph(found: Compiled, verdicts: Sequence[Verdict]) -> str:
    """The network as SVG. Its nodes are inputs, kernel calls, outputs, in this order."""
    inputs, outputs, layers = list(found.inputs), list(found.outputs), found.layers
    first = len(inputs)
    edges = _edges(layers, inputs, outputs)
    widths = [PORT_WIDTH] * first + [WIDTH] * len(layers) + [PORT_WIDTH] * len(outputs)
    lay = layered(len(widths), edges, widths)
    across, down = lay.right - lay.left + 2 * MARGIN, max(lay.rows, 1) * PITCH - (PITCH - HEIGHT) + 2 * MARGIN

    def place(x: float, row: int) -> tuple[float, float]:
        return x - lay.left + MARGIN, row * PITCH + HEIGHT / 2 + MARGIN

    parts = [f'<svg viewBox="0 0 {across:.0f} {down:.0f}" width="{across:.0f}" height="{down:.0f}" role="img">']
    parts += [f'<path class="edge" d="{_curve([place(*p) for p in path])}"/>' for path in lay.edges]
    for k, (at, row) in enumerate(lay.nodes):
        x, y = place(at, row)
        if first <= k < first + len(layers):
            parts.append(_node(k - first, verdicts[k - first], x, y))
        else:
            name, shape = [*found.inputs.items(), *found.outputs.items()][k if k < first else k - len(layers)]
            parts.append(_port(name, shape_text(shape), x, y))
    return "\n".join([*parts, "</svg>"])


def _edges(layers: Sequence[Layer], inputs: Sequence[str], outputs: Sequence[str]) -> list[tuple[int, int]]:
    writer = {name: [k] for k, name in enumerate(inputs)}
    found: dict[tuple[int, int], None] = {}
    for k, layer in enumerate(layers, len(inputs)):
        for name in layer.reads:
            found.update(dict.fromkeys((source, k) for source in writer.get(name, []) if source < k))
        for name in layer.writes:  # several calls may write parts of one tensor
            writer.setdefault(name, []).append(k)
    for k, name in enumerate(outputs, len(inputs) + len(layers)):
        found.update(dict.fromkeys((source, k) for source in writer.get(name, [])))
    return list(found)


def _curve(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = points
    y += HEIGHT / 2
    parts = [f"M{x:.1f} {y:.1f}"]
    for k, (to_x, to_y) in enumerate(rest):
        end = to_y - HEIGHT / 2
        middle = (y + end) / 2
        parts.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {end:.1f}")
        x, y = to_x, end
        if k < len(rest) - 1:  # straight on beside the nodes of the row
            y = to_y + HEIGHT / 2
            parts.append(f"V{y:.1f}")
    return "".join(parts)


def _node(index: int, v: Verdict, x: float, y: float) -> str:
    shown = [v.op, f"{v.zeros:.0%} zeros" if v.pattern and v.zeros >= FEW else "", f"{v.us:.3g} µs" if v.us else ""]
    what = " · ".join(word for word in shown if word)
    return (
        f'<g class="node" tabindex="0" data-layer="{index}"><title>{html.escape(_clean(v.layer))}</title>'
        f'<rect x="{x - WIDTH / 2:.1f}" y="{y - HEIGHT / 2:.1f}" width="{WIDTH:g}" height="{HEIGHT:g}" rx="5"/>'
        f'<text x="{x:.1f}" y="{y - 4:.1f}">{html.escape(_short(v.layer, LETTERS))}</text>'
        f'<text class="what" x="{x:.1f}" y="{y + 13:.1f}">{html.escape(what)}</text></g>'
    )


def _port(name: str, shape: str, x: float, y: float) -> str:
    left, top = x - PORT_WIDTH / 2, y - HEIGHT / 2
    return (
        f'<g class="port"><title>{html.escape(_clean(name))}</title>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{PORT_WIDTH:g}" height="{HEIGHT:g}" rx="22"/>'
        f'<text x="{x:.1f}" y="{y - 3:.1f}">{html.escape(_short(name, 22))}</text>'
        f'<text x="{x:.1f}" y="{y + 13:.1f}">{html.escape(shape)}</text></g>'
    )


def _short(name: str, letters: int) -> str:
    name = _clean(name)
    return name if len(name) <= letters else f"…{name[1 - letters :]}"
