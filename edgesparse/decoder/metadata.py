"""What an ONNX decoder carries beside its graph: facts, rules of activation sparsity, the fingerprint they belong to.

In the model's metadata ``edgesparse.decoder`` (JSON) and ``edgesparse.rules`` (JSON: methods, sparsity, fingerprint);
in that of a layer's MatMul ``edgesparse.rule``, and of a gate's ``edgesparse.neurons`` (JSON, thresholds as base64 of
float32). Other runtimes look at none of it and compute densely.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import numpy as np
import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesparse.decoder.model import Decoder, InputRule, NeuronRule
from edgesparse.decoder.sites import left_out
from edgesparse.errors import InputError
from edgesparse.types import Array

FACTS, RULES, RULE, NEURONS = "edgesparse.decoder", "edgesparse.rules", "edgesparse.rule", "edgesparse.neurons"
LONGEST = 1 << 22
"""Positions that RoPE tables are made for, at most: a number in a damaged file must not take all memory."""
_Kind = TypeVar("_Kind", bound=BaseModel)
_PIECE = 1 << 20  # elements that are hashed at once
_HINT = "run `edgesparse calibrate-activations` on this model"
Linears = Mapping[tuple[int, str], ir.Node]
"""The MatMul of each linear layer, by (block, site)."""


class Facts(BaseModel):
    """What no graph says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="decoder", max_length=200)
    context: int = Field(gt=0, le=LONGEST)
    dense_positions: int = Field(default=4, ge=0)
    bos: int = Field(default=-1, ge=-1)
    stops: tuple[Annotated[int, Field(ge=0)], ...] = ()


class _Stored(BaseModel):
    """A rule as it is written. What is no number would be written as null, and read as a rule without a spread."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: str = Field(max_length=80)
    sparsity: float = Field(ge=0, le=1)
    threshold: str
    spread: float | None = None
    rank: int = Field(0, ge=0)


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid")

    method: str
    sparsity: float
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Those of a model by (block, site), and the weights that they were made for."""

    fingerprint: str
    inputs: Mapping[tuple[int, str], InputRule]
    neurons: Mapping[int, NeuronRule]


def set_facts(model: ir.Model, decoder: Decoder) -> None:
    facts = Facts(
        name=decoder.name[:200], context=decoder.context, dense_positions=decoder.dense_positions, bos=decoder.bos,
        stops=decoder.stops,
    )  # fmt: skip
    model.metadata_props[FACTS] = facts.model_dump_json()


def facts_of(model: ir.Model) -> Facts | None:
    """None for a model that another exporter made. Raises InputError where they are damaged."""
    text = model.metadata_props.get(FACTS)
    return None if text is None else _validated(Facts, text, FACTS)


def attach_rules(model: ir.Model, decoder: Decoder, linears: Linears) -> None:
    """Write the rules of ``decoder`` into ``model``, in place of those that are there; also its ``dense_positions``.

    ``linears``: as `recognise.linears_of` finds them in ``model``.

    Raises:
        InputError: a rule with NaN in it, or an infinite spread.
    """
    drop_rules(model)
    rules: list[InputRule | NeuronRule] = []
    for index, block in enumerate(decoder.blocks):
        for site, layer in block.linears():
            if layer.rule is not None:
                linears[index, site].metadata_props[RULE] = _text(layer.rule, f"'{site}' of block {index}")
                rules.append(layer.rule)
        if block.neurons is not None:
            linears[index, "gate"].metadata_props[NEURONS] = _text(block.neurons, f"neurons of block {index}")
            rules.append(block.neurons)
    set_facts(model, decoder)
    if rules:
        head = _Head(
            method=", ".join(sorted({rule.method for rule in rules})),
            sparsity=max(left_out(decoder), 0.0),
            fingerprint=fingerprint(decoder),
        )
        model.metadata_props[RULES] = head.model_dump_json()


def drop_rules(model: ir.Model) -> None:
    """Leave ``model`` without rules, whoever's they are."""
    model.metadata_props.pop(RULES, None)
    for node in model.graph:
        node.metadata_props.pop(RULE, None)
        node.metadata_props.pop(NEURONS, None)


