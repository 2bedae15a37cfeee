"""`sparsify` of a language model: whole blocks of 4 outputs x 16 inputs, chosen on a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

from edgesparse.errors import InputError

if TYPE_CHECKING:
    import onnx_ir as ir

PATTERN = "block:4x16"


def sparsify_decoder(
    loaded: ir.Model, where: Path, output: Path, pattern: str, sparsity: Optional[float],  # noqa: UP045
    method: Optional[str], allocation: str, text: Optional[Path], json: bool,  # noqa: UP045
) -> None:  # fmt: skip
    """Prune ``loaded``, which is a decoder, read from ``where``.

    Raises:
        InputError: another pattern, no sparsity, no tokenizer, weights that are NaN or infinite, or as `prune_blocks`.
    """
    from edgesparse import report, tables_blocks
    from edgesparse.decoder.blocks_network import check, prune_blocks
    from edgesparse.decoder.files import save_decoder
    from edgesparse.decoder.metadata import RULES, drop_rules
    from edgesparse.decoder.recognise import recognise
    from edgesparse.decoder.texts import read_text, text_tokens
    from edgesparse.decoder.to_onnx import to_onnx
    from edgesparse.decoder.tokenizer import set_tokenizer, tokenizer_of

    if pattern.strip().lower() != PATTERN:
        raise InputError(
            f"'{pattern}': of a language model, kernels leave out blocks of 4 outputs x 16 inputs", where="--pattern",
            hint=f"--pattern {PATTERN}",
        )  # fmt: skip
    if sparsity is None:
        raise InputError("which share of the blocks?", where="--sparsity", hint="--sparsity 0.5 zeroes half")
    method = method or "obc"
    check(sparsity, method, allocation)
    if RULES in loaded.metadata_props:
        report.warn("the model's thresholds were made for its dense weights: they are left out")
        drop_rules(loaded)
    decoder = recognise(loaded)
    tokenizer = tokenizer_of(loaded, decoder.vocabulary)
    tokens, size = None, 0
    if text is not None:
        content = read_text(text)
        tokens, size = text_tokens(tokenizer, content, where), len(content)
    with report.progress("sparsify") as on_progress:
        found = prune_blocks(decoder, tokens, sparsity, method, allocation, on_progress=on_progress)
    model = to_onnx(found.decoder)
    if tokenizer is not None:
        set_tokenizer(model, tokenizer)
    save_decoder(model, output)
    tables_blocks.pruned(output, found, 0.0 if tokens is None else len(tokens) / size, json)
