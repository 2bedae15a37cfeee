"""Decoder -> weights.bin and what the C knows of it: in which form each layer is stored, and where.

A layer whose rule leaves out inputs is stored by input (columns), one of which outputs are left out by output (rows).
One without a rule, of 8 or 4 bits, is interleaved: that is read fastest as a whole. Layers that read the same under the
same rule are stored as one, so that what is read of an input is longer and inputs are chosen once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from edgesparse.decoder import pack, pack_qb4
from edgesparse.decoder.blob import Blob
from edgesparse.decoder.gqsa import ROWS, blocks_of, gqsa, zero_share
from edgesparse.decoder.model import Block, Decoder, InputRule, Linear, NeuronRule
from edgesparse.decoder.reference import low_rank
from edgesparse.decoder.sites import groups_of, left_out
from edgesparse.errors import InputError
from edgesparse.types import Array

Form = Literal["f32", "f16", "int8", "int4"]
FORMS: tuple[Form, ...] = ("f32", "f16", "int8", "int4")
KERNELS: Mapping[str, str] = {"f32": "f32", "f16": "f16", "int8": "qc8", "int4": "qb4"}
"""What kernels call a form."""
BREAK_EVEN: Mapping[str, float] = {"f32": 0.85, "f16": 0.8, "int8": 0.9, "int4": 0.9}
"""The share of inputs above which computing with all of them, in the same layout, is no slower: int8 and int4 measured
on a Zen 4 (`bench.decode_kernels`, `bench.llm`), floats an estimate. Which rules are used at all: `worth`."""
INTERLEAVED: frozenset[Form] = frozenset({"int8", "int4"})
"""Forms with a layout for layers that need all of their inputs."""
BLOCK = 32
"""Weights of 4 bits that share a scale."""
BLOCKS_PAY = 0.2
"""The share of blocks of 4 x 16 weights of 4 bits that has to be zero: without half of them, which is 1.71 times fewer
bytes, a model is 1.3 (one core) to 1.7 times as fast as with all (`bench.llm`)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """es_rule of linear.h."""

    threshold: int = -1
    each: bool = False
    spread: float | None = None
    most: int = 0


@dataclass(frozen=True, slots=True)
class Matrix:
    """es_linear of linear.h: offsets into weights.bin, -1 for none. ``layout``: columns, rows, interleaved or blocks.

    ``unit_bytes`` are read for each input that counts (rows: for each output), ``low_bytes`` of the low-rank path
    whenever the rule holds. ``low``: the two matrices of that path. ``computed``: the outputs that come of multiplying
    with it, where layers are stored as one: all of them for the first, 0 for the others.
    """

    site: str
    form: Form
    layout: str
    inputs: int
    outputs: int
    tile: int
    weight: int
    scale: int = -1
    bias: int = -1
    column: int = -1
    start: int = -1
    block: int = 0
    bytes: int = 0
    rule: Rule = Rule()
    low: tuple[Matrix, Matrix] | None = None
    computed: int | None = None

    @property
    def unit_bytes(self) -> float:
        return self.bytes / (self.outputs if self.layout == "rows" else self.inputs)

    @property
    def low_bytes(self) -> int:
        return sum(m.bytes for m in self.low) if self.low else 0

    @property
    def stems(self) -> set[str]:
        """The kernels that multiply with it."""
        kind = KERNELS[self.form]
        own = {"interleaved": "dense"}.get(self.layout, self.layout)
        found = {f"{own}_{kind}", f"{own}_many_{kind}"}
        if self.form in ("int8", "int4"):
            found.add("quantise16_f32" if self.layout == "blocks" else "quantise_f32")
        if self.rule.most or self.rule.spread is not None or self.rule.threshold >= 0:
            found |= {"select_qb4"} if self.form == "int4" else {"select_f32"}
        for matrix in self.low or ():
            found |= matrix.stems
        return found


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """es_block: norms by their name in C, -1 where there is none; matrices by site."""

    norms: Mapping[str, int]
    matrices: Mapping[str, Matrix]
    neurons: Rule | None
    rows: int
    predictor: int


@dataclass(frozen=True, slots=True)
class StoredDecoder:
    blocks: tuple[StoredBlock, ...]
    embedding: Matrix
    head: Matrix
    final_norm: int
    frequencies: int
    stems: frozenset[str]


def form_of(text: str) -> Form:
    """Raises InputError: there are no such weights."""
    for form in FORMS:
        if text == form:
            return form
    raise InputError(f"there are no weights '{text}'", where="--weights", hint=f"one of {', '.join(FORMS)}")


NORMS = ("attention_norm", "mlp_norm", "q_norm", "k_norm", "post_attention_norm", "post_mlp_norm")
_ALWAYS = ("norm_f32", "rope_f32", "attend_f32", "gated_f32", "softmax_f32")


