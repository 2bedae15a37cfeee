"""How a decoder in ONNX treats positions, found by running the parts that compute angles and masks.

Exporters write them in a hundred ways; what they give for a few lengths of past and tokens says all there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgesparse.decoder.agreement import Inputs, as_bytes
from edgesparse.decoder.metadata import facts_of
from edgesparse.errors import EdgeSparseError, UnsupportedError
from edgesparse.passes.match import attribute_int, is_op, label, operand
from edgesparse.types import Array

_LONGEST = 1 << 15  # positions that are looked at where nothing says how many there are
_AT_ONCE = 1 << 10
_TOLERANCE, _ROUNDING = 1e-5, 2.5e-7  # of a cosine; of an angle, times the angle: exporters multiply in float32


@dataclass(frozen=True, slots=True)
class Positions:
    """``frequencies``: radians a position, (rotary / 2,); ``windows``: of each layer, 0 for none; ``context``: how
    many positions the tables have, 0 where there are none."""

    frequencies: Array
    windows: tuple[int, ...]
    context: int


def read_positions(model: ir.Model, given: Inputs, layers: Sequence[tuple[ir.Node, ir.Node]]) -> Positions:
    """``given``: what the inputs are; ``layers``: (Attention, a RotaryEmbedding before it), for each such pair.

    Raises:
        UnsupportedError: angles that are not position times frequency, the same in all layers, or a mask that is
            neither causal nor a sliding window.
    """
    probe = _Probe(model, given, layers)
    facts = facts_of(model)
    context = probe.context or (facts.context if facts else _LONGEST)
    if facts is not None and facts.context > context:
        probe.fail(0, f"tables of {context} positions, where its metadata say {facts.context}")
    return Positions(_frequencies(probe, min(context, _LONGEST)), _windows(probe, context), probe.context)


class _Probe:
    """The part of a model that computes angles and masks."""

    def __init__(self, model: ir.Model, given: Inputs, layers: Sequence[tuple[ir.Node, ir.Node]]) -> None:
        self.layers = layers
        self.given = given
        copy = model.clone()
        twin = dict(zip(model.graph, copy.graph, strict=True))
        copy.graph.outputs.clear()
        wanted = [
            [operand(twin[attention], 3), *(operand(twin[rotary], i) for i in (1, 2, 3))]
            for attention, rotary in layers
        ]
        self.rows = [[_give(copy.graph, value) for value in row] for row in wanted]
        common.RemoveUnusedNodesPass()(copy)
        for value in [v for v in copy.graph.inputs if not v.uses()]:
            copy.graph.inputs.remove(value)
        self.inputs = list(copy.graph.inputs)
        self.context = _table_length(copy.graph, {n for row in self.rows for n in row[1:3]})
        copy.metadata_props.clear()
        data = as_bytes(copy)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self.session: Any = onnxruntime.InferenceSession(data, options)
        except Exception as error:  # noqa: BLE001 onnxruntime's own types
            self.fail(0, f"onnxruntime cannot load what computes its angles and mask: {error}")

    def run(self, past: int, tokens: int) -> list[list[Array | None]]:
        """[mask, cosines, sines] of each layer, the two as (tokens, rotary / 2)."""
        feeds = {str(v.name): self.given.array(v, past, tokens) for v in self.inputs}
        names = [output.name for output in self.session.get_outputs()]
        try:
            found = dict(zip(names, self.session.run(None, feeds), strict=True))
        except Exception as error:  # noqa: BLE001 onnxruntime's own types
            self.fail(0, f"its angles and mask cannot be computed for {tokens} tokens after {past}: {error}")
        rows = []
        for row in self.rows:
            mask, cos, sin, at = (found.get(name) for name in row)
            assert cos is not None and sin is not None
            if at is not None:
                if at.size != tokens:
                    self.fail(0, f"{at.size} positions for {tokens} tokens")
                cos, sin = cos[at.reshape(-1)], sin[at.reshape(-1)]
            rows.append([mask, cos.reshape(-1, cos.shape[-1]), sin.reshape(-1, sin.shape[-1])])
        return rows

    def fail(self, layer: int, why: str) -> NoReturn:
        node = self.layers[layer][0]
        raise UnsupportedError(
            [EdgeSparseError(why[:500], where=label(node), hint="RoPE and causal masks, sliding or not, can be read")],
            where="not a decoder that can be read",
        )


def _give(graph: ir.Graph, value: ir.Value | None) -> str:
    """Makes ``value`` an output, by an Identity, for it may be an input or a constant."""
    if value is None:
        return ""
    name = f"edgesparse.probe.{value.name}"
    if name not in {output.name for output in graph.outputs}:
        node = ir.node("Identity", [value])
        made = node.outputs[0]
        made.name, made.type = name, value.type
        graph.append(node)
        graph.outputs.append(made)
    return name


def _table_length(graph: ir.Graph, names: set[str]) -> int:
    """Rows of the shortest constant table that angles are taken from; 0 where they are computed."""
    lengths = []
    left = [value for value in graph.outputs if value.name in names]
    while left:
        node = left.pop().producer()
        if node is None:
            continue
        left.extend(value for value in node.inputs if value is not None)
        table = node.inputs[0]
        if table is None or table.const_value is None or table.dtype is None or not table.dtype.is_floating_point():
            continue
        taken = is_op(node, "Gather", "GatherND", "Slice", "Identity") and not attribute_int(node, "axis", 0)
        if taken and table.shape is not None and len(table.shape) == 2 and isinstance(table.shape[0], int):
            lengths.append(table.shape[0])
    return min(lengths, default=0)


def _frequencies(probe: _Probe, longest: int) -> Array:
    """Refined from the angle at position 1 by those at 2, 4, 8...; then every angle is compared.

    Sines and cosines tell an angle up to full turns, and the frequency so far how many there are.
    """
    steps = [1 << i for i in range(longest.bit_length()) if 1 << i < longest]
    found: Array | None = None
    for step in steps:
        _, cos, sin = probe.run(step, 1)[0]
        assert cos is not None and sin is not None
        angle = np.arctan2(sin[0].astype(np.float64), cos[0].astype(np.float64))
        if found is None:
            found = angle
        else:
            found = (angle + 2 * np.pi * np.round((found * step - angle) / (2 * np.pi))) / step
    if found is None:
        probe.fail(0, f"tables of {longest} positions do not tell the frequencies of RoPE")
    starts = sorted({0, *(s for s in steps if s >= _AT_ONCE)})
    for start in starts:
        count = min(_AT_ONCE, longest - start)
        angles = np.arange(start, start + count)[:, None] * found[None]
        allowed = _TOLERANCE + _ROUNDING * np.abs(angles)
        for layer, (_, cos, sin) in enumerate(probe.run(start, count)):
            assert cos is not None and sin is not None
            if cos.shape != angles.shape or sin.shape != angles.shape:
                probe.fail(layer, f"angles of shape {cos.shape}, where {angles.shape} were expected")
            off = (np.abs(cos - np.cos(angles)) > allowed) | (np.abs(sin - np.sin(angles)) > allowed)
            if off.any():
                row, column = np.argwhere(off)[0]
                probe.fail(
                    layer, f"its tables are not those of rotations by position: at position {start + row}, "
                    f"pair {column}, they say {cos[row, column]:.6g} and {sin[row, column]:.6g}, which should be "
                    f"{np.cos(angles[row, column]):.6g} and {np.sin(angles[row, column]):.6g}",
                )  # fmt: skip
    return found


def _windows(probe: _Probe, context: int) -> tuple[int, ...]:
    """How many keys the last token of a full context sees says how wide a window is; then masks are compared."""
    widths = []
    for layer, (mask, *_) in enumerate(probe.run(context - 1, 1)):
        width = int(_seen(probe, layer, mask, context - 1, 1).sum())
        if not width:
            probe.fail(layer, "its mask hides everything")
        widths.append(width)
    lengths = {(0, 1), (0, 6), (2, 3), *((w - 2, 4) for w in widths if 2 <= w <= context - 2)}
    for past, tokens in sorted((p, t) for p, t in lengths if p + t <= context):
        behind = np.arange(past, past + tokens)[:, None] - np.arange(past + tokens)[None]
        for layer, (mask, *_) in enumerate(probe.run(past, tokens)):
            wanted = (behind >= 0) & (behind < widths[layer])
            if not np.array_equal(_seen(probe, layer, mask, past, tokens), wanted):
                kind = "causal" if widths[layer] == context else f"that of a window of {widths[layer]} positions"
                probe.fail(layer, f"its mask is not {kind}, for {tokens} tokens after {past}")
    return tuple(0 if width == context else width for width in widths)


def _seen(probe: _Probe, layer: int, mask: Array | None, past: int, tokens: int) -> Array:
    """Which keys the tokens see, (tokens, past + tokens)."""
    shape = (tokens, past + tokens)
    causal = attribute_int(probe.layers[layer][0], "is_causal", 0) == 1
    seen = np.tri(*shape, past, dtype=bool) if causal else np.ones(shape, bool)
    if mask is None:
        return seen
    flat = mask.reshape(-1, *mask.shape[-2:]) if mask.ndim >= 2 else mask[None, None]
    if len(flat) != 1 or any(have not in (1, want) for have, want in zip(flat.shape[1:], shape, strict=True)):
        probe.fail(layer, f"a mask of shape {mask.shape} for {tokens} tokens after {past}")
    shown = flat[0] if flat.dtype == bool else flat[0] == 0
    if flat.dtype != bool and (flat[0][~shown] > -1e4).any():
        probe.fail(layer, "its mask adds other numbers than 0 and such as hide a key")
    seen &= np.broadcast_to(shown, shape)
    return seen
