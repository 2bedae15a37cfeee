"""Texts in and out of a bundle: its tokenizer around a session, and how well it foretells a text."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from edgesparse.decoder.tokenizer import BYTES, Tokenizer
from edgesparse.errors import InputError
from edgesparse.manifest import Manifest
from edgesparse.runtimes.files import read_verified
from edgesparse.runtimes.generation import Cost, Generated, Request, facts_of
from edgesparse.runtimes.session import Session
from edgesparse.types import Array

OnText = Callable[[str], None]


def tokenizer_in(bundle: Path, manifest: Manifest) -> Tokenizer:
    """Raises InputError: no language model, or one that was compiled without a tokenizer."""
    facts = facts_of(manifest, bundle)
    if facts.tokenizer:
        return Tokenizer.from_bytes(facts.tokenizer, read_verified(bundle, manifest, facts.tokenizer), facts.vocabulary)
    if facts.vocabulary == BYTES:
        return Tokenizer.from_bytes("", b"", BYTES)
    raise InputError(
        "the bundle has no tokenizer, and its tokens are not bytes", where=str(bundle),
        hint="edgesparse import-llm CHECKPOINT --tokenizer FILE takes one in; then compile again",
    )  # fmt: skip


def read_text(path: Path) -> bytes:
    """Raises InputError: the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {(error.strerror or str(error)).lower()}", where=str(path), hint="give a file of text"
        ) from error


def text_tokens(tokenizer: Tokenizer | None, content: bytes, model: Path) -> Array:
    """(count,), of a text to calibrate ``model`` on. Raises InputError: the model has no tokenizer."""
    if tokenizer is None:
        raise InputError(
            "the model has no tokenizer, and its tokens are not bytes", where=str(model),
            hint="edgesparse import-llm CHECKPOINT --tokenizer FILE takes one in",
        )  # fmt: skip
    return np.array(tokenizer.encode(content), np.int64)


def prompt_tokens(session: Session, tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Those of ``prompt``, after the one that texts begin with, where the model has one."""
    facts = facts_of(session.manifest, session.bundle)
    return [*([facts.bos] if facts.bos >= 0 else []), *tokenizer.encode(prompt)]


def continue_text(
    session: Session, tokenizer: Tokenizer, prompt: str, request: Request, on_text: OnText | None = None
) -> tuple[str, Generated]:
    """What comes after ``prompt``, told to ``on_text`` as it comes, in whole characters.

    Raises:
        InputError, RuntimeFailure: as `Session.generate`.
    """
    characters = codecs.getincrementaldecoder("utf-8")("replace")
    text: list[str] = []
    begun = bool(prompt)

    def say(piece: str) -> None:
        if piece:
            text.append(piece)
            if on_text:
                on_text(piece)

    def on_token(token: int) -> None:
        nonlocal begun
        say(characters.decode(tokenizer.decode([token], first=not begun)))
        begun = True

    found = session.generate(prompt_tokens(session, tokenizer, prompt), request, on_token)
    say(characters.decode(b"", final=True))
    return "".join(text), found


@dataclass(frozen=True, slots=True)
class Foretold:
    """How well ``tokens`` tokens, which write ``text_bytes``, were foretold: ``nats`` each, in ``windows`` of
    ``window`` tokens that begin ``stride`` tokens apart; of each but the first only the last ``stride`` count."""

    nats: float
    tokens: int
    text_bytes: int
    windows: int
    window: int
    stride: int
    cost: Cost

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.nats))

    @property
    def bits_per_byte(self) -> float:
        return self.nats * self.tokens / log(2) / self.text_bytes


def foretell(
    session: Session, tokenizer: Tokenizer, text: bytes, *, window: int = 0, stride: int = 0, limit: int = 0,
    dense: bool = False, on_progress: Callable[[int, int, str], None] | None = None,
) -> Foretold:  # fmt: skip
    """Bits per byte and perplexity of ``text``. ``window`` 0: the context; ``stride`` 0: windows do not overlap;
    ``limit``: the first so many windows, 0 for all. What is left over at the end does not count.

    The first token of each window is given: windows begin in the middle of a text, without the token that texts begin
    with. Every other token is computed alone, as when a text is generated, so that rules of activation sparsity hold.

    Raises:
        InputError: a text that is shorter than a window, or a window that does not fit into the context.
    """
    facts = facts_of(session.manifest, session.bundle)
    most = facts.context + 1  # the last token is not read
    window = window or facts.context
    stride = stride or window
    if not 2 <= window <= most:
        raise InputError(f"windows of {window} tokens", where="--window", hint=f"give 2 to {most}, for the context")
    if not 1 <= stride <= window:
        raise InputError(f"a stride of {stride} tokens", where="--stride", hint=f"give 1 to {window}, the window")
    tokens = np.asarray(tokenizer.encode(text), np.int32)
    count = (tokens.size - window) // stride + 1
    if tokens.size < window:
        raise InputError(
            f"the text has {tokens.size} tokens, a window {window}", where="--perplexity",
            hint="give a longer text, or shorter windows: --window",
        )  # fmt: skip
    count = min(count, limit or count)
    windows = np.stack([tokens[i * stride :][:window] for i in range(count)])
    counted = np.ones((count, windows.shape[1] - 1), bool)
    counted[1:, : max(window - 1 - stride, 0)] = False
    losses, costs = [], []
    at_once = max(1, count // 50) if on_progress else count
    for first in range(0, count, at_once):
        part, cost = session.score(windows[first : first + at_once], dense)
        losses.append(part)
        costs.append(cost)
        if on_progress:
            on_progress(min(first + at_once, count), count, "windows")
    sizes = np.array([len(tokenizer.decode([t], first=False)) for t in range(min(facts.vocabulary, _known(tokenizer)))])
    text_bytes = int(sizes[windows[:, 1:][counted]].sum())
    nats = float(np.concatenate(losses)[counted].mean(dtype=np.float64))
    return Foretold(nats, int(counted.sum()), text_bytes, count, window, stride, _all(costs))


def _known(tokenizer: Tokenizer) -> int:
    return len(tokenizer.pieces)


def _all(costs: Sequence[Cost]) -> Cost:
    """Of several parts, together."""
    decoded = sum(c.decoded for c in costs)
    active: Array = sum((np.array(c.active) * c.decoded for c in costs), np.zeros(len(costs[0].active))) / decoded
    return Cost(decoded, sum(c.decode_ns for c in costs), tuple(active.tolist()))
