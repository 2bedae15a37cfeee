"""A folder in Hugging Face's layout, ``config.json`` and ``.safetensors``, -> Decoder.

Weights stay in the files, mapped, but for those of bfloat16.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgesparse.decoder.families import Config, frequencies, read_config
from edgesparse.decoder.model import Block, Decoder, Linear
from edgesparse.errors import InputError
from edgesparse.types import Array

_LARGEST_INDEX_BYTES = 64 << 20
_COPY = "copy the checkpoint again"
_UNREAD = re.compile(r".*rotary_emb\.inv_freq|lm_head\.weight")
"""What may be there and is not read: frequencies that follow from the config, a head that is tied."""
PIP = "pip install safetensors==0.8.0 (in a checkout: '.[llm]')"


def load_huggingface(folder: Path) -> Decoder:
    """The network in ``folder``; float16 weights stay float16, bfloat16 become float32, in memory.

    Raises:
        InputError: an architecture or RoPE that is not known; files that are missing, damaged or outside of the
            folder; tensors that are missing, of another shape, or that nobody would read.
    """
    config = read_config(folder / "config.json")
    tensors = _Tensors(folder, _files(folder))
    family, layers = config.family, range(config.num_hidden_layers)
    embedding = tensors.take("model.embed_tokens.weight", config.vocab_size, config.hidden_size)
    decoder = Decoder(
        name=folder.resolve().name,
        embedding=embedding,
        blocks=tuple(_block(config, tensors, i) for i in layers),
        final_norm=_norm(config, tensors, "model.norm", config.hidden_size),
        head=None if config.tied else tensors.take("lm_head.weight", config.vocab_size, config.hidden_size),
        heads=config.num_attention_heads, kv_heads=config.kv_heads, head_dim=config.size,
        context=config.max_position_embeddings,
        frequencies=frequencies(config, folder / "config.json"), interleaved=False,
        norm_eps=config.rms_norm_eps, activation=config.activation,
        attention_scale=(config.query_pre_attn_scalar or config.size) ** -0.5,
        attention_cap=config.attn_logit_softcapping or 0.0,
        logit_cap=config.final_logit_softcapping or 0.0,
        embedding_scale=_embedding_scale(config.hidden_size, embedding.dtype) if family.scaled_embedding else 1.0,
        bos=-1 if config.bos_token_id is None or not family.bos else config.bos_token_id,
        stops=config.stops,
    )  # fmt: skip
    tensors.check_all_read()
    return decoder


def _block(config: Config, tensors: _Tensors, index: int) -> Block:
    at, family = f"model.layers.{index}", config.family
    dim, hidden, size = config.hidden_size, config.intermediate_size, config.size
    q_dim, kv_dim = config.num_attention_heads * size, config.kv_heads * size
    qkv_bias = config.attention_bias if family.qkv_bias is None else family.qkv_bias
    o_bias = config.attention_bias and family.o_bias

    def linear(name: str, outputs: int, inputs: int, bias: bool) -> Linear:
        weight = tensors.take(f"{at}.{name}.weight", outputs, inputs)
        return Linear(weight, tensors.take(f"{at}.{name}.bias", outputs).astype(np.float32) if bias else None)

    def norm(name: str, size: int = dim) -> Array:
        return _norm(config, tensors, f"{at}.{name}", size)

    before_mlp = "pre_feedforward_layernorm" if family.post_norms else "post_attention_layernorm"
    return Block(
        attention_norm=norm("input_layernorm"),
        q=linear("self_attn.q_proj", q_dim, dim, qkv_bias),
        k=linear("self_attn.k_proj", kv_dim, dim, qkv_bias),
        v=linear("self_attn.v_proj", kv_dim, dim, qkv_bias),
        o=linear("self_attn.o_proj", dim, q_dim, o_bias),
        mlp_norm=norm(before_mlp),
        gate=linear("mlp.gate_proj", hidden, dim, config.mlp_bias),
        up=linear("mlp.up_proj", hidden, dim, config.mlp_bias),
        down=linear("mlp.down_proj", dim, hidden, config.mlp_bias),
        q_norm=norm("self_attn.q_norm", size) if family.head_norms else None,
        k_norm=norm("self_attn.k_norm", size) if family.head_norms else None,
        post_attention_norm=norm("post_attention_layernorm") if family.post_norms else None,
        post_mlp_norm=norm("post_feedforward_layernorm") if family.post_norms else None,
        window=config.window(index),
    )


def _norm(config: Config, tensors: _Tensors, name: str, size: int) -> Array:
    gain = tensors.take(f"{name}.weight", size).astype(np.float32)
    return gain + np.float32(config.family.norm_offset) if config.family.norm_offset else gain


def _embedding_scale(dim: int, dtype: np.dtype[Any]) -> float:
    """The root of ``dim``, rounded as the weights are: so it was in training."""
    return float(np.sqrt(dim).astype(dtype))


class _Tensors:
    """The tensors of some files; remembers which were asked for."""

    def __init__(self, folder: Path, files: dict[str, list[str] | None]) -> None:
        self._open = _safe_open()
        self._folder = folder
        self._file_of = {name: file for file, given in files.items() for name in self._names(file, given)}
        self._read: set[str] = set()
        self._mapped: dict[str, tuple[Array, dict[str, Any]]] = {}  # bytes of a file, and what its header says

    def _names(self, file: str, given: list[str] | None) -> list[str]:
        """Of the tensors in ``file``, which hold what the index says."""
        try:
            with self._open(self._folder / file, framework="np") as opened:
                names = list(opened.keys())
        except Exception as error:  # SafetensorError, or whatever the system says of the file
            raise InputError(f"not a safetensors file: {error}", where=str(self._folder / file), hint=_COPY) from error
        missing = set(given or ()) - set(names)
        if missing:
            raise InputError(f"without tensor '{min(missing)}'", where=str(self._folder / file), hint=_COPY)
        return names

    def take(self, name: str, *shape: int) -> Array:
        """The tensor ``name``, which must have this shape."""
        file = self._file_of.get(name)
        if file is None:
            raise InputError(
                f"without tensor '{name}'", where=str(self._folder), hint=f"config.json asks for it; {_COPY}"
            )
        with self._open(self._folder / file, framework="np") as opened:
            part = opened.get_slice(name)
            found, dtype = tuple(part.get_shape()), part.get_dtype()
            if found != shape:
                raise InputError(
                    f"'{name}' is {found}, where config.json asks for {shape}", where=str(self._folder / file),
                    hint="config.json and weights are of different models",
                )  # fmt: skip
            if dtype not in ("F32", "F16", "BF16"):
                raise InputError(
                    f"'{name}' is {dtype}; F32, F16 and BF16 can be read", where=str(self._folder / file),
                    hint="take the checkpoint as it was before quantisation",
                )  # fmt: skip
            self._read.add(name)
            if dtype == "BF16":
                return np.asarray(opened.get_tensor(name).astype(np.float32))
        return self._view(file, name).view("<f4" if dtype == "F32" else "<f2").reshape(shape)

    def _view(self, file: str, name: str) -> Array:
        """The bytes of a tensor in a file that the library has found sound; it hands out copies alone."""
        if file not in self._mapped:
            data = np.asarray(np.memmap(self._folder / file, np.uint8, "r"))
            size = int.from_bytes(data[:8].tobytes(), "little")
            self._mapped[file] = data[8 + size :], json.loads(data[8 : 8 + size].tobytes())
        data, header = self._mapped[file]
        first, last = header[name]["data_offsets"]
        return data[first:last]

    def check_all_read(self) -> None:
        left = sorted(name for name in self._file_of if name not in self._read and not _UNREAD.fullmatch(name))
        if left:
            raise InputError(
                f"{len(left)} tensors that this architecture does not have: {', '.join(left[:3])}",
                where=str(self._folder), hint="config.json and weights are of different models",
            )  # fmt: skip


def _files(folder: Path) -> dict[str, list[str] | None]:
    """Names of the weight files in ``folder``, each with its tensors where an index lists them."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        if not (folder / "model.safetensors").is_file():
            raise InputError(
                "no model.safetensors",
                where=str(folder),
                hint="other formats: save_pretrained() of transformers writes it",
            )
        return {"model.safetensors": None}
    try:
        if index.stat().st_size > _LARGEST_INDEX_BYTES:
            raise ValueError(f"{index.stat().st_size} bytes")
        placed = dict(_pairs(json.loads(index.read_bytes())))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"not an index of weights: {error!r}"[:200], where=str(index), hint=_COPY) from error
    files: dict[str, list[str] | None] = {}
    for tensor, file in placed.items():
        # an index may come from anywhere: what it names must lie beside it
        if not re.fullmatch(r"[\w.-]+\.safetensors", file) or not (folder / file).is_file():
            raise InputError(f"'{file[:80]}' is no weight file in this folder", where=str(index), hint=_COPY)
        listed = files.setdefault(file, [])
        assert listed is not None
        listed.append(tensor)
    return files


def _pairs(index: Any) -> Iterator[tuple[str, str]]:
    for tensor, file in index["weight_map"].items():
        if not isinstance(file, str):
            raise TypeError(f"{tensor}: {file!r}")
        yield tensor, file


def _safe_open() -> Any:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise InputError("safetensors is not installed", hint=PIP) from error
    return safe_open
