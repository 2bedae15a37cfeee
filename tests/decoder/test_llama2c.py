"""llama2.c's files: what is in them is read, and what is no such file is refused before it is believed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edgesparse.decoder import reference
from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.errors import InputError
from edgesparse.types import Array
from tests.decoder import hf_model

DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCABULARY, CONTEXT = 32, 56, 2, 4, 2, 300, 24
SIZE = DIM // HEADS
CONFIG = {**hf_model.BASE, "rms_norm_eps": 1e-5}
ORDER = ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "post_attention_layernorm", "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj")  # fmt: skip


def header(*changes: tuple[int, int]) -> bytes:
    numbers = [DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCABULARY, CONTEXT]
    for index, value in changes:
        numbers[index] = value
    return struct.pack("<7i", *numbers)


def neighbours(weight: Array) -> Array:
    """Rows of a head by halves, as Hugging Face turns them, in the order of llama2.c, which turns neighbours."""
    turned: Array = weight.reshape(-1, 2, SIZE // 2, DIM).swapaxes(1, 2).reshape(weight.shape)
    return turned


def checkpoint(tensors: dict[str, Array], *, tied: bool) -> bytes:
    """As export.py of llama2.c writes version 0, from a checkpoint of Hugging Face."""
    parts = [tensors["model.embed_tokens.weight"]]
    for name in ORDER:
        for layer in range(LAYERS):
            weight = tensors[f"model.layers.{layer}.{name}.weight"]
            parts.append(neighbours(weight) if name.endswith(("q_proj", "k_proj")) else weight)
    parts += [tensors["model.norm.weight"], np.full((2, CONTEXT, SIZE // 2), np.nan, np.float32)]
    parts += [] if tied else [tensors["lm_head.weight"]]
    start = header() if tied else header((5, -VOCABULARY))
    return start + b"".join(part.astype("<f4").tobytes() for part in parts)


@pytest.mark.parametrize("tied", [True, False])
def test_the_same_model_in_both_formats(tmp_path: Path, tied: bool) -> None:
    config = {**CONFIG, "tie_word_embeddings": tied}
    tensors = hf_model.random_tensors(config)
    (tmp_path / "m.bin").write_bytes(checkpoint(tensors, tied=tied))
    decoder = load_checkpoint(tmp_path / "m.bin")
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, 20)
    np.testing.assert_allclose(
        reference.logits(decoder, tokens[None])[0], hf_model.logits(config, tensors, tokens.tolist()), atol=1e-4
    )
    assert (decoder.head is None, decoder.interleaved, decoder.context, decoder.bos) == (tied, True, CONTEXT, 1)
    assert not decoder.blocks[0].up.weight.flags.owndata, "weights stay in the file"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ([(0, 0)], "dim 0"),
        ([(0, -32)], "dim -32"),
        ([(5, 0)], "vocab_size 0"),
        ([(3, 3)], "dim 32 in 3 heads"),
        ([(4, 3)], "of which 3 have keys and values"),
        ([(3, 32), (4, 32)], "dim 32 in 32 heads"),
        ([(2, 3)], "where its header asks for"),
        ([(i, 2**31 - 8) for i in (0, 1, 2, 5, 6)], "where its header asks for"),
        ([(0, 0x616B3432), (1, 2)], "version 2 of llama2.c's format"),
    ],
)
def test_headers_that_no_model_has(tmp_path: Path, changes: list[tuple[int, int]], what: str) -> None:
    whole = checkpoint(hf_model.random_tensors(CONFIG), tied=True)
    (tmp_path / "m.bin").write_bytes(header(*changes) + whole[28:])
    with pytest.raises(InputError) as error:
        load_checkpoint(tmp_path / "m.bin")
    assert what in error.value.what and error.value.where == str(tmp_path / "m.bin")


@pytest.mark.parametrize("length", [0, 5, 28, 1000, -4, -1])
def test_cut_short(tmp_path: Path, length: int) -> None:
    whole = checkpoint(hf_model.random_tensors(CONFIG), tied=True)
    (tmp_path / "m.bin").write_bytes(whole[:length])
    with pytest.raises(InputError, match=r"too short for a llama2\.c file|where its header asks for"):
        load_checkpoint(tmp_path / "m.bin")


@pytest.mark.parametrize(
    ("name", "what"), [("nothing.bin", "no such file or folder"), ("model.safetensors", "one file of a checkpoint")]
)
def test_other_paths(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=what):
        load_checkpoint(tmp_path / name)
