"""Which engine runs where, and by which build of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases import split
from bench.peers import OURS
from bench.wasm.engines import ENGINES, ISAS, PEERS, Engine
from edgesparse.errors import InputError

PLACES = ("node", "chromium")


@dataclass(frozen=True, slots=True)
class Seating:
    """``backend``: which build of ours; others choose by themselves, and theirs is empty."""

    place: str
    engine: Engine
    backend: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.engine.name, self.backend, "in", self.place)))


def seatings(against: str, where: str, backends: str) -> list[Seating]:
    """Ours first in every place; ``none`` are no others. Raises InputError for a name that is not known."""
    peers = [] if against == "none" else _known(against, "--against", PEERS)
    places = _known(where, "--in", PLACES)
    own = [Seating(p, ENGINES[OURS], b) for p in places for b in _known(backends, "--backends", ISAS)]
    others = [Seating(p, ENGINES[name]) for p in places for name in peers]
    return sorted([*own, *others], key=lambda s: places.index(s.place))


def _known(text: str, option: str, names: Sequence[str]) -> list[str]:
    wanted = split(text, option)
    for name in wanted:
        if name not in names:
            raise InputError(f"there is no '{name}'", where=option, hint=f"known: {', '.join(names)}")
    return wanted
