"""Thresholds for a decoder from a text, by any method; judged on a part of the text that they were not made on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgesparse.decoder.achieved import Achieved, achieved
from edgesparse.decoder.allocate import Allocation, check_allocation
from edgesparse.decoder.cats import calibrate_cats
from edgesparse.decoder.cett import LazyLayer, PplSparsity, lazy_layers, ppl_sparsity
from edgesparse.decoder.chess import calibrate_chess
from edgesparse.decoder.magnitude import calibrate_teal, calibrate_wina
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.perplexity import windows_of
from edgesparse.decoder.random_inputs import calibrate_random
from edgesparse.decoder.relu import calibrate_relu
from edgesparse.decoder.rsparse import calibrate_rsparse
from edgesparse.decoder.sites import OVERFLOW, Progress, check_sparsity, nothing
from edgesparse.decoder.thresholds import bare
from edgesparse.decoder.topk import calibrate_topk
from edgesparse.errors import InputError
from edgesparse.types import Array

WINDOW = 256
HELD = 4  # every so manieth window judges
LAZY_TOKENS = 4096  # for the report on neurons

ALLOCATED: Mapping[str, Callable[..., Decoder]] = {
    "teal": calibrate_teal, "wina": calibrate_wina, "rsparse": calibrate_rsparse,
}  # fmt: skip
"""Methods on all linear layers, whose shares are allocated."""
OTHERS: Mapping[str, Callable[..., Decoder]] = {
    "cats": calibrate_cats, "chess": calibrate_chess, "topk": calibrate_topk, "relu": calibrate_relu,
}  # fmt: skip
METHODS = (*ALLOCATED, *OTHERS, "random")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """``dense``, ``found``: on windows that were held back. ``neurons`` and ``lazy`` where they were asked for."""

    decoder: Decoder
    method: str
    asked: float
    allocation: str
    calibrating: int
    judging: int
    window: int
    dense: Achieved
    found: Achieved
    neurons: PplSparsity | None
    lazy: tuple[LazyLayer, ...]


def calibrate(
    decoder: Decoder,
    tokens: Array,
    method: str,
    sparsity: float,
    *,
    allocation: Allocation | None = None,
    window: int | None = None,
    most_windows: int = 64,
    dense_positions: int | None = None,
    report: bool = False,
    on_progress: Progress = nothing,
) -> Calibrated:
    """``decoder`` with rules by ``method``, one of `METHODS`; ``tokens``: (count,), a text.

    The text is cut into windows of ``window`` tokens (default 256, or the context where that is shorter), of which
    every fourth judges and the others calibrate; of both at most ``most_windows``, evenly taken. ``dense_positions`` of
    each stay dense (default: what the decoder says). ``report``: PPL-1% sparsity and how lazy each layer is, too.

    Raises:
        InputError: an unknown method, one that does not fit the network or takes no allocation, a sparsity of 1 or more
            or below 0, a text of fewer than two windows, or one on which the network overflows.
    """
    if method not in METHODS:
        raise InputError(f"no method '{method}'", where="--method", hint="one of " + ", ".join(METHODS))
    check_sparsity(sparsity)
    if allocation is not None:
        check_allocation(allocation)
        if method not in ALLOCATED and allocation != "uniform":
            raise InputError(
                f"{method} skips the same share everywhere", where="--allocation",
                hint=f"--allocation is for {', '.join(ALLOCATED)}",
            )  # fmt: skip
    if dense_positions is not None:
        decoder = replace(decoder, dense_positions=dense_positions)
    length = min(WINDOW, decoder.context) if window is None else window
    if length > decoder.context:
        raise InputError(
            f"windows of {length} tokens, the context of '{decoder.name}' is {decoder.context}", where="--window",
            hint=f"give 2 to {decoder.context}",
        )  # fmt: skip
    calibrating, judging = split(windows_of(tokens, length), most_windows)
    chosen: Allocation | None = (allocation or "block") if method in ALLOCATED else None
    if method == "random":
        made = calibrate_random(decoder, sparsity)
    elif chosen is not None:
        made = ALLOCATED[method](decoder, calibrating, sparsity, allocation=chosen, on_progress=on_progress)
    else:
        made = OTHERS[method](decoder, calibrating, sparsity, on_progress=on_progress)
    on_progress(0, 2, "judging on held-out text")
    with np.errstate(over="ignore", invalid="ignore"):
        dense = achieved(bare(decoder), judging)
    if not np.isfinite(dense.score.bits):
        raise InputError(
            "what it foretells of this text is no number", where=f"the decoder '{decoder.name}'", hint=OVERFLOW
        )
    on_progress(1, 2, "judging on held-out text")
    found = achieved(made, judging)
    some = calibrating[:: -(-calibrating.size // LAZY_TOKENS)]
    neurons = ppl_sparsity(decoder, some, 1.0, on_progress=on_progress) if report else None
    return Calibrated(
        made, method, sparsity, chosen or "uniform", len(calibrating), len(judging), length, dense, found, neurons,
        lazy_layers(decoder, some, on_progress=on_progress) if report else (),
    )  # fmt: skip


def split(windows: Array, most: int) -> tuple[Array, Array]:
    """Those that calibrate, and those that judge, at most ``most`` of each. Raises InputError for a single window."""
    if len(windows) < 2:
        raise InputError(
            f"the text is one window of {windows.shape[1]} tokens: it takes one to calibrate and one to judge",
            where="--text", hint="give a longer text, or shorter windows",
        )  # fmt: skip
    if most < 1:
        raise InputError("no window to calibrate on", where="--windows", hint="1 or more")
    judges = np.arange(len(windows)) % HELD == HELD - 1
    if not judges.any():
        judges[-1] = True
    return _evenly(windows[~judges], most), _evenly(windows[judges], most)


def _evenly(windows: Array, most: int) -> Array:
    found: Array = windows[np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)]
    return found
