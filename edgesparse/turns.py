"""Sessions that are timed in turns, each started anew before its turn: what else goes on meets all of them, and where
memory comes to lie is drawn several times (see `starts`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgesparse.runtimes.session import Session

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Turn:
    """Session number ``index`` is to be timed for ``runs`` runs. ``anew``: it was started for them."""

    number: int
    index: int
    runs: int
    anew: bool


def turns(sessions: Sequence[Session], num_runs: int, rounds: int = ROUNDS) -> Iterator[Turn]:
    """``num_runs`` of each session in ``rounds`` turns, or as many as there are runs. Raises as `Session.renew`."""
    rounds = min(rounds, num_runs)
    for number in range(rounds):
        runs = num_runs * (number + 1) // rounds - num_runs * number // rounds
        for index, session in enumerate(sessions):
            yield Turn(number, index, runs, number == 0 or session.renew())


def by_start(parts: Sequence[tuple[int, ...]], anew: Sequence[bool]) -> tuple[tuple[int, ...], ...]:
    """Times of turns as those of starts: a turn that began with none belongs to the one before."""
    found: list[tuple[int, ...]] = []
    for part, new in zip(parts, anew, strict=True):
        if new:
            found.append(part)
        else:
            found[-1] += part
    return tuple(found)
