"""Decoder -> bundle: packed weights, tables for the loop in runtimes/c/decoder.h, machine code.

store -> places -> model_c -> build -> bundle
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgesparse.build import build
from edgesparse.bundle import check_target_path, write_files
from edgesparse.decoder import bundle as contents
from edgesparse.decoder.blob import Blob
from edgesparse.decoder.emit import HEADER, model_c, places
from edgesparse.decoder.metadata import LONGEST
from edgesparse.decoder.model import SITES, Decoder
from edgesparse.decoder.store import Form, Store, StoredDecoder, describe_rules, form_of
from edgesparse.decoder.worth import only_worthwhile
from edgesparse.devices import Device, load_device
from edgesparse.emit import around
from edgesparse.errors import EdgeSparseError, InputError, UnsupportedError
from edgesparse.kernels import ISAS, find
from edgesparse.types import Binding, LoweredGraph, MemoryPlan, OpCall, Selection, Sources, Step, Target, TensorSpec
from edgesparse.workspace import workspace

CHUNK = 32
"""Tokens of a prompt that are computed at once."""
DOT_PRODUCTS = ("avx512vnni", "neon_dotprod")
"""Instruction sets that weights of 8 and 4 bits are compiled for beside those of the device."""
LARGEST_BYTES = {"wasm": 2**32 - 2**16, "executable": 2**46, "shared": 2**46}


def compile_decoder(
    decoder: Decoder, device: str | Device = "host", out: str | Path = "lm.edge", *,
    weights: Form = "int8", context: int | None = None, name: str | None = None,
    tokenizer: tuple[str, bytes] | None = None, break_even: float | None = None, block_sparsity: float = 0.0,
    force: bool = False,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Path:  # fmt: skip
    """Compile ``decoder`` for ``device`` into the bundle folder ``out``; returns its path.

    Args:
        weights: how they are stored; activations are f32 between layers.
        context: positions that the caches hold; those that the model was made for, unless given.
        tokenizer: name in the bundle and content of its file.
        block_sparsity: of weights of 4 bits, the share of blocks of 4 x 16 that are left out; see `gqsa`.
        break_even: the active share above which a layer computes with all inputs, token by token; 1: never for that
            reason. Unless it is given, rules that leave too much to be worth it (`only_worthwhile`) are not used.

    Raises:
        InputError: a device, context or path that cannot be used, or weights that do not fit into ``weights``.
        UnsupportedError: there are no kernels for this machine.
    """
    out = Path(out)
    check_target_path(out, force=force)
    weights = form_of(weights)
    _check_blocks(decoder, weights, block_sparsity)
    context = decoder.context if context is None else context
    if not 1 <= context <= LONGEST:
        raise InputError(f"a context of {context} positions", where="--context", hint=f"give 1 to {LONGEST}")
    target = load_device(device).target
    chunk = min(CHUNK, context)
    architecture = target.triple.split("-")[0]
    decoder, dropped = only_worthwhile(decoder, weights, architecture) if break_even is None else (decoder, ())
    with workspace(out.absolute().parent) as work:
        blob = Blob(work / "weights.bin")
        store = Store(decoder, weights, architecture, context, blob, break_even, block_sparsity)
        stored = store.all(on_progress)
        digest = blob.close()
        at = places(decoder, stored, chunk)
        _check_memory(target, blob.bytes + at.arena_bytes)
        target, selection = _selection(decoder, stored, target, chunk)
        memory = MemoryPlan({}, {}, at.arena_bytes, at.arena_bytes, {}, at.own_bytes)
        name = name or out.stem
        files = {
            "model.c": model_c(decoder, stored, at, chunk, name),
            **around(selection, memory, name, blob.bytes, 1, context),
        }
        artifact = build(Sources(files, b""), selection, target, on_progress=on_progress, generates=True)
        facts = contents.facts(decoder, stored, dropped, weights, context, chunk, at.cache_bytes, tokenizer)
        content, manifest = contents.describe(
            decoder, artifact, selection, memory, target, files, blob, digest, name, facts, tokenizer
        )
        return write_files(content, manifest, out, force)


def _selection(decoder: Decoder, stored: StoredDecoder, target: Target, chunk: int) -> tuple[Target, Selection]:
    """The kernels that the loop calls, for every instruction set; and ``target`` with those that dot products need."""
    isas = target.isas
    form = stored.head.form
    if form in ("int8", "int4"):
        architecture = target.triple.split("-")[0]
        isas = (*(isa for isa in DOT_PRODUCTS if ISAS[isa].architecture == architecture), *isas)
    steps = []
    for stem in sorted(stored.stems):
        kernels = {isa: find(stem, isa, {}) for isa in isas}
        missing = [isa for isa, kernel in kernels.items() if kernel is None]
        if missing:
            raise UnsupportedError([EdgeSparseError(f"no kernel {stem} for {isa}") for isa in missing], where=form)
        call = OpCall(stem, stem, (), (), {})
        steps.append(Step(call, Binding(stem, {}), {isa: k for isa, k in kernels.items() if k is not None}))
    ports = {
        "tokens": ((HEADER + chunk,), "i32"), "sampling": ((2,), "f32"), "logits": ((decoder.vocabulary,), "f32"),
        "token": ((1,), "i32"), "loss": ((1,), "f32"), "active": ((len(decoder.blocks), len(SITES)), "i32"),
    }  # fmt: skip
    tensors = {key: TensorSpec(key, shape, dtype) for key, (shape, dtype) in ports.items()}
    graph = LoweredGraph(tensors, (), {}, ("tokens", "sampling"), ("logits", "token", "loss", "active"))
    return replace(target, isas=isas), Selection(graph, tuple(steps), {}, isas)


def _check_blocks(decoder: Decoder, form: Form, sparsity: float) -> None:
    where = "--block-sparsity"
    if not 0 <= sparsity < 1:
        raise InputError(f"{sparsity:g} is not in [0, 1)", where=where, hint="0.5 is a good start")
    if sparsity and form != "int4":
        raise InputError(f"for weights of 4 bits, not {form}", where=where, hint="add --weights int4")
    if sparsity and describe_rules(decoder):
        raise InputError(
            "the model has rules of activation sparsity, which read weights by input", where=where,
            hint="compile the model without rules, or leave this out",
        )  # fmt: skip


def _check_memory(target: Target, needed: int) -> None:
    if needed > LARGEST_BYTES[target.kind]:
        raise InputError(
            f"the model needs {needed / 1e9:.1f} GB of memory; {target.name} has room for "
            f"{LARGEST_BYTES[target.kind] / 1e9:.1f}",
            hint="store the weights with fewer bits (--weights int4), or keep fewer positions (--context)",
        )  # fmt: skip