class Store:
    """Packs one decoder into ``blob`` for an ``architecture``. ``break_even``: as `BREAK_EVEN`."""

    def __init__(
        self, decoder: Decoder, form: Form, architecture: str, context: int, blob: Blob,
        break_even: float | None = None, block_sparsity: float = 0.0,
    ) -> None:  # fmt: skip
        self.decoder, self.form, self.context, self.blob = decoder, form, context, blob
        self.block_sparsity = block_sparsity
        self.offset = pack.OFFSET[architecture]
        self.break_even = BREAK_EVEN[form] if break_even is None else break_even

    def all(self, on_progress: Callable[[int, int, str], None] | None = None) -> StoredDecoder:
        """Pack everything. Raises InputError: weights that the form cannot hold, or a full disk."""
        d = self.decoder
        frequencies = self.blob.add(d.frequencies.astype(np.float64))
        final_norm = self.blob.add(d.final_norm.astype(np.float32))
        embedding = self._table("embedding", d.embedding)
        head = replace(embedding, site="head") if d.head is None else self._table("head", d.head)
        blocks = []
        for index, block in enumerate(d.blocks):
            if on_progress:
                on_progress(index, len(d.blocks), f"block {index}")
            blocks.append(self._block(block))
        stems = {*_ALWAYS, *head.stems}
        for stored in blocks:
            stems = stems.union(*(m.stems for m in stored.matrices.values()))
            if stored.neurons is not None:
                stems |= {"select_f32", *({"select_qb4"} if self.form == "int4" else ())}
        if self.form != "f32":
            stems.add(f"row_{KERNELS[self.form]}")
        if d.logit_cap:
            stems.add("activation_f32")
        return StoredDecoder(tuple(blocks), embedding, head, final_norm, frequencies, frozenset(stems))

    def _block(self, block: Block) -> StoredBlock:
        norms = {name: self._vector(getattr(block, name)) for name in NORMS}
        matrices = self._side_by_side(block)
        for site, layer in block.linears():
            if site in matrices:
                continue
            if block.neurons is not None and site in ("up", "down"):
                layout = "rows" if site == "up" else "columns"
            elif self.block_sparsity or (self.form == "int4" and layer.rule is None and _in_blocks(layer)):
                layout = "blocks"
            else:
                layout = "interleaved" if self.form in INTERLEAVED and layer.rule is None else "columns"
            matrices[site] = self._linear(site, layer, layout)
        neurons = None if block.neurons is None else self._rule(block.neurons, block.up.outputs)
        rows = min(block.window or self.context, self.context)
        return StoredBlock(norms, matrices, neurons, rows, block.predictor)

    def _side_by_side(self, block: Block) -> dict[str, Matrix]:
        """The layers that are stored as one with others."""
        found: dict[str, Matrix] = {}
        for sites in stored_as_one(block):
            if len(sites) == 1:
                continue
            layers = [getattr(block, site) for site in sites]
            outputs = sum(layer.outputs for layer in layers)
            whole = self._linear(sites[0], _stacked(layers), "columns")
            for site, layer in zip(sites, layers, strict=True):
                found[site] = replace(
                    whole, site=site, outputs=layer.outputs, bytes=whole.bytes * layer.outputs // outputs,
                    computed=outputs if site == sites[0] else 0,
                )  # fmt: skip
        return found

    def _linear(self, site: str, layer: Linear, layout: str) -> Matrix:
        matrix = self._matrix(site, layer.weight.astype(np.float32), layout)
        matrix = replace(matrix, bias=self._vector(layer.bias))
        if layer.rule is None:
            return matrix
        matrix = replace(matrix, rule=self._rule(layer.rule, layer.inputs))
        if not layer.rule.rank:
            return matrix
        u, v = low_rank(layer.weight, layer.rule.rank)
        # `wide` is cut at the same outputs as the layer itself, and adds its bias
        wide = replace(self._matrix(f"{site}.wide", u, "columns", matrix.tile), bias=matrix.bias)
        return replace(matrix, low=(self._matrix(f"{site}.narrow", v, "columns"), wide))

    def _rule(self, rule: InputRule | NeuronRule, entries: int) -> Rule:
        most = int(self.break_even * entries)
        if rule.spread is not None:
            return Rule(spread=float(rule.spread), most=most)
        threshold = np.broadcast_to(rule.threshold.astype(np.float32), (rule.threshold.size,))
        if threshold.size not in (1, entries):
            raise InputError(f"a rule with {threshold.size} thresholds for {entries} entries")
        return Rule(self.blob.add(threshold), threshold.size > 1, None, most)

    def _matrix(self, site: str, weight: Array, layout: str, tile: int = 0) -> Matrix:
        if layout == "blocks":
            return self._blocks(site, weight)
        outputs, inputs = weight.shape
        if self.form == "int4":
            tile = pack_qb4.PANEL if layout == "interleaved" else pack_qb4.STRIP
        elif layout == "interleaved":
            tile = pack.PANEL
        elif self.form == "int8" and layout == "columns":
            tile = pack.SIDE_BY_SIDE
        tile = tile or pack.tile_for(outputs)
        before = self.blob.bytes
        at, scale = self._packed(weight, layout, tile)
        return Matrix(
            site, self.form, layout, inputs, outputs, tile, at, scale,
            block=BLOCK if self.form == "int4" else 0, bytes=self.blob.bytes - before,
        )  # fmt: skip

    def _blocks(self, site: str, weight: Array) -> Matrix:
        before, add = self.blob.bytes, self.blob.add
        pruned = zero_share(weight) >= max(self.block_sparsity, BLOCKS_PAY)
        kept = blocks_of(weight) if pruned else gqsa(weight, None, self.block_sparsity)
        w, scale, column, start = (add(part) for part in (kept.w, kept.scale, kept.column, kept.start))
        return Matrix(
            site, self.form, "blocks", kept.inputs, kept.outputs, ROWS, w, scale, column=column, start=start,
            bytes=self.blob.bytes - before,
        )  # fmt: skip

    def _packed(self, weight: Array, layout: str, tile: int) -> tuple[int, int]:
        """Offsets of the weights and their scales."""
        by_rows, add = layout == "rows", self.blob.add
        if self.form == "f32":
            return add(pack.rows_f32(weight) if by_rows else pack.columns_f32(weight, tile)), -1
        if self.form == "f16":
            return add(pack.rows_f16(weight) if by_rows else pack.columns_f16(weight, tile)), -1
        if self.form == "int8":
            if layout == "interleaved":
                packed, scale = pack.dense_qc8(weight, self.offset)
            elif by_rows:
                packed, scale = pack.rows_qc8(weight, self.offset)
            else:
                packed, scale = pack.columns_qc8(weight, tile, self.offset)
            return add(packed), add(scale)
        nibbles = pack_qb4.quantise_qb4(weight, BLOCK)
        if layout == "interleaved":
            four = pack_qb4.dense_qb4(nibbles)
        else:
            four = pack_qb4.rows_qb4(nibbles) if by_rows else pack_qb4.columns_qb4(nibbles)
        return add(four.w), add(four.wscale)

    def _table(self, site: str, weight: Array) -> Matrix:
        """The embedding or the head: rows are looked up."""
        return self._matrix(site, weight.astype(np.float32), "interleaved" if self.form in INTERLEAVED else "rows")

    def _vector(self, vector: Array | None) -> int:
        return -1 if vector is None else self.blob.add(vector.astype(np.float32))


