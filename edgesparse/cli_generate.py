"""The commands of `edgesparse` that run language models, and their part of `compile` and `evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgesparse.options import Bundle, Json, Left, Runtime, Threads, left

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesparse.manifest_decoder import DecoderFacts
    from edgesparse.runtimes.generation import Cost

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.

commands = typer.Typer()


@commands.command(epilog="Example: edgesparse generate lm.edge 'def read_file(' --max-tokens 200")
def generate(
    bundle: Bundle,
    prompt: Annotated[str, typer.Argument(help="how the text begins; may be empty where the model knows a beginning")],
    max_tokens: Annotated[int, typer.Option(help="how many tokens to add at most")] = 100,
    temperature: Annotated[float, typer.Option(help="0: the likeliest token; the larger, the more chance")] = 0.0,
    top_p: Annotated[float, typer.Option(help="among the likeliest tokens with this probability together")] = 1.0,
    seed: Annotated[int, typer.Option(help="of chance: the same seed gives the same text")] = 0,
    sliding_window: Annotated[
        bool, typer.Option("--sliding-window", help="where the context is full, forget the oldest tokens")
    ] = False,
    dense: Annotated[bool, typer.Option("--dense", help="leave out nothing: no activation sparsity")] = False,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    keep: Left = False,
    json: Json = False,
) -> None:
    """Continue a text with a language model; what it cost is on stderr."""
    from edgesparse import report, runtimes
    from edgesparse.decoder.texts import continue_text, prompt_tokens, tokenizer_in
    from edgesparse.runtimes.generation import Request, check_prompt, facts_of

    terminal = sys.stdout.isatty()

    def on_text(text: str) -> None:
        print(report.harmless_text(text) if terminal else text, end="", flush=True)

    with (
        report.progress("generate") as on_progress,
        runtimes.open(bundle, runtime, threads=threads, on_push=on_progress, **left(keep)) as session,
    ):
        facts = facts_of(session.manifest, bundle)
        tokenizer = tokenizer_in(bundle, session.manifest)
        request = Request(max_tokens, temperature, top_p, seed, facts.stops, sliding_window, dense)
        request.check()  # before anything is written
        check_prompt(facts, prompt_tokens(session, tokenizer, prompt), sliding_window)
        if not json:
            on_text(prompt)
        text, found = continue_text(session, tokenizer, prompt, request, None if json else on_text)
        machine = dict(session.machine)
    cost = found.cost
    if json:
        return report.print_json({
            "prompt": prompt, "text": text, "tokens": found.tokens, "stopped": found.stopped,
            "prompt_tokens": found.prompt_tokens, "prompt_ms": found.prompt_ns / 1e6, **_costs(facts, cost),
            "machine": machine,
        })  # fmt: skip
    print()
    where = f"{machine['runtime']}, {machine.get('isa', '')}, threads: {machine['threads']}"
    begun = f"{found.prompt_tokens} tokens of the prompt in {found.prompt_ns / 1e6:.1f} ms"
    if cost.decoded:
        report.note(f"{begun}, then {len(found.tokens)} at {cost.tokens_per_s:.0f} tokens/s ({where})")
        report.note(f"{_read(facts, cost)}; ended by {_ENDED[found.stopped]}")
    else:  # the first token follows from the prompt
        report.note(f"{begun}, then {len(found.tokens)} ({where}); ended by {_ENDED[found.stopped]}")
    return None


_ENDED = {
    "length": "--max-tokens", "stop": "a token that ends texts",
    "context": "a full context: --sliding-window goes on, and forgets the oldest tokens",
}  # fmt: skip


def _read(facts: DecoderFacts, cost: Cost) -> str:
    """What a token that was decoded made the runtime read."""
    each = f"{facts.bytes_per_token(list(cost.active)) / 1e6:.2f} MB of weights for each"
    if not facts.method:
        return each
    return f"{each} ({facts.method}: {100 * _share(facts, cost):.1f}% of the linear layers')"


def _share(facts: DecoderFacts, cost: Cost) -> float:
    """Of the weights of the linear layers, those that were read."""
    all_of_them = sum(s.unit_bytes * s.entries for s in facts.sites)
    return (facts.bytes_per_token(list(cost.active)) - facts.always_bytes) / all_of_them


def _costs(facts: DecoderFacts, cost: Cost) -> dict[str, Any]:
    return {
        "decoded": cost.decoded, "decode_ms": cost.decode_ns / 1e6, "tokens_per_s": cost.tokens_per_s,
        "bytes_per_token": facts.bytes_per_token(list(cost.active)) if cost.decoded else None,
        "weights": facts.weights, "method": facts.method,
        "active": [
            {"block": s.block, "site": s.site, "entries": s.entries, "active": a / s.entries}
            for s, a in zip(facts.sites, cost.active, strict=True)
        ],
    }  # fmt: skip


def perplexity(
    bundle: Path, text: Path, window: int, stride: int, limit: int, dense: bool, runtime: str, threads: int, json: bool
) -> None:
    """`evaluate --perplexity`."""
    from edgesparse import report, runtimes
    from edgesparse.decoder.texts import foretell, read_text, tokenizer_in
    from edgesparse.runtimes.generation import facts_of

    content = read_text(text)
    with (
        report.progress("evaluate") as on_progress,
        runtimes.open(bundle, runtime, threads=threads, on_push=on_progress) as session,
    ):
        facts = facts_of(session.manifest, bundle)
        found = foretell(
            session, tokenizer_in(bundle, session.manifest), content, window=window, stride=stride, limit=limit,
            dense=dense, on_progress=on_progress,
        )  # fmt: skip
    said = {
        "bits_per_byte": found.bits_per_byte, "perplexity": found.perplexity, "tokens": found.tokens,
        "bytes": found.text_bytes, "windows": found.windows, "window": found.window, "stride": found.stride,
    }  # fmt: skip
    if json:
        return report.print_json({"bundle": str(bundle), "text": str(text), **said, **_costs(facts, found.cost)})
    report.print_facts(str(bundle), {
        "bits per byte": f"{found.bits_per_byte:.4f}", "perplexity per token": f"{found.perplexity:.4f}",
        "foretold": f"{found.tokens} tokens ({found.text_bytes} bytes) in {found.windows} windows of {found.window}, "
        f"{found.stride} apart", "read": _read(facts, found.cost), "tokens/s": round(found.cost.tokens_per_s),
    })  # fmt: skip
    return None


def compile_decoder(
    model: ir.Model, device: str, output: Path, weights: Optional[str],  # noqa: UP045
    context: Optional[int], block_sparsity: Optional[float], keep_rules: bool, force: bool, json: bool,  # noqa: UP045
) -> None:  # fmt: skip
    """`compile` of a language model; its own options have not been checked."""
    from edgesparse import report
    from edgesparse.decoder.compile import compile_decoder as compile_it
    from edgesparse.decoder.onnx_model import decoder_of
    from edgesparse.decoder.store import form_of
    from edgesparse.decoder.tokenizer import BYTES, named
    from edgesparse.manifest import read_manifest

    form = form_of("int8" if weights is None else weights)
    decoder, tokenizer = decoder_of(model)
    if context is not None and context > decoder.context:
        report.warn(
            f"the model was made for {decoder.context} positions, not {context}: it falls apart further on; "
            "generate --sliding-window goes on within what it was made for"
        )
    if tokenizer is None and decoder.vocabulary != BYTES:
        report.warn("the model has no tokenizer: the bundle can be run with tokens, but not with texts")
    with report.progress(f"compiling for {device}") as on_progress:
        bundle = compile_it(
            decoder, device, output, weights=form, context=context, tokenizer=tokenizer, force=force,
            block_sparsity=block_sparsity or 0.0, break_even=1.0 if keep_rules else None, on_progress=on_progress,
        )  # fmt: skip
    manifest = read_manifest(bundle)
    facts = manifest.decoder
    assert facts is not None
    tokens = named(facts.tokenizer, facts.vocabulary)
    said = {
        "bundle": str(bundle), "device": manifest.device, "isas": manifest.isas, "weights": facts.weights,
        "weights_bytes": manifest.weights_bytes, "cache_bytes": facts.cache_bytes, "arena_bytes": manifest.arena_bytes,
        "code_bytes": manifest.code_bytes, "context": facts.context, "blocks": facts.blocks, "tokenizer": tokens,
        "vocabulary": facts.vocabulary, "method": facts.method,
        "sparsity": facts.sparsity, "layers_in_blocks": sum(site.layout == "blocks" for site in facts.sites),
        "dropped_rules": sum(site.dropped for site in facts.sites),
    }  # fmt: skip
    if block_sparsity:
        report.warn(
            "--block-sparsity keeps the largest blocks, whatever the model reads: `edgesparse sparsify MODEL.onnx "
            f"--pattern block:4x16 --sparsity {block_sparsity:g} --text FILE` chooses them on a text and loses far less"
        )
    if said["dropped_rules"]:
        report.warn(
            f"{said['dropped_rules']} of {len(facts.sites)} layers compute with all of their inputs, which is faster "
            f"with {facts.weights} than what their rules skip, and gives another text than where they hold: "
            f"edgesparse explain {bundle} says why, --keep-rules skips"
        )
    if json:
        return report.print_json(said)
    mb = report.kilobytes
    blocks = [site for site in facts.sites if site.layout == "blocks"]
    rules = f"{facts.method}, {100 * facts.sparsity:.0f}% left out" if facts.method else "none"
    report.print_facts(str(bundle), {
        "for": f"{manifest.device} ({', '.join(manifest.isas)})",
        "weights": f"{facts.weights}, {mb(manifest.weights_bytes)}",
        **({"blocks of zeros": f"left out in {len(blocks)} of {len(facts.sites)} layers"} if blocks else {}),
        "memory": f"{mb(manifest.arena_bytes)}, of which {mb(facts.cache_bytes)} for keys and values",
        "code": mb(manifest.code_bytes), "context": facts.context, "tokenizer": said["tokenizer"],
        "activation sparsity": rules,
    })  # fmt: skip
    return None
