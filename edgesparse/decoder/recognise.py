"""An ONNX decoder with a cache of keys and values -> Decoder, its rules included.

The graph is brought to one form by passes (`canonical`) and read from the logits backwards, residual by residual. What
does not belong to a decoder stops the reading there, with the node and the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgesparse.decoder.agreement import Inputs, check_agreement
from edgesparse.decoder.finite import check_finite
from edgesparse.decoder.heads import Found, Heads, check_same, heads_of
from edgesparse.decoder.layers import (
    Layer,
    embedding,
    first_input,
    layer_of,
    linear_layer,
    neurons,
    normed,
    permutation,
    stop,
    through,
    uncapped,
    unsupported,
    weight,
)  # fmt: skip
from edgesparse.decoder.metadata import FACTS, Facts, Linears, facts_of, rules_of, with_rules
from edgesparse.decoder.model import Block, Decoder
from edgesparse.decoder.positions import Positions, read_positions
from edgesparse.errors import InputError
from edgesparse.passes.decoders import canonical
from edgesparse.passes.match import (
    attribute_float,
    attribute_int,
    is_op,
    label,
    operand,
    refusal,
)
from edgesparse.types import Array

_UNSTATED_CONTEXT = 2048


def recognise(model: ir.Model) -> Decoder:
    """The decoder that ``model`` computes; ``model`` stays as it is.

    Where another exporter made it, its context is as long as its RoPE tables, or 2048 positions where it computes them.

    Raises:
        UnsupportedError: it is not a decoder of this kind; names the node at which reading stopped, and why.
        InputError: weights that are NaN or infinite, damaged metadata, or rules of other weights.
    """
    decoder, linears = _read(model)
    rules = rules_of(model, linears)
    return decoder if rules is None else with_rules(decoder, rules)


def linears_of(model: ir.Model) -> Linears:
    """The MatMul (or Gemm) of every linear layer in ``model``, by (block, site). Raises as `recognise`."""
    return _read(model)[1]


def _read(model: ir.Model) -> tuple[Decoder, Linears]:
    copy = model.clone()
    original = dict(zip(copy.graph, model.graph, strict=True))
    canonical(copy)
    reader = _Reader(copy)
    decoder = reader.decoder()
    check_finite(decoder, f"the decoder '{decoder.name}'")  # before agreement, which would only say that NaN differs
    if facts_of(model) is None:  # not our own: what reads like a decoder need not be one
        assert reader.inputs is not None
        check_agreement(model, decoder, reader.inputs, str(reader.logits().name), reader.caches)
    return decoder, {key: original[node] for key, node in reader.linears.items()}


class _Reader:
    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.linears: dict[tuple[int, str], ir.Node] = {}
        self.eps: set[float] = set()
        self.inputs: Inputs | None = None
        self.caches: list[tuple[str, str]] = []

    def decoder(self) -> Decoder:
        logits = self.logits()
        value, cap = uncapped(logits)
        head = layer_of(value, "the vocabulary")
        final_norm = self.norm(head.x, "the last layer")
        blocks: list[tuple[Block, Found, dict[str, ir.Node]]] = []
        x = head_input = normed(head.x)
        while (add := x.producer()) is not None and is_op(add, "Add") and embedding(x) is None:
            block, found, nodes, x = self.block(add)
            blocks.insert(0, (block, found, nodes))
        embedded = embedding(x)
        if embedded is None or not blocks:
            stop(x if blocks else head_input, "neither the sum of a residual nor the embedding of tokens")
        tokens, table, scale = embedded
        dims = [] if tokens.shape is None else list(tokens.shape)
        if len(dims) != 2 or (isinstance(dims[0], int) and dims[0] != 1) or isinstance(dims[1], int):
            raise unsupported("tokens must be (1, T), with a T that varies", f"'{tokens.name}'")
        self.linears = {(i, site): node for i, (_, _, nodes) in enumerate(blocks) for site, node in nodes.items()}
        first = blocks[0][1]
        for _, found, _ in blocks:
            check_same(first, found)
        attentions = [found.attention for _, found, _ in blocks]
        self.caches = [
            (str(node.inputs[4 + i].name), str(node.outputs[1 + i].name))  # type: ignore[union-attr]
            for node in attentions for i in (0, 1)
        ]  # fmt: skip
        self.inputs = Inputs(tokens, frozenset(past for past, _ in self.caches))
        layers = [(found.attention, node) for _, found, _ in blocks for node in found.rotary]
        positions = read_positions(self.model, self.inputs, layers)
        return self.whole(table, scale, [b for b, _, _ in blocks], final_norm, head, cap, first, positions)

    def whole(
        self, table: Array, scale: float, blocks: Sequence[Block], final_norm: Array, head: Layer, cap: float,
        found: Found, positions: Positions,
    ) -> Decoder:  # fmt: skip
        if len(self.eps) != 1:
            stop(head.x, f"norms differ in epsilon: {sorted(self.eps)}")
        if head.linear.bias is not None:
            stop(head.node, "a bias on the vocabulary")
        last = head.linear.weight
        tied = last.shape == table.shape and (np.shares_memory(last, table) or np.array_equal(last, table))
        facts = facts_of(self.model) or Facts(context=positions.context or _UNSTATED_CONTEXT)
        if (most := max(facts.bos, *facts.stops, -1)) >= len(table):
            raise InputError(
                f"token {most} begins or ends a text; the vocabulary has {len(table)}", where=FACTS,
                hint="import the checkpoint again",
            )  # fmt: skip
        return Decoder(
            name=facts.name,
            embedding=table,
            blocks=tuple(replace(b, window=w) for b, w in zip(blocks, positions.windows[::2], strict=True)),
            final_norm=final_norm, head=None if tied else last,
            heads=found.heads, kv_heads=found.kv_heads, head_dim=found.head_dim,
            context=facts.context,
            frequencies=positions.frequencies, interleaved=bool(attribute_int(found.rotary[0], "interleaved", 0)),
            norm_eps=self.eps.pop(), activation=found.activation,
            attention_scale=attribute_float(found.attention, "scale", found.head_dim**-0.5),
            attention_cap=attribute_float(found.attention, "softcap", 0.0), logit_cap=cap, embedding_scale=scale,
            dense_positions=facts.dense_positions, bos=facts.bos, stops=facts.stops,
        )  # fmt: skip

    def logits(self) -> ir.Value:
        """The output that no Attention makes."""
        attentions = [node for node in self.model.graph if is_op(node, "Attention")]
        why = [f"; {label(node)}: {reason}" for node in self.model.graph if (reason := refusal(node))]
        if not attentions:
            raise unsupported(f"no attention over a cache of keys and values{''.join(why[:1])}", "the graph")
        cached = {value for node in attentions for value in node.outputs[1:]}
        left = [value for value in self.model.graph.outputs if value not in cached]
        if len(left) != 1:
            names = ", ".join(f"'{value.name}'" for value in left) or "none of logits"
            what = f"outputs beside keys, values and one of logits: {names}{''.join(why[:1])}"
            raise unsupported(what, "the graph")
        return left[0]

    def block(self, add: ir.Node) -> tuple[Block, Found, dict[str, ir.Node], ir.Value]:
        """The block that ends in ``add``, and the value that it reads."""
        mlp, middle = self.branch(add)
        post_mlp = self.norm(mlp, "") if is_op(mlp.producer(), "RMSNormalization") else None
        down = layer_of(normed(mlp) if post_mlp is not None else mlp, "down")
        gate, up, activation, h, predictor = neurons(down.x)
        if normed(h) is not middle:
            stop(h, "the norm of a feed-forward network does not read the residual that it is added to")
        second = middle.producer()
        if second is None or not is_op(second, "Add"):
            stop(middle, "not the sum of a residual and attention")
        attended, x = self.branch(second)
        post_attention = self.norm(attended, "") if is_op(attended.producer(), "RMSNormalization") else None
        o = layer_of(normed(attended) if post_attention is not None else attended, "o")
        q, k, v, node = self.attention(o.x)
        if not (q.layer.x is k.layer.x is v.layer.x) or normed(q.layer.x) is not x:
            stop(node, "queries, keys and values do not read one norm of the residual")
        block = Block(
            attention_norm=self.norm(q.layer.x, "attention"), q=q.layer.linear, k=k.layer.linear, v=v.layer.linear,
            o=o.linear, mlp_norm=self.norm(h, "the feed-forward network"),
            gate=None if gate is None else gate.linear, up=up.linear, down=down.linear, q_norm=q.gain, k_norm=k.gain,
            post_attention_norm=post_attention, post_mlp_norm=post_mlp, predictor=predictor,
        )  # fmt: skip
        nodes = {"q": q.layer.node, "k": k.layer.node, "v": v.layer.node, "o": o.node, "up": up.node, "down": down.node}
        if gate is not None:
            nodes["gate"] = gate.node
        return block, heads_of(node, q, k, activation), nodes, x

    def branch(self, add: ir.Node) -> tuple[ir.Value, ir.Value]:
        """(what is added, the residual): what is added ends in a linear layer, with a norm behind it or not."""
        first, second = add.inputs
        assert first is not None and second is not None
        ways = [
            (a, b) for a, b in ((first, second), (second, first)) if self.ends_linear(a) and not self.ends_linear(b)
        ]
        if len(ways) != 1:
            stop(add, "a sum, of which not just one part is the output of a linear layer")
        return ways[0]

    def ends_linear(self, value: ir.Value) -> bool:
        node = value.producer()
        if is_op(node, "RMSNormalization"):
            value = normed(value)
        return linear_layer(value) is not None

    def attention(self, value: ir.Value) -> tuple[Heads, Heads, Heads, ir.Node]:
        value = through(value, "Reshape")
        node = value.producer()
        if node is not None and is_op(node, "Transpose") and permutation(node) == [0, 2, 1, 3]:
            value = first_input(node)
        node = value.producer()
        if node is None or not is_op(node, "Attention"):
            stop(value, "not attention, before a linear layer that is added to the residual")
        q, k, v = (self.heads(x) for x in node.inputs[:3] if x is not None)
        if q.rotary is None or k.rotary is None or v.rotary is not None or v.gain is not None:
            stop(node, "RoPE must act on queries and keys, and on nothing else")
        return q, k, v, node

    def heads(self, value: ir.Value) -> Heads:
        gain, rotary = None, None
        while (node := value.producer()) is not None and linear_layer(value) is None:
            if is_op(node, "RotaryEmbedding") and rotary is None and gain is None:
                rotary = node
            elif is_op(node, "RMSNormalization") and gain is None:
                gain = self.norm(value, "")
            elif not (is_op(node, "Reshape") or (is_op(node, "Transpose") and permutation(node) == [0, 2, 1, 3])):
                stop(node, "between a linear layer and attention")
            value = first_input(node)
        return Heads(layer_of(value, "attention"), gain, rotary)

    def norm(self, value: ir.Value, what: str) -> Array:
        """The gain of the norm that makes ``value``."""
        node = value.producer()
        if node is None or not is_op(node, "RMSNormalization"):
            stop(value, f"not the RMSNorm of {what}")
        gain, rank = weight(operand(node, 1)), None if value.shape is None else len(value.shape)
        axis = attribute_int(node, "axis", -1)
        if gain is None or gain.ndim != 1 or (axis != -1 and axis + 1 != rank):
            stop(node, "a norm must be over the last axis, by constant gains")
        self.eps.add(attribute_float(node, "epsilon", 1e-5))
        return gain.astype(np.float32)
