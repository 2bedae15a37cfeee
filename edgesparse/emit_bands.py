"""The C around layers that are computed a few rows at a time: a table of rows, and whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from edgesparse.types import Chain

END_OF_ROUNDS = ("    }", "    break;", "    }")


def tables(chains: Sequence[Chain]) -> list[str]:
    """For each chain the fields of `types.Band` (es_band in C), by round and by turn."""
    lines = []
    for n, chain in enumerate(chains):
        lines += [f"// Layers {chain.begin} to {chain.end - 1} take turns: what each of them does in each round."]
        lines += [f"static const es_band bands_{n}[][{chain.end - chain.begin}] = {{"]
        for each in chain.bands:
            bands = ("{" + ", ".join(map(str, astuple(band))) + "}" for band in each)
            lines += ["    {" + ",\n     ".join(bands) + "},"]
        lines += ["};", ""]
    return lines


def begin_of_rounds(n: int, first: int, chain: Chain) -> list[str]:
    """``first``: the number of the first call of chain ``n``."""
    count = chain.end - chain.begin
    return [
        f"    case {first} ... {first + count * len(chain.bands) - 1}: {{",
        f"      const int round = (call - {first}) / {count}, turn = (call - {first}) % {count};",
        f"      const es_band *band = &bands_{n}[round][turn];",
        "      switch (turn) {",
    ]
