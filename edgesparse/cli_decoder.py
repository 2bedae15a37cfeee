"""The command of `edgesparse` that imports language models; `cli.py` adds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgesparse.options import Force, Json, Out, check_file

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.

commands = typer.Typer()


@commands.command("import-llm", epilog="Example: edgesparse import-llm stories15M.bin -o lm.onnx")
def import_llm(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="a llama2.c .bin, or a folder: config.json and .safetensors")
    ],
    output: Out,
    tokenizer: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="tokenizer.json, tokenizer.model or llama2.c's .bin; default: what lies there"
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Import a language model: its network as ONNX with a cache of keys and values, its tokenizer within the file."""
    check_file(output, force)
    from edgesparse import report
    from edgesparse.decoder.checkpoint import load_checkpoint
    from edgesparse.decoder.files import save_decoder
    from edgesparse.decoder.to_onnx import to_onnx
    from edgesparse.decoder.tokenizer import load_tokenizer, read_tokenizer, set_tokenizer

    decoder = load_checkpoint(checkpoint)
    if tokenizer is None:
        found = load_tokenizer(checkpoint, decoder.vocabulary)
    else:
        found = read_tokenizer(tokenizer, decoder.vocabulary)
    model = to_onnx(decoder)
    set_tokenizer(model, found)
    files = save_decoder(model, output)
    weights = [decoder.embedding, *(layer.weight for block in decoder.blocks for _, layer in block.linears())]
    size = sum(file.stat().st_size for file in files)
    parameters = sum(w.size for w in weights) + (0 if decoder.head is None else decoder.head.size)
    facts = {
        "file": str(output), "bytes": size, "parameters": parameters, "blocks": len(decoder.blocks),
        "vocabulary": decoder.vocabulary, "context": decoder.context, "tokenizer": found.file_name or "bytes",
    }  # fmt: skip
    if json:
        return report.print_json(facts)
    print(
        f"wrote {output} ({report.kilobytes(size)}): {parameters:,} parameters in {len(decoder.blocks)} blocks, "
        f"{decoder.vocabulary} tokens ({facts['tokenizer']}), context {decoder.context}"
    )
    return None
