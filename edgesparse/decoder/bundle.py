"""What is in the bundle of a language model, and what its manifest says."""

from __future__ import annotations

import hashlib
from importlib.resources import files as resources
from pathlib import Path

import numpy as np

from edgesparse.build import Artifact
from edgesparse.decoder.blob import Blob
from edgesparse.decoder.model import SITES, Decoder
from edgesparse.decoder.store import Form, StoredDecoder, describe_rules
from edgesparse.manifest import Manifest, Port
from edgesparse.manifest_decoder import DecoderFacts, SiteFacts
from edgesparse.npm_package import package_json
from edgesparse.packed_weights import Part, encode
from edgesparse.types import MemoryPlan, Selection, Target
from edgesparse.version import __version__


def facts(
    decoder: Decoder, stored: StoredDecoder, form: Form, context: int, chunk: int, cache_bytes: int,
    tokenizer: tuple[str, bytes] | None,
) -> DecoderFacts:  # fmt: skip
    sites = []
    for number, block in enumerate(stored.blocks):
        for site in SITES:
            if (m := block.matrices.get(site)) is None:
                continue
            skips_neurons = block.neurons is not None and site in ("up", "down")
            sites.append(
                SiteFacts(
                    block=number, site=site, entries=m.outputs if m.layout == "rows" else m.inputs,  # type: ignore[arg-type]
                    unit_bytes=m.unit_bytes, low_bytes=m.low_bytes,
                    rule=decoder_rule(decoder, number, site) or skips_neurons,
                )
            )  # fmt: skip
    norms = sum(
        4 * array.size
        for b in decoder.blocks
        for array in (b.attention_norm, b.mlp_norm, b.q_norm, b.k_norm, b.post_attention_norm, b.post_mlp_norm)
        if array is not None
    )
    return DecoderFacts(
        context=context, chunk=chunk, vocabulary=decoder.vocabulary, dim=decoder.dim, blocks=len(decoder.blocks),
        bos=decoder.bos, stops=decoder.stops, weights=form, tokenizer=tokenizer[0] if tokenizer else "",
        dense_positions=decoder.dense_positions, cache_bytes=cache_bytes,
        always_bytes=stored.head.bytes + norms + 4 * decoder.dim, sites=tuple(sites), **describe_rules(decoder),
    )  # fmt: skip


def decoder_rule(decoder: Decoder, block: int, site: str) -> bool:
    return getattr(decoder.blocks[block], site).rule is not None


def describe(
    decoder: Decoder, artifact: Artifact, selection: Selection, memory: MemoryPlan, target: Target,
    sources: dict[str, str], blob: Blob, digest: str, name: str, said: DecoderFacts,
    tokenizer: tuple[str, bytes] | None,
) -> tuple[dict[str, bytes | Path], Manifest]:  # fmt: skip
    """The files, those that are large as paths from where they can be moved; and the manifest."""
    from edgesparse.runtimes.c import DECODER_HEADERS, HEADERS
    from edgesparse.runtimes.node import LOADER, TO_GENERATE
    from edgesparse.runtimes.web import package_entry

    content = {**artifact.files, **{n: text.encode() for n, text in sources.items()}}
    package = resources("edgesparse")
    for file in (*HEADERS, *DECODER_HEADERS):
        content[file] = (package / "runtimes/c" / file).read_bytes()
    if tokenizer:
        content[tokenizer[0]] = tokenizer[1]
    packed = None
    if target.kind == "wasm":
        for file in (*LOADER, *TO_GENERATE, "model.d.ts"):
            content[file] = (package / "runtimes/web" / file).read_bytes()
        weights = np.memmap(blob.path, np.uint8, "r").tobytes()
        data, packed = encode([Part(at, blob.mapped(at, t, n)) for at, t, n in blob.arrays if n], weights)
        content[packed.file] = data
        content["index.mjs"] = package_entry(content).encode()
        content["package.json"] = package_json(name, __version__, content).encode()
    digests = {n: hashlib.sha256(d).hexdigest() for n, d in content.items()}
    mapped: dict[str, Path] = {} if packed else {"weights.bin": blob.path}
    digests |= dict.fromkeys(mapped, digest)
    graph = selection.graph

    def port(tensor: str) -> Port:
        spec = graph.tensors[tensor]
        return Port(name=tensor, shape=spec.shape, dtype=spec.dtype, bytes=spec.bytes)

    manifest = Manifest(
        edgesparse=__version__, name=name, device=target.name, kind=target.kind, triple=target.triple,
        isas=target.isas, inputs=tuple(map(port, graph.inputs)), outputs=tuple(map(port, graph.outputs)),
        arena_bytes=memory.arena_bytes, arena_lower_bound_bytes=memory.arena_bytes,
        scratch_bytes=memory.scratch_bytes, weights_bytes=blob.bytes, code_bytes=artifact.code_bytes,
        compiler=artifact.compiler, layers=(), modules=artifact.modules, weights=packed, decoder=said,
        files=dict(sorted(digests.items())),
    )  # fmt: skip
    return {**content, **mapped}, manifest
