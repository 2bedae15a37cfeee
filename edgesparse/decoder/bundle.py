"""What is in the bundle of a language model, and what its manifest says."""

from __future__ import annotations

import hashlib
from importlib.resources import files as resources
from pathlib import Path

from edgesparse.build import Artifact
from edgesparse.decoder.blob import Blob
from edgesparse.decoder.model import SITES, Decoder, InputRule, NeuronRule
from edgesparse.decoder.store import Form, Matrix, StoredDecoder, describe_rules
from edgesparse.decoder.worth import Dropped
from edgesparse.manifest import Manifest, Port
from edgesparse.manifest_decoder import DecoderFacts, SiteFacts, WeightFile
from edgesparse.npm_package import package_json
from edgesparse.types import MemoryPlan, Selection, Target
from edgesparse.version import __version__

FILE_BYTES = 32 << 20
"""The most that a file of weights for browsers has: one is in memory beside where the weights belong."""


def facts(
    decoder: Decoder, stored: StoredDecoder, dropped: tuple[Dropped, ...], form: Form, context: int, chunk: int,
    cache_bytes: int, tokenizer: tuple[str, bytes] | None,
) -> DecoderFacts:  # fmt: skip
    sites, reasons = [], {one.place: one.why for one in dropped}
    for number, block in enumerate(stored.blocks):
        for site in SITES:
            if (m := block.matrices.get(site)) is None:
                continue
            skips_neurons = block.neurons is not None and site in ("up", "down")
            source = decoder.blocks[number]
            rule = source.neurons if skips_neurons else getattr(source, site).rule
            sites.append(
                SiteFacts(
                    block=number, site=site, entries=m.outputs if m.layout == "rows" else m.inputs,  # type: ignore[arg-type]
                    unit_bytes=m.unit_bytes, low_bytes=m.low_bytes,
                    layout=m.layout, rule=rule is not None, dropped=(number, site) in reasons,  # type: ignore[arg-type]
                    why=reasons.get((number, site)) or _why(rule, m),
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


def _why(rule: InputRule | NeuronRule | None, matrix: Matrix) -> str:
    """Why the layer is stored as it is."""
    if rule is None and matrix.layout == "blocks":
        return "blocks of 4 x 16 weights that are zero are left out"
    if rule is None:
        return "no rule: all inputs count, in one stream of weights"
    what = "outputs" if matrix.layout == "rows" else "inputs"
    low = f", what is left out through rank {matrix.low[0].outputs}" if matrix.low else ""
    return f"{rule.method} leaves out {rule.sparsity:.0%} of the {what}, each of them a run of weights{low}"


def describe(
    decoder: Decoder, artifact: Artifact, selection: Selection, memory: MemoryPlan, target: Target,
    sources: dict[str, str], blob: Blob, digest: str, name: str, said: DecoderFacts,
    tokenizer: tuple[str, bytes] | None,
) -> tuple[dict[str, bytes | Path], Manifest]:  # fmt: skip
    """The files, those that are large as paths from where they can be moved; and the manifest."""
    from edgesparse.runtimes.c import DECODER_HEADERS, HEADERS
    from edgesparse.runtimes.node import LOADER, TO_GENERATE
    from edgesparse.runtimes.web import TYPES, package_entry

    content = {**artifact.files, **{n: text.encode() for n, text in sources.items()}}
    package = resources("edgesparse")
    for file in (*HEADERS, *DECODER_HEADERS):
        content[file] = (package / "runtimes/c" / file).read_bytes()
    if tokenizer:
        content[tokenizer[0]] = tokenizer[1]
    mapped, digested = {"weights.bin": blob.path}, {"weights.bin": digest}
    if target.kind == "wasm":
        for file in (*LOADER, *TO_GENERATE, *TYPES):
            content[file] = (package / "runtimes/web" / file).read_bytes()
        mapped, digested = _cut(blob.path)
        cut = tuple(WeightFile(file=n, bytes=path.stat().st_size) for n, path in mapped.items())
        said = said.model_copy(update={"weight_files": cut})
        content["index.mjs"] = package_entry([*content, *mapped], "language.mjs").encode()
        stand_ins = {n: d.encode() for n, d in digested.items()}  # for large files
        content["package.json"] = package_json(name, __version__, {**content, **stand_ins}).encode()
    digests = {n: hashlib.sha256(d).hexdigest() for n, d in content.items()} | digested
    graph = selection.graph

    def port(tensor: str) -> Port:
        spec = graph.tensors[tensor]
        return Port(name=tensor, shape=spec.shape, dtype=spec.dtype, bytes=spec.bytes)

    manifest = Manifest(
        edgesparse=__version__, name=name, device=target.name, kind=target.kind, triple=target.triple,
        isas=target.isas, inputs=tuple(map(port, graph.inputs)), outputs=tuple(map(port, graph.outputs)),
        arena_bytes=memory.arena_bytes, arena_lower_bound_bytes=memory.arena_bytes,
        scratch_bytes=memory.scratch_bytes, weights_bytes=blob.bytes, code_bytes=artifact.code_bytes,
        compiler=artifact.compiler, layers=(), modules=artifact.modules, decoder=said,
        files=dict(sorted(digests.items())),
    )  # fmt: skip
    return {**content, **mapped}, manifest


def _cut(path: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The file at ``path`` in pieces beside it, of which the last may be shorter; and their SHA-256."""
    paths: dict[str, Path] = {}
    digests: dict[str, str] = {}
    with path.open("rb") as whole:
        while data := whole.read(FILE_BYTES):
            name = f"weights.{len(paths)}.bin"
            paths[name] = path.with_name(name)
            paths[name].write_bytes(data)
            digests[name] = hashlib.sha256(data).hexdigest()
    path.unlink()
    return paths, digests
