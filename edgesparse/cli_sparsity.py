"""The commands of `edgesparse` that choose, judge and show sparsity; `cli.py` adds them to its own."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from edgesparse.options import Force, Json, Model, Out, Shapes, check_file, load_model

commands = typer.Typer()

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.


@commands.command(epilog="Example: edgesparse sparsify model.onnx --pattern block:4x1 --sparsity 0.7 -o sparse.onnx")
def sparsify(
    model: Model,
    output: Out,
    pattern: Annotated[str, typer.Option(help="unstructured, or block:RxC: R output by C input channels")],
    sparsity: Annotated[float, typer.Option(help="the share of weights to set to zero, from 0 to less than 1")],
    method: Annotated[str, typer.Option(help="how weights are ranked")] = "magnitude",
    allocation: Annotated[str, typer.Option(help="per-layer, or global")] = "per-layer",
    keep: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME", help="leave this layer dense; may be repeated"),
    ] = None,
    include: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME", help="prune this layer, too: the first convolution or the classifier"),
    ] = None,
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Set the smallest weights to zero in a pattern. The result is a valid ONNX file for any runtime."""
    check_file(output, force)
    from edgesparse import tables
    from edgesparse.importer import save
    from edgesparse.inspect import weighted_layers
    from edgesparse.sparsify import sparsify as prune

    loaded = load_model(model, shape)
    report = prune(
        loaded, pattern=pattern, sparsity=sparsity, method=method, allocation=allocation,
        keep=tuple(keep or ()), include=tuple(include or ()),
    )  # fmt: skip
    save(loaded, output)
    tables.sparsified(output, report, weighted_layers(loaded), json)
