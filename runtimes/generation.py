"""What it means to generate with a bundle: what is asked for, what comes back, and the loop, a run for each token.

The same loop is in C (generate.c) and in JavaScript (generate.mjs), for programs that run elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest
from edgesparse.manifest_decoder import ALL_INPUTS, HEADER, SITES, WANTED, DecoderFacts
from edgesparse.runtimes.arrays import Sample
from edgesparse.types import Array

MOST_TOKENS = 1 << 30
MOST_STOPS = 64  # as in request.h
HOTTEST = 1000
OnToken = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """``temperature`` 0: the likeliest token each time. ``sliding``: where the context is full, the oldest tokens are
    forgotten; otherwise the text ends. ``stops`` end it, too. ``dense``: no rule of activation sparsity holds."""

    max_tokens: int = 100
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stops: tuple[int, ...] = ()
    sliding: bool = False
    dense: bool = False

    def check(self) -> None:
        """Raises InputError: a number that cannot be. The limits of generate.mjs and request.h are the same."""
        for name, value, least, most in (
            ("max-tokens", self.max_tokens, 1, MOST_TOKENS), ("temperature", self.temperature, 0, HOTTEST),
            ("seed", self.seed, 0, 2**31 - 1),
        ):  # fmt: skip
            if not least <= value <= most:
                raise InputError(f"{value}", where=f"--{name}", hint=f"give {least} to {most}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"{self.top_p}", where="--top-p", hint="give more than 0, and at most 1")
        if len(self.stops) > MOST_STOPS:
            raise InputError(f"{len(self.stops)} tokens that end the text", hint=f"give {MOST_STOPS} at most")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of ``decoded`` runs for a single token: nanoseconds in all, and how many entries of each of `DecoderFacts.sites`
    counted, the mean of all runs."""

    decoded: int
    decode_ns: int
    active: tuple[float, ...]

    @property
    def tokens_per_s(self) -> float:
        return self.decoded / self.decode_ns * 1e9 if self.decode_ns else 0.0


@dataclass(frozen=True, slots=True)
class Generated:
    """``stopped``: length, stop (a token that ends the text, which is not among ``tokens``) or context (it is full)."""

    tokens: tuple[int, ...]
    stopped: str
    prompt_tokens: int
    prompt_ns: int
    cost: Cost


class Held(NamedTuple):
    """Inputs and outputs that stay where they are: ``run`` reads the ones and writes the others."""

    inputs: Sample
    outputs: Sample
    run: Callable[[], None]


def facts_of(manifest: Manifest, bundle: Path) -> DecoderFacts:
    """Raises InputError: no language model, or facts that do not fit each other."""
    if manifest.decoder is None:
        raise InputError(
            "is not a language model, so it cannot generate", where=str(bundle),
            hint=f"edgesparse run {bundle} --input FILE runs it",
        )  # fmt: skip
    found = manifest.decoder
    shapes = [port.shape for port in (*manifest.inputs, *manifest.outputs)]
    if (
        shapes != [(HEADER + found.chunk,), (2,), (found.vocabulary,), (1,), (1,), (found.blocks, len(SITES))]
        or any(site.block >= found.blocks for site in found.sites)
        or not -1 <= found.bos < found.vocabulary or max(found.stops, default=0) >= found.vocabulary
    ):  # fmt: skip
        raise InputError(
            "what it says of the language model does not fit its inputs and outputs", where=f"{bundle}/manifest.json",
            hint="compile the model again, or copy the bundle again",
        )  # fmt: skip
    return found


def refuse(manifest: Manifest, bundle: Path) -> None:
    """Raises InputError: a language model, where samples are expected."""
    if manifest.decoder is not None:
        raise InputError(
            "is a language model: it has no samples", where=str(bundle),
            hint=f"edgesparse generate {bundle} PROMPT runs it, and says how fast it is",
        )  # fmt: skip


def check_prompt(decoder: DecoderFacts, prompt: Sequence[int], sliding: bool) -> None:
    """Raises InputError: empty, longer than the context, or with tokens that there are not."""
    if not len(prompt):
        raise InputError(
            "the prompt is empty, and the model has no token to begin with", where="prompt", hint="give some text"
        )
    if len(prompt) > decoder.context and not sliding:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, the context is {decoder.context}", where="prompt",
            hint="shorten it, or let the oldest tokens be forgotten: --sliding-window",
        )  # fmt: skip
    check_tokens(decoder, np.asarray(prompt))


def check_tokens(decoder: DecoderFacts, tokens: Array) -> None:
    if tokens.min() < 0 or tokens.max() >= decoder.vocabulary:
        raise InputError(f"tokens are 0 to {decoder.vocabulary - 1}", where="prompt", hint="is it the right tokenizer?")