def _in_blocks(layer: Linear) -> bool:
    """Whether blocks of weights have been left out, so many that the others are read faster on their own."""
    return zero_share(layer.weight) >= BLOCKS_PAY


def stored_as_one(block: Block) -> list[tuple[str, ...]]:
    """All layers of ``block``, by the matrix that they are stored in: those that read the same under one rule together,
    every other by itself."""
    found: list[tuple[str, ...]] = []
    for sites in groups_of(block).values():
        one = len(sites) == 1 or _one_rule([getattr(block, site) for site in sites])
        found += [sites] if one else [(site,) for site in sites]
    return found


def _one_rule(layers: list[Linear]) -> bool:
    """Whether all have the same rule, and nothing beside it."""
    rules = [layer.rule for layer in layers]
    first = rules[0]
    if first is None or first.rank:
        return False
    return all(
        rule is not None and (rule.spread, rule.rank) == (first.spread, 0)
        and np.array_equal(rule.threshold, first.threshold) for rule in rules
    )  # fmt: skip


def _stacked(layers: list[Linear]) -> Linear:
    """One above the other, under the rule of the first."""
    bias = None
    if any(layer.bias is not None for layer in layers):
        bias = np.concatenate([np.zeros(x.outputs, np.float32) if x.bias is None else x.bias for x in layers])
    return Linear(np.concatenate([layer.weight for layer in layers]), bias, layers[0].rule)


def describe_rules(decoder: Decoder) -> dict[str, Any]:
    """What the manifest says of the rules: method, and the share of the weights of all linear layers that is left out;
    nothing where there are none."""
    rules = [layer.rule for block in decoder.blocks for _, layer in block.linears() if layer.rule is not None]
    found: list[InputRule | NeuronRule] = [*rules, *(b.neurons for b in decoder.blocks if b.neurons is not None)]
    if not found:
        return {}
    methods = "+".join(sorted({r.method for r in found}))
    return {"method": methods, "sparsity": round(max(left_out(decoder), 0.0), 6)}
