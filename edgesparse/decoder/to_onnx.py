"""Decoder -> ONNX, opset 23, standard operators only: what `recognise` reads, and what other runtimes run densely.

Inputs ``input_ids`` and ``position_ids`` (1, T), int64, ``past_key_values.N.key`` and ``.value``
(1, kv_heads, P, head_dim); outputs ``logits`` (1, T, vocabulary), ``present.N.key`` and ``.value``
(1, kv_heads, P + T, head_dim), which are the next call's past.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgesparse.decoder.metadata import attach_rules, set_facts
from edgesparse.decoder.model import Block, Decoder, Linear
from edgesparse.types import Array
from edgesparse.version import __version__

OPSET, IR_VERSION = 23, 10


def to_onnx(decoder: Decoder) -> ir.Model:
    """The model, with the decoder's rules in its metadata. Weights are shared with the decoder, not copied."""
    return _Writer(decoder).model()


class _Turned(ir.Tensor[Any]):
    """A matrix that is stored transposed. NumPy writes what does not lie in order element by element, at a third of the
    speed; pieces of some rows stay in the cache."""

    _ROWS = 32

    def tobytes(self) -> bytes:
        return self._in_order().tobytes()

    def tofile(self, file: Any) -> None:
        file.write(self._in_order().data)

    def _in_order(self) -> Array:
        view = self.numpy()
        made = np.empty(view.shape, view.dtype)
        for start in range(0, view.shape[1], self._ROWS):
            made[:, start : start + self._ROWS] = view[:, start : start + self._ROWS]
        return made


