"""What `inspect` prints of a language model: its sizes; and `explain`: how each layer is stored, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from edgesparse.decoder.gqsa import zero_share
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.store import describe_rules
from edgesparse.decoder.tokenizer import named
from edgesparse.manifest_decoder import SITES, DecoderFacts, SiteFacts
from edgesparse.report import kilobytes, print_facts, print_json, print_table


def inspection(path: Path, decoder: Decoder, tokenizer: tuple[str, bytes] | None, json: bool) -> None:
    """``tokenizer``: the name of its file, and the file."""
    d, block, rules = decoder, decoder.blocks[0], describe_rules(decoder)
    linear = sum(layer.weight.size for b in d.blocks for _, layer in b.linears())
    tables = d.embedding.size + (0 if d.head is None else d.head.size)
    each = 2 * 4 * d.kv_heads * d.head_dim  # bytes of the keys and values of a position
    cache = sum(each * min(b.window or d.context, d.context) for b in d.blocks)
    said = {
        "blocks": len(d.blocks), "dim": d.dim, "hidden": d.hidden, "heads": d.heads, "kv_heads": d.kv_heads,
        "head_dim": d.head_dim, "vocabulary": d.vocabulary, "context": d.context, "activation": d.activation,
        "gated": block.gate is not None, "tied": d.head is None, "linear_weights": linear, "table_weights": tables,
        "cache_bytes": cache, "tokenizer": tokenizer[0] if tokenizer else "", "bos": d.bos, "stops": list(d.stops),
        "dense_positions": d.dense_positions, "rules": rules or None,
    }  # fmt: skip
    zeros = [
        (index, site, float(np.mean(layer.weight == 0)), zero_share(layer.weight))
        for index, b in enumerate(d.blocks)
        for site, layer in b.linears()
    ]
    if json:
        columns = ("block", "site", "zeros", "zero_blocks")
        layers = [dict(zip(columns, row, strict=True)) for row in zeros]
        return print_json({"model": str(path), "decoder": said, "layers": layers})
    print_facts(f"{path}: a language model", {
        "network": f"{len(d.blocks)} blocks of {d.dim}, feed-forward {d.hidden} ({d.activation}"
        f"{', gated' if said['gated'] else ''})",
        "attention": f"{d.heads} heads of {d.head_dim}, {d.kv_heads} of keys and values",
        "weights": f"{linear:,} in linear layers, {tables:,} in the embedding"
        f"{'' if d.head is None else ' and the head'}",
        "vocabulary": f"{d.vocabulary} tokens, tokenizer: {named(tokenizer[0] if tokenizer else '', d.vocabulary)}",
        "context": f"{d.context} positions, {kilobytes(cache)} for keys and values",
        "activation sparsity": f"{rules['method']}, {100 * rules['sparsity']:.0f}% left out" if rules else "none",
    })  # fmt: skip
    if any(single for _, _, single, _ in zeros):
        rows = [
            (f"{index}.{site}", f"{100 * single:.1f}", f"{100 * blocks:.1f}") for index, site, single, blocks in zeros
        ]
        print_table("Zeros", ("layer", "weights %", "blocks of 4 outputs x 16 inputs %"), rows)
    return None


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
