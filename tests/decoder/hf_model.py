"""Decoders as `transformers` defines them: small random checkpoints, and what they compute, in torch.

Written down from the architectures and not from our code: one function over the tensors of a checkpoint by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgesparse.types import Array

BASE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GEMMA = {"tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh", "head_dim": 12}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, all heads have keys, no such number": {"num_key_value_heads": None},
    "llama with biases": {"attention_bias": True, "mlp_bias": True, "eos_token_id": [2, 7]},
    "llama 3": {"rope_scaling": LLAMA3, "rope_theta": 500000.0},
    "llama, newer config": {"rope_parameters": {**LLAMA3, "rope_theta": 500000.0}, "rope_theta": None},
    "llama, linear": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "llama, tied": {"tie_word_embeddings": True},
    "mistral": {"model_type": "mistral", "sliding_window": 5},
    "mistral, no window": {"model_type": "mistral", "sliding_window": None},
    "qwen2": {"model_type": "qwen2", "sliding_window": 5, "use_sliding_window": False},
    "qwen3": {"model_type": "qwen3", "head_dim": 12, "tie_word_embeddings": True},
    "gemma": {"model_type": "gemma", **GEMMA},
    "gemma2": {
        "model_type": "gemma2", **GEMMA, "sliding_window": 5, "query_pre_attn_scalar": 20,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "hidden_activation": "gelu_pytorch_tanh",
    },
    "gemma2 by layer": {
        "model_type": "gemma2", **GEMMA, "sliding_window": 5, "query_pre_attn_scalar": 12,
        "attn_logit_softcapping": None, "final_logit_softcapping": None,
        "layer_types": ["full_attention", "sliding_attention"],
    },
}  # fmt: skip


def config_of(name: str) -> dict[str, Any]:
    return {**BASE, **CONFIGS[name]}


def sizes(config: dict[str, Any]) -> tuple[int, int, int]:
    """Heads, heads with keys, entries of a head."""
    heads = config["num_attention_heads"]
    return heads, config["num_key_value_heads"] or heads, config.get("head_dim") or config["hidden_size"] // heads


def random_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, Array]:
    """A checkpoint's tensors by name, float32."""
    rng = np.random.default_rng(seed)
    kind, dim, hidden = config["model_type"], config["hidden_size"], config["intermediate_size"]
    heads, kv_heads, size = sizes(config)
    offset = 0.0 if kind.startswith("gemma") else 1.0
    tensors: dict[str, Array] = {}

    def matrix(name: str, outputs: int, inputs: int, bias: bool = False) -> None:
        tensors[f"{name}.weight"] = rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        if bias:
            tensors[f"{name}.bias"] = 0.3 * rng.standard_normal(outputs)

    def norm(name: str, length: int = dim) -> None:
        tensors[f"{name}.weight"] = offset + 0.2 * rng.standard_normal(length)

    matrix("model.embed_tokens", config["vocab_size"], dim)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        biased = kind == "qwen2" or config.get("attention_bias", False)
        matrix(f"{at}.self_attn.q_proj", heads * size, dim, biased)
        matrix(f"{at}.self_attn.k_proj", kv_heads * size, dim, biased)
        matrix(f"{at}.self_attn.v_proj", kv_heads * size, dim, biased)
        matrix(f"{at}.self_attn.o_proj", dim, heads * size, biased and kind != "qwen2")
        for name in ("gate_proj", "up_proj"):
            matrix(f"{at}.mlp.{name}", hidden, dim, config.get("mlp_bias", False))
        matrix(f"{at}.mlp.down_proj", dim, hidden, config.get("mlp_bias", False))
        more = ("pre_feedforward_layernorm", "post_feedforward_layernorm") if kind == "gemma2" else ()
        for name in ("input_layernorm", "post_attention_layernorm", *more):
            norm(f"{at}.{name}")
        if kind == "qwen3":
            norm(f"{at}.self_attn.q_norm", size)
            norm(f"{at}.self_attn.k_norm", size)
    norm("model.norm")
    if not config["tie_word_embeddings"]:
        matrix("lm_head", config["vocab_size"], dim)
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Array], shards: int = 1) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names, weight_map = sorted(tensors), {}
    for index in range(shards):
        file = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        part = names[index::shards]
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def logits(config: dict[str, Any], tensors: dict[str, Array], tokens: list[int]) -> Array:
    """(positions, vocabulary), in float64."""
    import torch
    import torch.nn.functional as F

    kind = config["model_type"]
    heads, kv_heads, size = sizes(config)
    given = {name: torch.tensor(array, dtype=torch.float64) for name, array in tensors.items()}
    count = len(tokens)
    positions = torch.arange(count)
    angles = torch.outer(positions.double(), inverse_frequencies(config, size))
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    acts: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "silu": F.silu, "gelu_pytorch_tanh": lambda y: F.gelu(y, approximate="tanh")
    }  # fmt: skip
    act = acts[config["hidden_act"]]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"])
        gain = given[f"{name}.weight"]
        return y * (1 + gain if kind.startswith("gemma") else gain)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, given[f"{name}.weight"], given.get(f"{name}.bias"))

    def rope(x: torch.Tensor) -> torch.Tensor:
        turned = torch.cat((-x[..., size // 2 :], x[..., : size // 2]), -1)
        return x * cos + turned * sin

    x = given["model.embed_tokens.weight"][tokens]
    if kind.startswith("gemma"):
        x = x * torch.tensor(config["hidden_size"] ** 0.5, dtype=torch.float32).double()
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        h = norm(x, f"{at}.input_layernorm")
        q = linear(h, f"{at}.self_attn.q_proj").view(count, heads, size)
        k = linear(h, f"{at}.self_attn.k_proj").view(count, kv_heads, size)
        v = linear(h, f"{at}.self_attn.v_proj").view(count, kv_heads, size).transpose(0, 1)
        if kind == "qwen3":
            q, k = norm(q, f"{at}.self_attn.q_norm"), norm(k, f"{at}.self_attn.k_norm")
        q, k = rope(q.transpose(0, 1)), rope(k.transpose(0, 1))
        k, v = (y.repeat_interleave(heads // kv_heads, 0) for y in (k, v))
        scores = q @ k.transpose(1, 2) * (config.get("query_pre_attn_scalar") or size) ** -0.5
        if cap := config.get("attn_logit_softcapping"):
            scores = cap * torch.tanh(scores / cap)
        behind = positions[:, None] - positions[None]
        hidden = behind < 0
        if window := window_of(config, layer):
            hidden = hidden | (behind >= window)
        y = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
        h = linear(y.transpose(0, 1).reshape(count, -1), f"{at}.self_attn.o_proj")
        x = x + (norm(h, f"{at}.post_attention_layernorm") if kind == "gemma2" else h)
        h = norm(x, f"{at}.{'pre_feedforward' if kind == 'gemma2' else 'post_attention'}_layernorm")
        h = linear(act(linear(h, f"{at}.mlp.gate_proj")) * linear(h, f"{at}.mlp.up_proj"), f"{at}.mlp.down_proj")
        x = x + (norm(h, f"{at}.post_feedforward_layernorm") if kind == "gemma2" else h)
    head = given["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    y = norm(x, "model.norm") @ head.T
    if cap := config.get("final_logit_softcapping"):
        y = cap * torch.tanh(y / cap)
    found: Array = y.numpy()
    return found


def window_of(config: dict[str, Any], layer: int) -> int:
    kind, window = config["model_type"], config.get("sliding_window")
    if not window or kind == "qwen2":
        return 0
    if types := config.get("layer_types"):
        return int(window) if types[layer] == "sliding_attention" else 0
    return int(window) if kind == "mistral" or layer % 2 == 0 else 0


def inverse_frequencies(config: dict[str, Any], size: int) -> Any:
    """As `transformers` has them, Llama 3's scaling by wave lengths."""
    import torch

    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = scaling.get("rope_theta") or config["rope_theta"]
    plain = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind == "linear":
        return plain / scaling["factor"]
    if kind != "llama3":
        return plain
    old, low, high = (scaling[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    length = 2 * math.pi / plain
    found = torch.where(length > old / low, plain / scaling["factor"], plain)
    smooth = (old / length - low) / (high - low)
    smoothed = (1 - smooth) * plain / scaling["factor"] + smooth * plain
    between = ~(length < old / high) & ~(length > old / low)
    return torch.where(between, smoothed, found)
