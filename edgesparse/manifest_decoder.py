"""What the manifest says of a language model: what a runtime needs to generate with it, and to tell what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from edgesparse.errors import InputError

HEADER = 5
"""Integers of the input `tokens` before the tokens: position, count, flags, target, seed; see runtimes/c/decoder.h."""
WANTED, ALL_INPUTS = 1, 2
"""Flags: logits of the last token are wanted; no rule holds."""
SITES = ("q", "k", "v", "o", "gate", "up", "down")

_STRICT = ConfigDict(extra="forbid", frozen=True)


def refuse_layers(decoder: DecoderFacts | None, bundle: Path) -> None:
    """Raises InputError: a language model, where what is asked for is told layer by layer."""
    if decoder is not None:
        raise InputError(
            "is a language model: its layers are run by a loop, and not listed one by one", where=str(bundle),
            hint=f"edgesparse explain {bundle} says how each is stored, generate --json how much is active",
        )  # fmt: skip


class SiteFacts(BaseModel):
    """One linear layer. Of its ``entries``, inputs (outputs for ``up`` of a network that skips neurons), some count:
    each of them makes the runtime read ``unit_bytes``, and ``low_bytes`` are read besides where a rule holds. ``why``
    its ``layout`` is what it is; ``dropped``: the model has a rule that is not used."""

    model_config = _STRICT
    block: NonNegativeInt
    site: Literal["q", "k", "v", "o", "gate", "up", "down"]
    entries: PositiveInt
    unit_bytes: NonNegativeFloat
    low_bytes: NonNegativeInt = 0
    layout: Literal["columns", "rows", "interleaved", "blocks"]
    rule: bool = False
    dropped: bool = False
    why: str = ""


class WeightFile(BaseModel):
    model_config = _STRICT
    file: str = Field(pattern=r"^weights\.[0-9]+\.bin$")
    bytes: PositiveInt


class DecoderFacts(BaseModel):
    """``context``: positions that the caches hold; ``chunk``: the most tokens at once. ``tokenizer``: its file in the
    bundle, "" without one: tokens are bytes then where there are 256. ``always_bytes`` are read for every token,
    whatever counts: the head and the norms. ``method`` is that of the rules, ``sparsity`` of the weights of all linear
    layers those that they leave out. ``weight_files``: what weights.bin is cut into for WebAssembly, in order: browsers
    verify and keep whole files, which may not be large."""

    model_config = _STRICT
    context: PositiveInt
    chunk: PositiveInt
    vocabulary: PositiveInt
    dim: PositiveInt
    blocks: PositiveInt
    bos: int = -1
    stops: tuple[NonNegativeInt, ...] = ()
    weights: Literal["f32", "f16", "int8", "int4"]
    tokenizer: str = Field(default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*)?$")
    dense_positions: NonNegativeInt = 0
    method: str = ""
    sparsity: NonNegativeFloat = 0.0
    cache_bytes: NonNegativeInt
    always_bytes: NonNegativeInt
    sites: tuple[SiteFacts, ...]
    weight_files: tuple[WeightFile, ...] = ()

    def places(self) -> list[int]:
        """Where in the output `active` each of ``sites`` is."""
        return [s.block * len(SITES) + SITES.index(s.site) for s in self.sites]

    def bytes_per_token(self, active: tuple[float, ...] | list[float]) -> float:
        """Weights that are read for a token, with so many active entries of each of ``sites``."""
        low = sum(s.low_bytes for s, a in zip(self.sites, active, strict=True) if a < s.entries)
        return self.always_bytes + low + sum(s.unit_bytes * a for s, a in zip(self.sites, active, strict=True))
