"""What `sparsify` prints of a language model: a table, or one JSON document."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesparse.decoder.blocks_network import PrunedDecoder
from edgesparse.decoder.model import SITES
from edgesparse.decoder.perplexity import doubt
from edgesparse.report import print_facts, print_json, print_table, warn


def pruned(path: Path, found: PrunedDecoder, per_byte: float, json: bool) -> None:
    """``per_byte``: tokens of the text for each of its bytes."""
    sizes = [getattr(found.decoder.blocks[index], site).weight.size for index, site in (x.place for x in found.layers)]
    zeros = float(np.average([x.zeros for x in found.layers], weights=sizes))
    said = {"file": str(path), "method": found.method, "pattern": "block:4x16", "zero_blocks": zeros}
    if found.dense is not None and found.found is not None:
        if what := doubt(found.dense, found.decoder.vocabulary):
            warn(what)
        said |= {
            "bits_per_byte": found.found.bits * per_byte, "dense_bits_per_byte": found.dense.bits * per_byte,
            "perplexity": found.found.perplexity, "dense_perplexity": found.dense.perplexity, "window": found.window,
            "calibrating_windows": found.calibrating, "judging_windows": found.judging,
        }  # fmt: skip
    if json:
        layers = [{"block": x.place[0], "site": x.place[1], "zero_blocks": x.zeros, "error": x.error}
                  for x in found.layers]  # fmt: skip
        return print_json({**said, "layers": layers})
    errors = {x.place: x.error for x in found.layers if x.error is not None}
    if errors:
        used = [site for site in SITES if (0, site) in errors]
        rows = [
            (index, *(f"{100 * errors[index, site]:.2f}" for site in used))
            for index in range(len(found.decoder.blocks))
        ]
        print_table("Error of the outputs, % of their energy, on the text that calibrates", ("block", *used), rows)
    facts = {"blocks of 4 outputs x 16 inputs": f"{100 * zeros:.1f}% are zero"}
    if "bits_per_byte" in said:
        facts |= {
            "bits per byte": f"{said['bits_per_byte']:.4f}, dense {said['dense_bits_per_byte']:.4f}",
            "perplexity per token": f"{said['perplexity']:.4f}, dense {said['dense_perplexity']:.4f}",
            "made on": f"{found.calibrating} windows of {found.window} tokens, judged on {found.judging} others",
        }
    facts["next"] = f"edgesparse compile {path} --weights int4 stores the blocks that are left"
    print_facts(f"wrote {path}: {found.method}", facts)
    return None
