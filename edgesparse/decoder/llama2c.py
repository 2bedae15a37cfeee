"""llama2.c's version-0 file, ``.bin`` -> Decoder. The weights stay in the file, mapped.

Seven int32 (dim, hidden, layers, heads, kv_heads, vocabulary, context; a negative vocabulary: the head is not the
embedding), then float32: token embedding, attention norms, wq, wk, wv, wo, feed-forward norms, w1 (gate), w2 (down),
w3 (up), final norm, cosines and sines of RoPE (not read: they follow from the shapes), the head where it is apart.

Source: karpathy/llama2.c, run.c and export.py (``legacy_export``), https://github.com/karpathy/llama2.c
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesparse.decoder.model import Block, Decoder, Linear
from edgesparse.errors import InputError
from edgesparse.types import Array

_HEADER = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
_HEADER_BYTES = 4 * len(_HEADER)
_MAGIC = 0x616B3432  # "ak42": the later versions begin with it
_BOS, _EOS = 1, 2


def load_llama2c(path: Path) -> Decoder:
    """The network in the file at ``path``.

    Raises:
        InputError: no version-0 file of llama2.c: numbers in the header that no model has, or another size than they
            ask for.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if len(head) < _HEADER_BYTES:
        raise InputError("too short for a llama2.c file", where=str(path), hint="copy the checkpoint again")
    numbers = [int(n) for n in np.frombuffer(head, "<i4")]
    if numbers[0] == _MAGIC:
        raise InputError(
            f"version {numbers[1]} of llama2.c's format; version 0 can be read", where=str(path),
            hint="export.py --version 0 of llama2.c writes it",
        )  # fmt: skip
    dim, hidden, layers, heads, kv_heads, signed_vocabulary, context = numbers
    vocabulary, tied = abs(signed_vocabulary), signed_vocabulary > 0
    wrong = [f"{n} {v}" for n, v in zip(_HEADER, numbers, strict=True) if v < 1 and not (n == "vocab_size" and v < 0)]
    if not wrong and (heads % kv_heads or dim % (2 * heads)):
        wrong = [f"dim {dim} in {heads} heads of which {kv_heads} have keys and values"]
    if wrong:
        raise InputError(
            f"no llama2.c file: {', '.join(wrong)}",
            where=str(path),
            hint="give a llama2.c .bin, or a folder with config.json and .safetensors",
        )

    head_dim = dim // heads
    kv_dim = kv_heads * head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (vocabulary, dim), "attention_norm": (layers, dim),
        "q": (layers, dim, dim), "k": (layers, kv_dim, dim), "v": (layers, kv_dim, dim), "o": (layers, dim, dim),
        "mlp_norm": (layers, dim), "gate": (layers, hidden, dim), "down": (layers, dim, hidden),
        "up": (layers, hidden, dim), "final_norm": (dim,), "turns": (2, context, head_dim // 2),
        **({} if tied else {"head": (vocabulary, dim)}),
    }  # fmt: skip
    wanted = _HEADER_BYTES + 4 * sum(_elements(shape) for shape in shapes.values())
    if size != wanted:
        raise InputError(
            f"{size} bytes, where its header asks for {wanted}", where=str(path),
            hint="the file is cut short, or of another format; copy it again",
        )  # fmt: skip
    mapped = np.memmap(path, "<f4", "r", _HEADER_BYTES)
    parts: dict[str, Array] = {}
    at = 0
    for name, shape in shapes.items():
        count = _elements(shape)
        parts[name] = mapped[at : at + count].reshape(shape)
        at += count
    return Decoder(
        name=path.stem, embedding=parts["embedding"], blocks=tuple(_block(parts, i) for i in range(layers)),
        final_norm=parts["final_norm"], head=parts.get("head"),
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, context=context,
        frequencies=10000.0 ** (-np.arange(0, head_dim, 2) / head_dim), interleaved=True, norm_eps=1e-5,
        activation="silu", attention_scale=head_dim**-0.5, bos=_BOS, stops=(_BOS, _EOS),
    )  # fmt: skip


def _block(parts: dict[str, Array], index: int) -> Block:
    def linear(site: str) -> Linear:
        return Linear(parts[site][index])

    return Block(
        attention_norm=parts["attention_norm"][index], q=linear("q"), k=linear("k"), v=linear("v"), o=linear("o"),
        mlp_norm=parts["mlp_norm"][index], gate=linear("gate"), up=linear("up"), down=linear("down"),
    )  # fmt: skip


def _elements(shape: tuple[int, ...]) -> int:
    """In Python's numbers: a damaged header must not overflow."""
    count = 1
    for size in shape:
        count *= size
    return count
