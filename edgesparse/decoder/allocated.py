"""Rules on all linear layers, their thresholds by one score and their shares by one allocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgesparse.decoder.allocate import HIGHEST, Allocation, Paths, by_block, check_allocation, uniform
from edgesparse.decoder.allocate_network import by_network
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.sites import Place, Progress, check_sparsity, nothing, sample
from edgesparse.decoder.thresholds import Thresholds, bare, measured, norms, thresholds
from edgesparse.errors import InputError
from edgesparse.types import Array

GREEDY_TOKENS = 2048  # blocks are computed some hundred times on so many
SETTLINGS, SETTLING_TOKENS = 2, 4096


@dataclass(frozen=True, slots=True)
class Allocated:
    """One calibration, for any sparsity up to ``highest``: `at` gives the decoder."""

    decoder: Decoder
    thresholds: Thresholds
    windows: Array
    allocation: Allocation
    paths: Paths | None
    highest: float

    def at(self, sparsity: float, on_progress: Progress = nothing) -> Decoder:
        """Only allocation by the network has work left to do. Raises InputError above ``highest``."""
        shares = self.shares(sparsity, on_progress)
        return self.settled(lambda scored: scored.decoder(self.decoder, shares))

    def settled(self, make: Callable[[Thresholds], Decoder]) -> Decoder:
        """What ``make`` gives for thresholds on what layers read when those before them skip, too.

        That is smaller than in the dense network: its thresholds would skip more than was asked for. What they skip of
        it is what the rules say.
        """
        made, samples = make(self.thresholds), self.thresholds.samples
        some = self.windows[:: -(-self.windows.size // SETTLING_TOKENS)]
        for _ in range(SETTLINGS):
            samples = sample(made, some)
            made = make(thresholds(self.thresholds.method, samples, self.thresholds.norms))
        return measured(made, samples)

    def shares(self, sparsity: float, on_progress: Progress = nothing) -> dict[Place, float]:
        """Of the inputs of each group, those that are skipped."""
        check_sparsity(sparsity)
        if self.paths is None:
            return uniform(self.decoder, sparsity)
        if sparsity > self.highest:
            raise InputError(f"allocated up to a sparsity of {self.highest:g}, not {sparsity:g}")
        shares = self.paths.shares(sparsity)
        if self.allocation == "network" and sparsity:
            shares = by_network(
                self.decoder, self.thresholds, self.windows, sparsity, shares, on_progress=on_progress
            )  # fmt: skip
        return shares


def allocated(
    method: str,
    decoder: Decoder,
    windows: Array,
    highest: float,
    *,
    weighted: bool,
    allocation: Allocation,
    on_progress: Progress = nothing,
) -> Allocated:
    """One calibration for all sparsities up to ``highest``; errors as in `calibrate_teal`.

    ``weighted``: inputs count by the norm of the weights that they meet, too.
    """
    check_sparsity(highest)
    check_allocation(allocation)
    if allocation != "uniform" and highest > HIGHEST:
        raise InputError(
            f"a sparsity of {highest:g}: allocation leaves every layer {1 - HIGHEST:.0%} of its inputs",
            where="--sparsity", hint="--allocation uniform has no such limit",
        )  # fmt: skip
    decoder = bare(decoder)
    scored = thresholds(method, sample(decoder, windows, on_progress), norms(decoder) if weighted else None)
    paths = None
    if allocation != "uniform":
        paths = by_block(decoder, scored, windows[:: -(-windows.size // GREEDY_TOKENS)], highest, on_progress)
    return Allocated(decoder, scored, windows, allocation, paths, highest)
