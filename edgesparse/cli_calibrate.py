"""`edgesparse calibrate-activations`; `cli.py` adds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgesparse.errors import InputError
from edgesparse.options import Force, Json, Model, Out, check_file

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.

commands = typer.Typer()


@commands.command(
    "calibrate-activations",
    epilog="Example: edgesparse calibrate-activations lm.onnx --method wina --sparsity 0.5 --text corpus.txt "
    "-o sparse.onnx",
)
def calibrate_activations(
    model: Model,
    output: Out,
    text: Annotated[Path, typer.Option(metavar="FILE", help="to make thresholds on; a quarter of it judges them")],
    sparsity: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="from 0 to less than 1: teal, wina, rsparse, topk: of the weights of all linear layers; cats, chess, "
            "relu: of the neurons. Needed, but by relu: without it what is zero is skipped, exactly"
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="teal, wina, rsparse, topk, cats, chess, relu, or random, to compare with")
    ] = "wina",
    allocation: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="uniform, block: by the error of each block, network: by the loss, the best, and the slowest; "
            "for teal, wina and rsparse. Default: block"
        ),
    ] = None,
    dense_positions: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="so many tokens at the beginning of a sequence stay dense. Default: 4"),
    ] = None,
    window: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="tokens; the text is cut into such. Default: 256, or the context where that is shorter"),
    ] = None,
    windows: Annotated[int, typer.Option(help="to calibrate on, at most; and as many to judge on")] = 64,
    report_neurons: Annotated[
        bool, typer.Option("--report", help="PPL-1% sparsity, and how few neurons do the work of each layer")
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Choose what a language model skips for each token, without training. The result still runs densely elsewhere."""
    check_file(output, force)
    from edgesparse import report
    from edgesparse.decoder.calibrate import calibrate
    from edgesparse.decoder.files import save_decoder
    from edgesparse.decoder.metadata import attach_rules, drop_rules
    from edgesparse.decoder.recognise import linears_of, recognise
    from edgesparse.decoder.sites import check_sparsity
    from edgesparse.decoder.tables import calibrated
    from edgesparse.decoder.texts import read_text, text_tokens
    from edgesparse.decoder.tokenizer import tokenizer_of
    from edgesparse.options import load_model

    if sparsity is None and method != "relu":
        raise InputError("how much is to be skipped?", where="--sparsity", hint="--sparsity 0.5 skips half")
    share = sparsity or 0.0
    check_sparsity(share)
    content = read_text(text)
    loaded = load_model(model, None)
    drop_rules(loaded)
    decoder = recognise(loaded)
    tokens = text_tokens(tokenizer_of(loaded, decoder.vocabulary), content, model)
    with report.progress("calibrate-activations") as on_progress:
        found = calibrate(
            decoder, tokens, method, share, allocation=allocation,  # type: ignore[arg-type]  # it is checked there
            window=window, most_windows=windows, dense_positions=dense_positions, report=report_neurons,
            on_progress=on_progress,
        )  # fmt: skip
    attach_rules(loaded, found.decoder, linears_of(loaded))
    save_decoder(loaded, output)
    calibrated(output, found, len(content), len(tokens), json)
