"""How well a decoder foretells a text: bits per token, in windows that each begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, log2

import numpy as np

from edgesparse.decoder import reference
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.reference import Watch
from edgesparse.errors import InputError
from edgesparse.types import Array

AT_ONCE = 2048  # tokens that go through a block together: what lies between two layers should stay in cache


@dataclass(frozen=True, slots=True)
class Score:
    """``bits``: the mean of ``-log2 p(next token)`` over ``tokens`` predictions in ``windows`` windows."""

    bits: float
    tokens: int
    windows: int

    @property
    def perplexity(self) -> float:
        return float(2.0**self.bits)


def windows_of(tokens: Array, length: int) -> Array:
    """``tokens``: (count,) -> (count // length, length); what is left over at the end is not used.

    Raises:
        InputError: a text of fewer than two tokens, or shorter than a window.
    """
    if tokens.size < 2:
        raise InputError(
            f"a text of {tokens.size} token{'s' * (tokens.size != 1)}", where="--text", hint="give a longer text"
        )
    if length < 2:
        raise InputError(
            f"windows of {length} tokens foretell nothing", where="--window", hint="windows of 2 tokens or more"
        )
    count = tokens.size // length
    if not count:
        raise InputError(
            f"the text has {tokens.size} tokens, a window {length}", where="--text",
            hint="give a longer text, or shorter windows",
        )  # fmt: skip
    found: Array = tokens[: count * length].reshape(count, length)
    return found


def doubt(score: Score, vocabulary: int) -> str:
    """What to say of a text that a model foretells worse than chance would; "" of others."""
    if score.bits <= log2(vocabulary):
        return ""
    return (
        f"the dense model foretells the text worse than chance (perplexity {score.perplexity:.0f}, vocabulary "
        f"{vocabulary}): what is chosen on it is worth nothing; is it UTF-8, and what the model was trained on?"
    )


def score(decoder: Decoder, windows: Array, watch: Watch | None = None) -> Score:
    """``windows``: (count, length), tokens. Each is a sequence of its own: the first token of each is given."""
    total = 0.0
    for part in chunks(windows):
        foretold = log_softmax(reference.logits(decoder, part, watch)[:, :-1])
        total -= float(np.take_along_axis(foretold, part[:, 1:, None], -1).sum(dtype=np.float64))
    count = windows.shape[0] * (windows.shape[1] - 1)
    return Score(total / count / log(2), count, windows.shape[0])


def chunks(windows: Array) -> Iterator[Array]:
    step = max(1, AT_ONCE // windows.shape[1])
    for start in range(0, len(windows), step):
        yield windows[start : start + step]


def log_softmax(logits: Array) -> Array:
    """Over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return found
