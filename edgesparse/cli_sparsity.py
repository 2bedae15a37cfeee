"""The commands of `edgesparse` that choose, judge and show sparsity; `cli.py` adds them to its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgesparse.cli_blocks import sparsify_decoder
from edgesparse.errors import InputError
from edgesparse.options import (
    Calibration,
    Device,
    Force,
    Include,
    Json,
    Keep,
    Model,
    Out,
    Runtime,
    Shapes,
    check_file,
    load_model,
    parse_milliseconds,
)

commands = typer.Typer()

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.


@commands.command(epilog="Example: edgesparse sparsify model.onnx --pattern block:4x1 --sparsity 0.7 -o sparse.onnx")
def sparsify(
    model: Model,
    output: Out,
    pattern: Annotated[
        str,
        typer.Option(
            help="unstructured; block:RxC: R output by C input channels; slice:RxC: whole kernels of a convolution; "
            "taps:K: K of 9 positions; nm:N:M: N of M input channels. Several, separated by commas, with a target"
        ),
    ] = "",
    sparsity: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="the share of weights to set to zero, from 0 to less than 1"),
    ] = None,
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="magnitude, random, and with --calibration wanda, sparsegpt, obc: the last two move the weights that "
            "stay so that outputs change as little as they can. Default: obc with --calibration, else magnitude. Of a "
            "language model: magnitude, or obc, with --text, the default"
        ),
    ] = None,
    calibration: Calibration = None,
    text: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="to calibrate a language model on, whose only pattern is block:4x16; a quarter judges"
        ),
    ] = None,
    allocation: Annotated[
        str, typer.Option(help="uniform, erk, global, or latency: what a target needs, at the least error")
    ] = "uniform",
    target_latency: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="8ms", help="choose each layer's sparsity so that the network takes so long on --device"),
    ] = None,
    speedup: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="or so that it is so many times as fast as dense"),
    ] = None,
    device: Device = "host",
    rearrange: Annotated[
        bool,
        typer.Option(
            "--rearrange/--no-rearrange", help="order channels so that blocks keep more; the outputs stay as they are"
        ),
    ] = True,
    keep: Keep = None,
    include: Include = None,
    recipe: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE.json", help="pattern and sparsity of each layer, as `edgesparse whatif` writes them"
        ),
    ] = None,
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Choose the weights to set to zero, in a pattern. The result is a valid ONNX file for any runtime."""
    check_file(output, force)
    from edgesparse import report, tables_sparsify
    from edgesparse.decoder.onnx_model import is_decoder
    from edgesparse.devices import load_device
    from edgesparse.importer import save
    from edgesparse.inspect import weighted_layers
    from edgesparse.samples import read_inputs
    from edgesparse.sparsify import sparsify as prune
    from edgesparse.sparsity.recipe import read_recipe
    from edgesparse.sparsity.worth import verdicts

    load_device(device)  # a name that nobody knows is said before anything slow
    target_ms = None if target_latency is None else parse_milliseconds("--target-latency", target_latency)
    layers = None if recipe is None else read_recipe(recipe)
    loaded = load_model(model, shape)
    if is_decoder(loaded):
        if calibration or keep or include or layers or target_ms or speedup:
            raise InputError(
                "of the options of sparsify, language models know --pattern, --sparsity, --method, "
                "--allocation and --text",
                where=str(model), hint="--pattern block:4x16 --sparsity 0.5 --text corpus.txt",
            )  # fmt: skip
        return sparsify_decoder(loaded, model, output, pattern, sparsity, method, allocation, text, json)
    if text is not None:
        raise InputError("is for language models, which this is not", where="--text", hint="--calibration x.npz")
    names = [v.name or "" for v in loaded.graph.inputs if v.name not in loaded.graph.initializers]
    samples = None if calibration is None else read_inputs(calibration, names)
    with report.progress("sparsify") as on_progress:
        done = prune(
            loaded, pattern, sparsity, method, allocation, tuple(keep or ()), tuple(include or ()),
            calibration=samples, rearrange=rearrange, recipe=layers, device=device, target_ms=target_ms,
            speedup=speedup, on_progress=on_progress,
        )  # fmt: skip
    save(loaded, output)
    tables_sparsify.sparsified(output, done, weighted_layers(loaded), json)
    for line in verdicts(loaded, {layer.name: layer.pattern for layer in done.layers}, device):
        report.note(line)
    return None


