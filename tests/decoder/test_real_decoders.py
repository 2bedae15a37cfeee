"""Trained decoders: torch, onnxruntime and the reference continue texts alike, and as their sources say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesparse.decoder import reference
from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.to_onnx import to_onnx
from edgesparse.decoder.tokenizer import Tokenizer, load_tokenizer
from edgesparse.types import Array
from tests.decoder.onnx_session import OnnxSession
from tests.decoder.prompts import AIDREAMS, NEW, PROMPTS


@dataclass(frozen=True)
class Trained:
    prompts: tuple[str, ...]
    decoder: Decoder
    tokenizer: Tokenizer
    onnx: OnnxSession


@pytest.fixture(scope="module", params=PROMPTS)
def trained(request: pytest.FixtureRequest, data_dir: Path) -> Trained:
    path = data_dir / request.param
    decoder = load_checkpoint(path)
    tokenizer = load_tokenizer(path, decoder.vocabulary)
    return Trained(PROMPTS[request.param], decoder, tokenizer, OnnxSession(to_onnx(decoder)))


def in_torch(decoder: Decoder) -> Any:
    """The example's module, which shares no code with the reference, with these weights."""
    import torch

    from edgesparse.examples.llama import Llama, Shape

    shape = Shape(
        decoder.dim, decoder.hidden, len(decoder.blocks), decoder.heads, decoder.kv_heads, decoder.vocabulary,
        decoder.context, interleaved=decoder.interleaved,
    )  # fmt: skip
    weights: dict[str, Array] = {
        "embedding.weight": decoder.embedding, "head.weight": decoder.embedding, "norm.weight": decoder.final_norm
    }  # fmt: skip
    for index, block in enumerate(decoder.blocks):
        weights[f"layers.{index}.attention_norm.weight"] = block.attention_norm
        weights[f"layers.{index}.mlp_norm.weight"] = block.mlp_norm
        for site, layer in block.linears():
            part = "attention" if site in ("q", "k", "v", "o") else "mlp"
            weights[f"layers.{index}.{part}.{site}.weight"] = layer.weight
    module = Llama(shape).eval()
    tensors = {name: torch.tensor(np.asarray(array, np.float32)) for name, array in weights.items()}
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    assert not unexpected and {name.split(".")[0] for name in missing} == {"rotary"}
    return module


def greedy_in_torch(module: Any, decoder: Decoder, prompt: list[int]) -> list[int]:
    import torch

    past = [torch.zeros(1, decoder.kv_heads, 0, decoder.head_dim) for _ in range(2 * len(decoder.blocks))]
    tokens, at = prompt, 0
    found: list[int] = []
    with torch.no_grad():
        while len(found) < NEW:
            positions = torch.arange(at, at + len(tokens))[None]
            logits, *past = module(torch.tensor([tokens]), positions, *past)
            at += len(tokens)
            tokens = [int(logits[0, -1].argmax())]
            found += tokens
    return found


def test_five_texts_are_continued_alike(trained: Trained, require: Any) -> None:
    require("torch")
    module = in_torch(trained.decoder)
    for text in trained.prompts:
        prompt = [trained.decoder.bos, *trained.tokenizer.encode(text)]
        wanted = greedy_in_torch(module, trained.decoder, prompt)
        assert trained.onnx.greedy(prompt, NEW) == wanted
        # the reference has no cache: given what torch wrote, each next token has to be the same
        logits = reference.logits(trained.decoder, np.array([prompt + wanted[:-1]]))[0, len(prompt) - 1 :]
        assert logits.argmax(-1).tolist() == wanted
        assert trained.tokenizer.decode(prompt[1:] + wanted).decode(errors="replace").startswith(text)


def test_the_dreamer_says_what_its_own_program_says(data_dir: Path) -> None:
    """llama2.c's run.c, greedily from the token that begins texts."""
    path = data_dir / "aidreams260k" / "aidreams260K.bin"
    decoder = load_checkpoint(path)
    tokenizer = load_tokenizer(path, decoder.vocabulary)
    found = OnnxSession(to_onnx(decoder)).greedy([decoder.bos], 80)
    assert tokenizer.decode([decoder.bos, *found]).decode().startswith(AIDREAMS)


def test_bits_per_byte(data_dir: Path) -> None:
    """The loss that PyTorch has on the first 96 windows of 256 bytes, and the reference on some of them."""
    decoder = load_checkpoint(data_dir / "pylm")
    text = np.frombuffer((data_dir / "pylm" / "valid.txt").read_bytes(), np.uint8).astype(np.int64)
    windows = text[: 96 * 256].reshape(96, 256)
    session = OnnxSession(to_onnx(decoder))
    bits = []
    for window in windows:
        session.start()
        bits.append(bits_of(session(*window.tolist()), window))
    assert np.mean(bits) == pytest.approx(1.9292, abs=5e-5)
    for index, logits in zip((5, 90), reference.logits(decoder, windows[[5, 90]]), strict=True):
        assert bits_of(logits, windows[index]) == pytest.approx(bits[index], abs=1e-5)


def bits_of(logits: Array, tokens: Array) -> float:
    """Mean of -log2 p(next token) over the window, but for its first token."""
    wide = logits[:-1].astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    log_p = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    return float(-np.take_along_axis(log_p, tokens[1:, None], -1).mean() / np.log(2))
