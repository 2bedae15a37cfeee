"""What `explain` prints of a language model: how each layer is stored, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from edgesparse.manifest_decoder import SITES, DecoderFacts, SiteFacts
from edgesparse.report import print_json, print_table


def explanation(bundle: Path, device: str, facts: DecoderFacts, json: bool) -> None:
    if json:
        rows = [site.model_dump() for site in facts.sites]
        return print_json({"bundle": str(bundle), "device": device, "weights": facts.weights, "layers": rows})
    title = f"{bundle} for {device}: {facts.weights}, {facts.blocks} blocks"
    print_table(title, ("blocks", "layers", "stored", "MB", "why"), list(rows_of(facts.sites)))
    return None


def rows_of(sites: Sequence[SiteFacts]) -> Iterable[tuple[object, ...]]:
    """One for all layers of which the same is to be said and that are in the same blocks."""
    same: dict[tuple[str, str, str], list[SiteFacts]] = {}
    for site in sites:
        same.setdefault((site.site, site.layout, site.why), []).append(site)
    rows: dict[tuple[tuple[int, ...], str, str], list[SiteFacts]] = {}
    for (_, layout, why), group in same.items():
        rows.setdefault((tuple(s.block for s in group), layout, why), []).extend(group)
    for (blocks, layout, why), group in sorted(rows.items()):
        names = {s.site for s in group}
        size = sum(s.unit_bytes * s.entries + s.low_bytes for s in group) / 1e6
        yield ranges(blocks), ", ".join(s for s in SITES if s in names), layout, f"{size:.2f}", why


def ranges(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 -> "0-2, 5"."""
    ordered = sorted(numbers)
    ends = [i for i, (a, b) in enumerate(pairwise(ordered)) if b != a + 1]
    firsts, lasts = [0, *(i + 1 for i in ends)], [*ends, len(ordered) - 1]
    parts = ((ordered[a], ordered[b]) for a, b in zip(firsts, lasts, strict=True))
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