def generate(
    held: Held, decoder: DecoderFacts, prompt: Sequence[int], request: Request, on_token: OnToken | None
) -> Generated:
    """The prompt a chunk at a time, then token by token. The arguments have been checked."""
    clock, stops, tokens = time.perf_counter_ns, set(request.stops), []
    held.inputs[1][:] = request.temperature, request.top_p
    position, token, before = 0, 0, clock()
    while position < len(prompt):
        part = prompt[position : position + decoder.chunk]
        last = position + len(part) == len(prompt)
        token = _step(held, position, part, ALL_INPUTS | (WANTED if last else 0), seed=request.seed)
        position += len(part)
    prompt_ns, before, stopped, count = clock() - before, clock(), "length", _Counts(decoder)
    flags = WANTED | (ALL_INPUTS if request.dense else 0)
    while True:
        if token in stops:
            stopped = "stop"
            break
        tokens.append(token)
        if on_token:
            on_token(token)
        if len(tokens) == request.max_tokens:
            break
        if position >= decoder.context and not request.sliding:
            stopped = "context"
            break
        token = _step(held, position, (token,), flags, seed=request.seed)
        count.add(held)
        position += 1
    return Generated(tuple(tokens), stopped, len(prompt), prompt_ns, count.cost(clock() - before))


def score(held: Held, decoder: DecoderFacts, windows: Array, dense: bool) -> tuple[Array, Cost]:
    """``windows``: (n, w) tokens -> (n, w - 1): -log of the probability of each token but the first, and what it cost.
    Every token is computed alone, as when a text is generated."""
    losses = np.empty((windows.shape[0], windows.shape[1] - 1), np.float32)
    flags, count, before = WANTED | (ALL_INPUTS if dense else 0), _Counts(decoder), time.perf_counter_ns()
    held.inputs[1][:] = 0, 1
    for window, row in zip(windows.tolist(), losses, strict=True):
        for i in range(len(window) - 1):
            _step(held, i, window[i : i + 1], flags, target=window[i + 1])
            row[i] = held.outputs[2][0]
            count.add(held)
    return losses, count.cost(time.perf_counter_ns() - before)


def _step(held: Held, position: int, tokens: Sequence[int], flags: int, target: int = -1, seed: int = 0) -> int:
    header = held.inputs[0]
    header[:HEADER] = position, len(tokens), flags, target, seed
    header[HEADER : HEADER + len(tokens)] = tokens
    held.run()
    return int(held.outputs[1][0])


class _Counts:
    """Active entries, summed over runs."""

    def __init__(self, decoder: DecoderFacts) -> None:
        self.places, self.sum, self.runs = decoder.places(), np.zeros(7 * decoder.blocks, np.int64), 0

    def add(self, held: Held) -> None:
        self.sum += held.outputs[3].reshape(-1)
        self.runs += 1

    def cost(self, decode_ns: int) -> Cost:
        mean = self.sum[self.places] / max(self.runs, 1)
        return Cost(self.runs, decode_ns, tuple(mean.tolist()))


# -- what a program says -----------------------------------------------------------------------------------------------

_Count = Annotated[int, Field(ge=0, lt=1 << 62)]


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    isa: Annotated[str, Field(max_length=1024)] = ""
    prompt_tokens: _Count
    prompt_ns: _Count
    decoded: _Count
    decode_ns: _Count
    stopped: Literal["length", "stop", "context", "scored"]
    active: list[_Count]
    tokens: list[_Count]


def options(decoder: DecoderFacts, request: Request) -> list[str]:
    """The options of generate.c for ``request``."""
    words = ["--max-tokens", str(request.max_tokens), "--seed", str(request.seed)]
    # digits, for they read no exponents
    words += ["--temperature", np.format_float_positional(request.temperature, trim="-")]
    words += ["--top-p", np.format_float_positional(request.top_p, trim="-")]
    words += ["--positions", "0" if request.sliding else str(decoder.context)]
    words += [word for stop in request.stops for word in ("--stop", str(stop))]
    return [*words, *(["--dense"] if request.dense else [])]


def said(document: dict[str, Any], decoder: DecoderFacts) -> Generated:
    """What the document at the end of a program says.

    Raises:
        RuntimeFailure: it is none.
    """
    try:
        found = _Said.model_validate(document)
    except ValidationError as error:
        raise RuntimeFailure(f"the program printed facts that are none: {error.errors()[0]['msg']}") from error
    if len(found.active) != 7 * decoder.blocks:
        raise RuntimeFailure("the program counted active entries of another model", hint="compile the model again")
    mean = [found.active[place] / max(found.decoded, 1) for place in decoder.places()]
    cost = Cost(found.decoded, found.decode_ns, tuple(mean))
    return Generated(tuple(found.tokens), found.stopped, found.prompt_tokens, found.prompt_ns, cost)