class _Writer:
    """Appends nodes to one graph; the methods return what a node makes."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=decoder.name or "decoder")
        self.at = ""  # where the next nodes belong, the first part of their names
        self.known: dict[str, ir.Value] = {}  # constants that blocks share
        self.linears: dict[tuple[int, str], ir.Node] = {}

    def model(self) -> ir.Model:
        d, graph = self.decoder, self.graph
        tokens = self.input("input_ids", ir.DataType.INT64, (1, "tokens"))
        self.positions = self.input("position_ids", ir.DataType.INT64, (1, "tokens"))
        cache = (1, d.kv_heads, "past", d.head_dim)
        past = [
            (self.input(f"past_key_values.{i}.key", ir.DataType.FLOAT, cache),
             self.input(f"past_key_values.{i}.value", ir.DataType.FLOAT, cache))
            for i in range(len(d.blocks))
        ]  # fmt: skip
        angles = np.arange(d.context)[:, None] * d.frequencies[None].astype(np.float64)
        self.turn = self.weight("rope.cos", np.cos(angles)), self.weight("rope.sin", np.sin(angles))

        table = self.weight("embed_tokens.weight", d.embedding)
        x = self.single(self.node("Gather", "embed_tokens", table, tokens), d.embedding)
        if d.embedding_scale != 1:
            x = self.node("Mul", "embed_scale", x, self.weight("embed_scale.value", np.array(d.embedding_scale)))
        for index, block in enumerate(d.blocks):
            x = self.block(index, block, x, past[index])
        self.at = ""
        x = self.norm("norm", x, d.final_norm)
        if d.head is None:
            head = self.single(self.node("Transpose", "lm_head.transposed", table, perm=[1, 0]), d.embedding)
        else:
            head = self.single(self.weight("lm_head.weight", d.head.T), d.head)
        x = self.capped("lm_head", self.node("MatMul", "lm_head", x, head), d.logit_cap)
        self.output(x, "logits", (1, "tokens", d.vocabulary))
        graph.outputs.insert(0, graph.outputs.pop())
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="edgesparse", producer_version=__version__)
        set_facts(model, d)
        attach_rules(model, d, self.linears)
        return model

    def block(self, index: int, block: Block, x: ir.Value, past: tuple[ir.Value, ir.Value]) -> ir.Value:
        self.at = f"layers.{index}."
        h = self.norm("input_layernorm", x, block.attention_norm)
        h = self.attention(index, block, h, past)
        if block.post_attention_norm is not None:
            h = self.norm("attention_norm_after", h, block.post_attention_norm)
        x = self.node("Add", "attention_residual", x, h)
        h = self.norm("mlp_layernorm", x, block.mlp_norm)
        h = self.linear(index, "down", block.down, self.neurons(index, block, h))
        if block.post_mlp_norm is not None:
            h = self.norm("mlp_norm_after", h, block.post_mlp_norm)
        return self.node("Add", "mlp_residual", x, h)

    def attention(self, index: int, block: Block, h: ir.Value, past: tuple[ir.Value, ir.Value]) -> ir.Value:
        d = self.decoder
        q = self.turned("q", self.heads("q", self.linear(index, "q", block.q, h), d.heads), block.q_norm)
        k = self.turned("k", self.heads("k", self.linear(index, "k", block.k, h), d.kv_heads), block.k_norm)
        v = self.heads("v", self.linear(index, "v", block.v, h), d.kv_heads)
        node = ir.node(
            "Attention", [q, k, v, self.mask(block.window, past[0]), *past], num_outputs=3,
            attributes={"is_causal": 1, "scale": float(d.attention_scale), "softcap": float(d.attention_cap)},
            name=f"{self.at}attention",
        )  # fmt: skip
        self.graph.append(node)
        node.outputs[0].name = f"{self.at}attention.output"
        for value, kind in zip(node.outputs[1:], ("key", "value"), strict=True):
            self.output(value, f"present.{index}.{kind}", (1, d.kv_heads, "past + tokens", d.head_dim))
        y = self.node("Transpose", "attention.tokens", node.outputs[0], perm=[0, 2, 1, 3])
        y = self.node("Reshape", "attention.joined", y, self.integers("joined", 0, 0, d.heads * d.head_dim))
        return self.linear(index, "o", block.o, y)

    def neurons(self, index: int, block: Block, h: ir.Value) -> ir.Value:
        """What ``down`` reads."""
        first = second = h
        if block.predictor:
            one, two, axis = (self.integers(str(n), n) for n in (0, block.predictor, -1))
            end = self.integers("end", np.iinfo(np.int64).max)
            first = self.node("Slice", "mlp.predictor", h, one, two, axis)
            second = self.node("Slice", "mlp.rest", h, two, end, axis)
        up = self.linear(index, "up", block.up, second)
        if block.gate is None:
            return self.activated(up)
        return self.node("Mul", "mlp.product", self.activated(self.linear(index, "gate", block.gate, first)), up)

    def activated(self, x: ir.Value) -> ir.Value:
        kind = self.decoder.activation
        if kind == "silu":
            return self.node("Mul", "mlp.act", x, self.node("Sigmoid", "mlp.sigmoid", x))
        if kind == "relu":
            return self.node("Relu", "mlp.act", x)
        return self.node("Gelu", "mlp.act", x, approximate="tanh" if kind == "gelu_tanh" else "none")

    def linear(self, index: int, site: str, layer: Linear, x: ir.Value) -> ir.Value:
        weight = self.single(self.weight(f"{self.at}{site}.weight", layer.weight.T), layer.weight)
        y = self.node("MatMul", site, x, weight)
        node = y.producer()
        assert node is not None
        self.linears[index, site] = node
        return y if layer.bias is None else self.node(
            "Add", f"{site}.biased", y, self.weight(f"{self.at}{site}.bias", layer.bias))  # fmt: skip

    def heads(self, site: str, x: ir.Value, count: int) -> ir.Value:
        """(1, T, count * head_dim) -> (1, count, T, head_dim)."""
        x = self.node(
            "Reshape", f"{site}.split", x, self.integers(f"heads.{count}", 0, 0, count, self.decoder.head_dim)
        )
        return self.node("Transpose", f"{site}.heads", x, perm=[0, 2, 1, 3])

    def turned(self, site: str, x: ir.Value, gain: Array | None) -> ir.Value:
        if gain is not None:
            x = self.norm(f"{site}_norm", x, gain)
        rotary = 2 * len(self.decoder.frequencies)
        return self.node(
            "RotaryEmbedding", f"{site}.rope", x, *self.turn, self.positions, interleaved=int(self.decoder.interleaved),
            rotary_embedding_dim=rotary if rotary < self.decoder.head_dim else 0,
        )  # fmt: skip

    def mask(self, window: int, past: ir.Value) -> ir.Value | None:
        """Which of the P + T keys are less than ``window`` positions behind, (1, 1, T, P + T); None for all."""
        if not window:
            return None
        if (found := self.known.get(f"window.{window}")) is not None:
            return found
        at, self.at = self.at, ""
        seen = self.node("Less", f"window.{window}", self.behind(past), self.number(window))
        self.at, self.known[f"window.{window}"] = at, seen
        return seen

    def behind(self, past: ir.Value) -> ir.Value:
        """How many positions each key is behind each token, (1, 1, T, P + T)."""
        if (found := self.known.get("behind")) is not None:
            return found
        cached = self.node("Shape", "past.length", past, start=2, end=3)
        fresh = self.node("Shape", "tokens.length", self.positions, start=1, end=2)
        limit = self.node("Squeeze", "keys.limit", self.node("Add", "keys.count", cached, fresh))
        keys = self.node("Range", "keys", self.number(0), limit, self.number(1))
        queries = self.node("Unsqueeze", "queries", self.positions, self.integers("window.axes", 1, 3))
        self.known["behind"] = self.node("Sub", "behind", queries, keys)
        return self.known["behind"]

    def capped(self, name: str, x: ir.Value, cap: float) -> ir.Value:
        if not cap:
            return x
        value = self.weight(f"{name}.cap", np.array(cap))
        x = self.node("Tanh", f"{name}.tanh", self.node("Div", f"{name}.scaled", x, value))
        return self.node("Mul", f"{name}.capped", x, value)

    def norm(self, name: str, x: ir.Value, gain: Array) -> ir.Value:
        weight = self.weight(f"{self.at}{name}.weight", gain.astype(np.float32))
        return self.node("RMSNormalization", name, x, weight, axis=-1, epsilon=float(self.decoder.norm_eps))

    def single(self, value: ir.Value, stored: Array) -> ir.Value:
        """``value`` as float32. Halves stay halves in the file; runtimes convert constants once."""
        return (
            value if stored.dtype == np.float32 else self.node("Cast", f"{value.name}.f32", value, to=ir.DataType.FLOAT)
        )

    def node(self, op: str, name: str, *inputs: ir.Value, **attributes: int | float | str | list[int]) -> ir.Value:
        name = name if name.startswith(self.at) else self.at + name
        node = ir.node(op, inputs, attributes=attributes, name=name)
        node.outputs[0].name = f"{name}.output"
        self.graph.append(node)
        return node.outputs[0]

    def weight(self, name: str, array: Array) -> ir.Value:
        if array.dtype not in (np.float32, np.float16, np.int64):
            array = array.astype(np.float32)
        kind = _Turned if array.ndim == 2 and not array.flags.c_contiguous else ir.Tensor
        dtype = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        value = ir.Value(name=name, const_value=kind(array, name=name), shape=ir.Shape(array.shape), type=dtype)
        self.graph.register_initializer(value)
        return value

    def integers(self, name: str, *numbers: int) -> ir.Value:
        return self.shared(f"const.{name}", np.array(numbers, np.int64))

    def number(self, number: int) -> ir.Value:
        return self.shared(f"const.number.{number}", np.array(number, np.int64))

    def shared(self, name: str, array: Array) -> ir.Value:
        if name not in self.known:
            self.known[name] = self.weight(name, array)
        return self.known[name]

    def input(self, name: str, dtype: ir.DataType, shape: tuple[int | str, ...]) -> ir.Value:
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self.graph.inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, shape: tuple[int | str, ...]) -> None:
        value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
        self.graph.outputs.append(value)