def rules_of(model: ir.Model, linears: Linears) -> Rules | None:
    """The rules in ``model``; None where there are none.

    Raises:
        InputError: metadata that is damaged, or a layer with a rule in a model that does not say whose they are.
    """
    inputs, neurons = {}, {}
    for (index, site), node in linears.items():
        if (text := node.metadata_props.get(RULE)) is not None:
            found = _rule(text, f"{RULE} of '{node.name}'")
            threshold = _threshold(found, f"{RULE} of '{node.name}'")
            inputs[index, site] = InputRule(found.method, found.sparsity, threshold, found.spread, found.rank)
        if (text := node.metadata_props.get(NEURONS)) is not None:
            found = _rule(text, f"{NEURONS} of '{node.name}'")
            threshold = _threshold(found, f"{NEURONS} of '{node.name}'")
            neurons[index] = NeuronRule(found.method, found.sparsity, threshold, found.spread)
    text = model.metadata_props.get(RULES)
    if text is None:
        if inputs or neurons:
            raise InputError("thresholds without a fingerprint of the weights", where=RULES, hint=_HINT)
        return None
    return Rules(_validated(_Head, text, RULES).fingerprint, inputs, neurons)


def with_rules(decoder: Decoder, rules: Rules) -> Decoder:
    """``decoder`` under ``rules``.

    Raises:
        InputError: they were made for other weights, or do not fit a layer.
    """
    if rules.fingerprint != fingerprint(decoder):
        raise InputError("thresholds of another model: the weights have changed since", where=RULES, hint=_HINT)
    blocks = list(decoder.blocks)
    for (index, site), rule in rules.inputs.items():
        layer = getattr(blocks[index], site)
        _check_size(rule.threshold, layer.inputs, f"{RULE} of '{site}' in block {index}")
        if rule.rank > min(layer.weight.shape):
            raise InputError(f"rank {rule.rank}", where=f"{RULE} of '{site}' in block {index}", hint=_HINT)
        blocks[index] = replace(blocks[index], **{site: replace(layer, rule=rule)})
    for index, found in rules.neurons.items():
        _check_size(found.threshold, blocks[index].up.outputs, f"{NEURONS} in block {index}")
        if blocks[index].up.rule is not None or blocks[index].down.rule is not None:
            raise InputError("rules on 'up' or 'down' beside one on neurons", where=f"block {index}", hint=_HINT)
        blocks[index] = replace(blocks[index], neurons=found)
    return replace(decoder, blocks=tuple(blocks))


def fingerprint(decoder: Decoder) -> str:
    """SHA-256 over shapes and values, as float32, of the matrices: the same for halves and the floats made of them."""
    digest = hashlib.sha256()
    for array in _matrices(decoder):
        digest.update(str(array.shape).encode())
        rows = max(1, _PIECE // array.shape[1])
        for start in range(0, array.shape[0], rows):
            piece = np.ascontiguousarray(array[start : start + rows], "<f4")
            digest.update(piece.view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def _matrices(decoder: Decoder) -> Iterator[Array]:
    yield decoder.embedding
    for block in decoder.blocks:
        for _, layer in block.linears():
            yield layer.weight
    if decoder.head is not None:
        yield decoder.head


def _text(rule: InputRule | NeuronRule, where: str) -> str:
    if not np.isfinite([rule.sparsity, rule.spread or 0.0]).all() or np.isnan(rule.threshold).any():
        raise InputError(f"what {rule.method} skips by is no number", where=where, hint=_HINT)
    threshold = base64.b64encode(np.ascontiguousarray(rule.threshold, "<f4").tobytes()).decode()
    stored = _Stored(
        method=rule.method, sparsity=rule.sparsity, threshold=threshold, spread=rule.spread,
        rank=rule.rank if isinstance(rule, InputRule) else 0,
    )  # fmt: skip
    return stored.model_dump_json()


def _rule(text: str, where: str) -> _Stored:
    return _validated(_Stored, text, where)


def _threshold(stored: _Stored, where: str) -> Array:
    try:
        found = np.frombuffer(base64.b64decode(stored.threshold, validate=True), "<f4")
    except ValueError as error:
        raise InputError(f"threshold: {error}", where=where, hint=_HINT) from error
    if not len(found) or np.isnan(found).any() or (found < 0).any():
        raise InputError("thresholds that are no sizes", where=where, hint=_HINT)
    return found.astype(np.float32)


def _check_size(threshold: Array, wanted: int, where: str) -> None:
    if threshold.size not in (1, wanted):
        raise InputError(f"{threshold.size} thresholds for {wanted} values", where=where, hint=_HINT)


def _validated(kind: type[_Kind], text: str, where: str) -> _Kind:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"damaged metadata: {key} {first['msg'].lower()}", where=where, hint=_HINT) from error
