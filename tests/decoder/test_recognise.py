"""What torch exports is recognised, however it was written; what is no such decoder is refused where it differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.decoder.metadata import attach_rules
from edgesparse.decoder.model import Decoder, InputRule
from edgesparse.decoder.recognise import linears_of, recognise
from edgesparse.decoder.reference import logits
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.errors import UnsupportedError
from edgesparse.importer import load, save
from edgesparse.passes.match import new_initializer
from tests.conftest import PROJECT
from tests.decoder.made import decoder
from tests.decoder.onnx_session import OnnxSession

PROMPTS = ([1], [5, 9, 200, 41], [7] * 9, list(range(30)), [255, 0])
SHAPES: dict[str, tuple[int, dict[str, Any]]] = {
    "formulas": (18, {}),
    "formulas, opset 23": (23, {"layers": 1, "tables": False, "activation": "gelu"}),
    "functions of torch": (18, {"fused": True, "interleaved": True, "tied": False, "bias": True, "tables": False}),
    "functions of torch, opset 23": (23, {"fused": True, "layers": 1, "kv_heads": 1, "activation": "gelu_tanh"}),
    "no gate": (18, {"layers": 1, "gated": False, "activation": "relu", "kv_heads": 4, "interleaved": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_torch_exports(name: str, require: Callable[[str], None]) -> None:
    """Five texts are continued alike by torch, by onnxruntime on its export and on ours, and by the reference."""
    require("torch")
    from edgesparse.examples.llama import Shape, llama
    from edgesparse.frontend import export

    opset, settings = SHAPES[name]
    module, inputs, varying = llama(Shape(**settings))
    exported = export(module, inputs, opset=opset, dynamic_shapes=varying)
    before = ir.to_proto(exported).SerializeToString()
    found = recognise(exported)
    assert ir.to_proto(exported).SerializeToString() == before
    assert (found.head is None, found.interleaved) == (settings.get("tied", True), settings.get("interleaved", False))
    assert found.context == (2048 if settings.get("tables") is False else 128)
    assert found.activation == settings.get("activation", "silu")
    theirs, ours = OnnxSession(exported), OnnxSession(to_onnx(found))
    for prompt in PROMPTS:
        wanted = greedy_in_torch(module, found, prompt)
        assert theirs.greedy(prompt, 12) == wanted
        assert ours.greedy(prompt, 12) == wanted
        continued = logits(found, np.array([prompt + wanted[:-1]]))[0, len(prompt) - 1 :]
        assert continued.argmax(-1).tolist() == wanted


def greedy_in_torch(module: Any, found: Decoder, prompt: list[int]) -> list[int]:
    """All at once each time, over an empty cache."""
    import torch

    tokens = list(prompt)
    past = [torch.zeros(1, found.kv_heads, 0, found.head_dim) for _ in range(2 * len(found.blocks))]
    with torch.no_grad():
        for _ in range(12):
            out = module(torch.tensor([tokens]), torch.arange(len(tokens))[None], *past)[0]
            tokens.append(int(out[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_rules_are_attached_to_what_torch_exported(tmp_path: Path, require: Callable[[str], None]) -> None:
    require("torch")
    from edgesparse.frontend import export_factory

    model = export_factory(f"{PROJECT / 'examples' / 'llama.py'}:tiny")
    plain = recognise(model)
    rule = InputRule("teal", 0.5, np.array([0.125], np.float32))
    blocks = tuple(replace(b, down=replace(b.down, rule=rule)) for b in plain.blocks)
    attach_rules(model, replace(plain, blocks=blocks), linears_of(model))
    save(model, tmp_path / "sparse.onnx")
    found = recognise(load(tmp_path / "sparse.onnx"))
    for block in found.blocks:
        assert block.down.rule is not None and block.down.rule.threshold.tolist() == [0.125]
        assert all(layer.rule is None for site, layer in block.linears() if site != "down")


def node_of(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


def put(model: ir.Model, node: str, index: int, array: Any) -> None:
    made = new_initializer(model.graph, "changed", np.asarray(array))
    node_of(model, node).replace_input_with(index, made)


def constant_of(model: ir.Model, name: str) -> Any:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def insert(model: ir.Model, op: str, after: str, **attributes: Any) -> None:
    """A node behind the node ``after``, for all its readers."""
    value = node_of(model, after).outputs[0]
    node = ir.node(op, [value], attributes=attributes, name="inserted")
    value.replace_all_uses_with(node.outputs[0])
    node.replace_input_with(0, value)
    model.graph.insert_after(node_of(model, after), node)


def set_attribute(model: ir.Model, node: str, value: ir.Attr) -> None:
    node_of(model, node).attributes[value.name] = value


def output_of_a_layer(model: ir.Model) -> None:
    model.graph.outputs.append(node_of(model, "layers.0.gate").outputs[0])


def without_cache(model: ir.Model) -> None:
    model.graph.outputs.remove(node_of(model, "layers.1.attention").outputs[1])


def noisy_table(model: ir.Model) -> None:
    table = constant_of(model, "rope.cos").copy()
    table[20, 3] += 0.01
    put(model, "layers.1.k.rope", 1, table)


CHANGES: dict[str, tuple[Callable[[ir.Model], None], str, str]] = {
    "another activation": (
        lambda m: insert(m, "Tanh", "layers.1.mlp.act"), "layers.1.mlp.product",
        "no product of an activated linear layer"),
    "something in the residual": (
        lambda m: insert(m, "Neg", "layers.0.mlp_residual"), "inserted", "neither the sum of a residual nor the embed"),
    "something before the vocabulary": (
        lambda m: insert(m, "Neg", "norm"), "inserted", "not the RMSNorm of the last layer"),
    "a norm with another epsilon": (
        lambda m: set_attribute(m, "layers.1.mlp_layernorm", ir.AttrFloat32("epsilon", 0.5)), "norm",
        "norms differ in epsilon"),
    "RoPE on values": (
        lambda m: node_of(m, "layers.1.attention").replace_input_with(2, node_of(m, "layers.1.k.rope").outputs[0]),
        "layers.1.attention", "RoPE must act on queries and keys, and on nothing else"),
    "no RoPE on keys": (
        lambda m: node_of(m, "layers.1.attention").replace_input_with(1, node_of(m, "layers.1.k.heads").outputs[0]),
        "layers.1.attention", "RoPE must act on queries and keys"),
    "values in front of attention": (
        lambda m: insert(m, "Neg", "layers.0.v.heads"), "inserted", "between a linear layer and attention"),
    "another scale in a block": (
        lambda m: set_attribute(m, "layers.1.attention", ir.AttrFloat32("scale", 0.5)), "layers.1.attention",
        "another scale than in the first block"),
    "other pairs in a block": (
        lambda m: set_attribute(m, "layers.1.k.rope", ir.AttrInt64("interleaved", 1)), "layers.1.k.rope",
        "turns other pairs"),
    "tables that are no rotation": (
        lambda m: put(m, "layers.0.q.rope", 1, 1.1 * constant_of(m, "rope.cos")), "layers.0.attention",
        "its tables are not those of rotations by position: at position 0"),
    "one entry of a table": (noisy_table, "layers.1.attention", "at position 20, pair 3"),
    "an output of a layer": (output_of_a_layer, "the graph", "outputs beside keys, values and one of logits"),
    "keys that are dropped": (without_cache, "layers.1.attention", "do not come from an input and go to an output"),
    "not causal": (
        lambda m: set_attribute(m, "layers.1.attention", ir.AttrInt64("is_causal", 0)), "layers.1.attention",
        "its mask is not causal, for 6 tokens after 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_refuses_and_says_where(name: str) -> None:
    change, where, what = CHANGES[name]
    model = to_onnx(decoder())
    change(model)
    with pytest.raises(UnsupportedError) as error:
        recognise(model)
    (problem,) = error.value.problems
    assert where in problem.where and what in problem.what
    assert error.value.exit_code == 3


def test_what_reads_like_a_decoder_is_compared_with_it() -> None:
    """Values divided into heads as if tokens came last: every node is one that a decoder has."""
    model = to_onnx(decoder())
    model.metadata_props.clear()  # as if another exporter had made it
    assert recognise(model).heads == 4
    put(model, "layers.0.v.split", 1, np.array([1, 2, -1, 16]))
    node_of(model, "layers.0.attention").replace_input_with(2, node_of(model, "layers.0.v.split").outputs[0])
    with pytest.raises(UnsupportedError) as error:
        recognise(model)
    assert "computes other logits than a decoder with these weights" in error.value.problems[0].what


@pytest.mark.parametrize("axes", [{"input_ids": {1: 5}}, {"input_ids": {0: 2}}])
def test_fixed_sizes_are_refused(axes: dict[str, dict[int, int]]) -> None:
    model = to_onnx(decoder())
    for value in model.graph.inputs:
        for axis, size in axes.get(str(value.name), {}).items():
            assert value.shape is not None
            value.shape = ir.Shape([size if i == axis else d for i, d in enumerate(value.shape)])
    with pytest.raises(UnsupportedError) as error:
        recognise(model)
    assert "tokens must be (1, T), with a T that varies" in error.value.problems[0].what