@commands.command(
    epilog="Example: edgesparse recover sparse.onnx --teacher model.onnx --calibration x.npz -o recovered.onnx"
)
def recover(
    model: Model,
    output: Out,
    teacher: Annotated[
        Path, typer.Option(metavar="MODEL.onnx", help="the dense model that the sparse one was made of")
    ],
    calibration: Annotated[
        Path, typer.Option(metavar="FILE.npz", help="samples: one array per input of the model, stacked on axis 0")
    ],
    epochs: Annotated[int, typer.Option(help="how often all samples are seen")] = 400,
    minutes: Annotated[float, typer.Option(help="of CPU time, at most")] = 10.0,
    batch: Annotated[int, typer.Option(help="samples in one step")] = 64,
    learning_rate: Annotated[float, typer.Option(help="the highest one")] = 3e-3,
    hidden: Annotated[
        float, typer.Option(help="weight of the hidden states beside the outputs; 0: outputs only")
    ] = 1.0,
    temperature: Annotated[float, typer.Option(help="that softens probabilities")] = 2.0,
    augment: Annotated[str, typer.Option(help="auto, none, or some of shift,noise,scale,mix,mask")] = "auto",
    seed: Annotated[int, typer.Option(help="of the order and the augmentation")] = 0,
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Train the weights of a sparse model to do as the dense one does, without labels. Zeros stay; needs torch."""
    check_file(output, force)
    from edgesparse import report, tables_recover
    from edgesparse.importer import save
    from edgesparse.samples import read_inputs
    from edgesparse.sparsity.recover import recover as train

    loaded, dense = load_model(model, shape), load_model(teacher, shape)
    names = [v.name or "" for v in loaded.graph.inputs if v.name not in loaded.graph.initializers]
    samples = read_inputs(calibration, names)
    with report.progress("recover") as on_progress:
        done = train(
            loaded, dense, samples, epochs=epochs, minutes=minutes, batch=batch, learning_rate=learning_rate,
            hidden=hidden, temperature=temperature, augment=augment, seed=seed, on_progress=on_progress,
        )  # fmt: skip
    save(loaded, output)
    tables_recover.recovered(output, done, json)


@commands.command(epilog="Example: edgesparse whatif model.onnx --device pixel-8 --sparsity 0.7 --recipe recipe.json")
def whatif(
    model: Model,
    device: Device = "host",
    patterns: Annotated[
        str, typer.Option(help="which to look at, separated by commas")
    ] = "unstructured,block:2x1,block:4x1",
    sparsity: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="for the recipe: the fastest pattern of each layer at this sparsity"),
    ] = None,
    speedup: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="for the recipe: so many times as fast as dense, at the least loss of magnitude"),
    ] = None,
    recipe: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE.json", help="write patterns and sparsities, for `sparsify --recipe` or a trainer"),
    ] = None,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE.svg|FILE.html", help="draw time over sparsity, where each pattern beats dense"),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="run every kernel on its own; else times are predicted")
    ] = False,
    runtime: Runtime = "auto",
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show from which sparsity on each layer is faster than dense, in which pattern. Can be interrupted."""
    from edgesparse import report, tables_whatif
    from edgesparse.sparsity.curves import html, svg
    from edgesparse.sparsity.recipe import write_recipe
    from edgesparse.sparsity.whatif import plan_for_speedup
    from edgesparse.sparsity.whatif import whatif as look
    from edgesparse.workspace import write_text

    if recipe is not None and (sparsity is None) == (speedup is None):
        raise InputError(
            "a recipe needs --sparsity or --speedup, one of both", where="--recipe",
            hint="--sparsity 0.7, or --speedup 2",
        )  # fmt: skip
    if recipe is None and speedup is not None:
        raise InputError("is for the recipe", where="--speedup", hint="say where to write it: --recipe recipe.json")
    if plot is not None and plot.suffix not in (".svg", ".html"):
        raise InputError("the name must end in .svg or .html", where=f"--plot {plot}", hint="--plot curves.svg")
    for path in (recipe, plot):
        if path is not None:
            check_file(path, force)
    loaded, names = load_model(model, shape), [name.strip() for name in patterns.split(",") if name.strip()]
    plan = chosen = None
    with report.progress("whatif") as on_progress:
        found = look(
            loaded, device, names, sparsity=sparsity, measure=measure, runtime=runtime, on_progress=on_progress
        )  # fmt: skip
        if speedup is not None:
            plan = plan_for_speedup(loaded, device, names, speedup, on_progress=on_progress)
            chosen = plan.recipe
    if recipe is not None and sparsity is not None:
        chosen = found.recipe(sparsity)
    if recipe is not None and chosen is not None:
        write_recipe(recipe, chosen)
    if plot is not None:
        write_text(plot, (html if plot.suffix == ".html" else svg)(found, model.name))
    written = [path for path in (recipe, plot) if path is not None]
    tables_whatif.whatif(model, found, chosen, plan, written, json)
