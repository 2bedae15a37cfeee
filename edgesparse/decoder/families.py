"""What ``config.json`` of a Hugging Face checkpoint says, checked, and how the families differ that can be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from edgesparse.decoder.metadata import LONGEST
from edgesparse.decoder.model import Activation
from edgesparse.errors import InputError
from edgesparse.types import Array

_LARGEST_CONFIG_BYTES = 1 << 20
_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
    "relu": "relu",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """How a ``model_type`` differs from Llama.

    ``qkv_bias``: always there; None: as ``attention_bias`` says. ``o_bias``: whether that covers ``o_proj``.
    ``norm_offset``: gains are stored less this. ``bos``: whether texts begin with the token. ``windows``: which layers
    have a sliding window: none, all, or every other one from the first on (``layer_types`` overrules). ``stated``: keys
    that must be in the config, null or not, for what holds without them is another number for each family.
    """

    qkv_bias: bool | None = None
    o_bias: bool = True
    head_norms: bool = False
    post_norms: bool = False
    norm_offset: float = 0.0
    scaled_embedding: bool = False
    tied: bool = False
    activation: str = "silu"
    windows: Literal["none", "all", "even"] = "none"
    bos: bool = True
    stated: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(
        qkv_bias=False, o_bias=False, windows="all", stated=("sliding_window", "num_key_value_heads")
    ),
    "qwen2": Family(qkv_bias=True, o_bias=False, bos=False, stated=("num_key_value_heads",)),
    "qwen3": Family(head_norms=True, bos=False, stated=("num_key_value_heads", "head_dim")),
    "gemma": Family(
        norm_offset=1.0, scaled_embedding=True, tied=True, activation="gelu_pytorch_tanh", stated=("head_dim",)
    ),
    "gemma2": Family(
        post_norms=True, norm_offset=1.0, scaled_embedding=True, tied=True, activation="gelu_pytorch_tanh",
        windows="even", stated=(
            "head_dim", "sliding_window", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
        ),
    ),
}  # fmt: skip


class Config(BaseModel):
    """The keys that matter, under the names of ``transformers``. Others are not looked at."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model_type: str
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt | None = None
    head_dim: PositiveInt | None = None
    vocab_size: PositiveInt
    max_position_embeddings: int = Field(gt=0, le=LONGEST)
    rms_norm_eps: PositiveFloat = 1e-6
    rope_theta: PositiveFloat | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    partial_rotary_factor: float = Field(1.0, gt=0, le=1)
    hidden_act: str | None = None
    hidden_activation: str | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool | None = None
    sliding_window: int | None = None
    use_sliding_window: bool = True
    layer_types: list[str] | None = None
    query_pre_attn_scalar: PositiveFloat | None = None
    attn_logit_softcapping: PositiveFloat | None = None
    final_logit_softcapping: PositiveFloat | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def family(self) -> Family:
        return FAMILIES[self.model_type]

    @property
    def activation(self) -> Activation:
        return _ACTIVATIONS[self.hidden_activation or self.hidden_act or self.family.activation]

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def size(self) -> int:
        """Of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def tied(self) -> bool:
        return self.family.tied if self.tie_word_embeddings is None else self.tie_word_embeddings

    @property
    def stops(self) -> tuple[int, ...]:
        """Tokens that end a text."""
        found = self.eos_token_id
        return () if found is None else (found,) if isinstance(found, int) else tuple(found)

    @property
    def special_tokens(self) -> tuple[int, ...]:
        return self.stops if self.bos_token_id is None else (self.bos_token_id, *self.stops)

    def window(self, layer: int) -> int:
        """Positions that a token of ``layer`` sees, 0 for all."""
        if not self.sliding_window:
            return 0
        if self.layer_types is not None:
            return self.sliding_window if self.layer_types[layer] == "sliding_attention" else 0
        on = {"none": False, "all": True, "even": layer % 2 == 0}[self.family.windows]
        return self.sliding_window if on else 0


def read_config(path: Path) -> Config:
    """``config.json`` at ``path``.

    Raises:
        InputError: not there, not JSON, a key is missing or of another kind, or an architecture that is not known.
    """
    try:
        if path.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise InputError("too large for a config.json", where=str(path))
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), hint="give a folder with config.json and weights") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", where=str(path), hint="copy the checkpoint again") from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise InputError(
            f"model_type {kind!r} is not known", where=str(path),
            hint=f"these are: {', '.join(FAMILIES)}; others can be exported from torch: edgesparse export",
        )  # fmt: skip
    try:
        config = Config.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{key}: {first['msg'].lower()}", where=str(path), hint="copy it again") from error
    _check(config, path)
    return config


def _check(config: Config, path: Path) -> None:
    act = config.hidden_activation or config.hidden_act or config.family.activation
    types, window = config.layer_types, config.sliding_window
    unsaid = [key for key in config.family.stated if key not in config.model_fields_set]
    wrong = (
        f"without {', '.join(unsaid)}" if unsaid
        else f"hidden_act {act!r} is not known: {', '.join(_ACTIVATIONS)}" if act not in _ACTIVATIONS
        else f"{config.num_attention_heads} heads do not share {config.kv_heads} of keys and values"
        if config.num_attention_heads % config.kv_heads
        else f"hidden_size {config.hidden_size} in {config.num_attention_heads} heads"
        if config.head_dim is None and config.hidden_size % config.num_attention_heads
        else f"heads of {config.size}, an odd number" if config.size % 2
        else f"bos_token_id {config.bos_token_id} or eos_token_id {config.eos_token_id} in a vocabulary of "
        f"{config.vocab_size}" if not all(0 <= token < config.vocab_size for token in config.special_tokens)
        else f"sliding_window {window}" if window is not None and window < 0
        else "layer_types: one of 'full_attention' and 'sliding_attention' for each layer"
        if types is not None
        and (len(types) != config.num_hidden_layers or set(types) - {"full_attention", "sliding_attention"})
        else "use_sliding_window without layer_types" if config.model_type in ("qwen2", "qwen3")
        and "use_sliding_window" in config.model_fields_set and config.use_sliding_window and window and types is None
        else ""
    )  # fmt: skip
    if wrong:
        raise InputError(wrong, where=str(path), hint="copy config.json again; or the architecture is not known")


def frequencies(config: Config, where: Path) -> Array:
    """Radians a position of each pair that RoPE turns: ``theta ** (-2 i / rotary)``, scaled as the config says.

    Kinds of scaling: none, linear ("Extending Context Window of Large Language Models via Positional Interpolation",
    Chen et al. 2023), and that of Llama 3: low frequencies are divided by ``factor``, high ones stay.

    Raises:
        InputError: another kind of scaling, or its numbers are missing.
    """
    given = {**(config.rope_scaling or {}), **(config.rope_parameters or {})}
    kind = given.get("rope_type", given.get("type", "default"))
    if any(isinstance(value, dict) for value in given.values()):
        raise InputError("RoPE that differs by layer is not known", where=str(where), hint="export it from torch")
    theta = _number(given, "rope_theta", where, config.rope_theta or 10000.0)
    share = _number(given, "partial_rotary_factor", where, config.partial_rotary_factor)
    rotary = int(config.size * share)
    if rotary < 2 or rotary % 2:
        raise InputError(f"RoPE over {rotary} of {config.size} entries of a head", where=str(where))
    plain: Array = theta ** (-np.arange(0, rotary, 2) / rotary)
    if kind == "default":
        return plain
    if kind == "linear":
        return plain / _number(given, "factor", where)
    if kind == "llama3":
        low, high = _number(given, "low_freq_factor", where), _number(given, "high_freq_factor", where)
        if high <= low:
            raise InputError(f"low_freq_factor {low:g} is not below high_freq_factor {high:g}", where=str(where))
        turns = _number(given, "original_max_position_embeddings", where) * plain / (2 * pi)  # over the old context
        stays = np.clip((turns - low) / (high - low), 0, 1)
        scaled: Array = plain * (stays + (1 - stays) / _number(given, "factor", where))
        return scaled
    raise InputError(
        f"RoPE scaled as {str(kind)[:40]!r} is not known", where=str(where), hint="known: default, linear, llama3"
    )


def _number(given: dict[str, Any], key: str, where: Path, default: float | None = None) -> float:
    found = given.get(key, default)
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 < found < float("inf"):
        raise InputError(f"RoPE's {key} is {found!r}", where=str(where), hint="copy config.json again")
    return float(found)
