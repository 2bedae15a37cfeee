"""The commands of `edgesparse` that say how good, how large and how sparse a model is; `cli.py` adds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

from edgesparse.errors import InputError
from edgesparse.options import (
    Calibration,
    Force,
    Json,
    Keep,
    Model,
    Out,
    Precision,
    Runtime,
    Shapes,
    Threads,
    check_file,
    load_model,
)

if TYPE_CHECKING:
    from edgesparse.evaluate import Metric

commands = typer.Typer()

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.

Either = Annotated[Path, typer.Argument(help="a bundle, or an ONNX file", metavar="NAME.edge|MODEL.onnx")]
For = Annotated[str, typer.Option("--device", help="for an ONNX file: what it would be compiled for")]
Data = Annotated[
    Path, typer.Option(help=".npz with one array per input of the model, samples stacked on axis 0, and labels: [n]")
]
DataIfAny = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--data", metavar="FILE.npz", help="one array per input of the model, stacked, and labels: [n]"),
]
TOP1 = "top1"
MetricName = Annotated[
    str, typer.Option(help="top1, agreement, map, or FILE.py:FUNCTION, a function of (outputs, data), arrays by name")
]
OutputName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--output-name", metavar="NAME", help="which output has the scores of classes, if there are several"),
]


@commands.command(epilog="Example: edgesparse evaluate sparse.onnx --data xy.npz --metric top1 --against model.onnx")
def evaluate(
    model: Either,
    data: DataIfAny = None,
    metric: MetricName = TOP1,
    against: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="NAME.edge|MODEL.onnx", help="the model to compare with: the dense one, mostly"),
    ] = None,
    output_name: OutputName = None,
    perplexity: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="TEXT", help="the bundle of a language model: how well it foretells this text"),
    ] = None,
    window: Annotated[int, typer.Option(min=0, help="tokens of a window of the text; 0: the context")] = 0,
    stride: Annotated[int, typer.Option(min=0, help="from one window to the next; 0: they do not overlap")] = 0,
    windows: Annotated[int, typer.Option(min=0, help="the first so many windows; 0: all")] = 0,
    dense: Annotated[bool, typer.Option("--dense", help="leave out nothing: no activation sparsity")] = False,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Run labelled samples and count the right answers; with --against beside another model. Of a language model, with
    --perplexity: bits per byte, and perplexity per token."""
    if perplexity is not None:
        others = {
            "--data": data is not None, "--against": against is not None, "--metric": metric != TOP1,
            "--output-name": output_name is not None,
        }  # fmt: skip
        _refuse(others, "--perplexity asks how well a language model foretells a text")
        from edgesparse.cli_generate import perplexity as foretell

        return foretell(model, perplexity, window, stride, windows, dense, runtime, threads, json)
    if data is None:
        raise InputError(
            "there is nothing to evaluate on", hint="--data FILE.npz; --perplexity TEXT of a language model"
        )
    texts = {"--window": window > 0, "--stride": stride > 0, "--windows": windows > 0, "--dense": dense}
    _refuse(texts, "--data has samples, not a text")
    from edgesparse import report, tables_reports
    from edgesparse.evaluate import evaluate as judge

    with report.progress("evaluate") as on_progress:
        found = judge(
            model, data, _metric(metric), against, output=output_name, runtime=runtime, on_progress=on_progress
        )  # fmt: skip
    return tables_reports.evaluation(data, found, json)


def _refuse(given: dict[str, bool], why: str) -> None:
    """Raises InputError: options that have no meaning beside another one, which is ``why``."""
    if names := ", ".join(name for name, is_given in given.items() if is_given):
        raise InputError(f"{why}: it has no use for {names}", hint=f"leave out {names}")


@commands.command(epilog="Example: edgesparse size model.edge, or: edgesparse size sparse.onnx --device pixel-8")
def size(
    model: Either, device: For = "host", precision: Precision = "f32", shape: Shapes = None, json: Json = False
) -> None:  # fmt: skip
    """Show where the bytes of the weights go: values, indices, padding; beside dense weights and gzip."""
    from edgesparse import report, tables_reports
    from edgesparse.size import size as measure

    source = model if model.is_dir() else load_model(model, shape)
    with report.progress("size") as on_progress:
        found = measure(source, device, precision, on_progress)
    tables_reports.sizes(model, found, json)


@commands.command(
    epilog="Example: edgesparse view model.edge -o view.html, or: edgesparse view model.onnx -o view.html"
)
def view(
    model: Either,
    output: Out,
    device: For = "host",
    precision: Precision = "f32",
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Draw the network as one HTML file: times, zeros, fall-backs, and a picture of every weight. No network needed."""
    check_file(output, force)
    from edgesparse import report
    from edgesparse.compiled import compiled
    from edgesparse.view import view as draw
    from edgesparse.workspace import write_text

    found = compiled(model if model.is_dir() else load_model(model, shape), device, precision, model.stem)
    with report.progress("view") as on_progress:
        page = draw(found, on_progress=on_progress)
    write_text(output, page)
    written = output.stat().st_size
    if json:
        return report.print_json(
            {"file": str(output), "bytes": written, "device": found.device, "layers": len(found.layers)}
        )
    print(f"wrote {output} ({report.kilobytes(written)}); open it in a browser")
    return None


@commands.command(
    epilog="Example: edgesparse sweep model.onnx --data xy.npz --pattern unstructured,block:4x1 -o sweep.svg"
)
def sweep(
    model: Model,
    data: Data,
    pattern: Annotated[str, typer.Option(help="one or several, separated by commas")] = "unstructured",
    method: Annotated[str, typer.Option(help="as for `sparsify`; several are separated by commas")] = "magnitude",
    nm: Annotated[bool, typer.Option("--nm", help="N:M patterns as well: 4:8, 2:8, 1:8, 2:4, 1:4")] = False,
    calibration: Calibration = None,
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="as for `evaluate`; default: top1 with labels, else agreement with the dense model"),
    ] = None,
    rearrange: Annotated[
        bool, typer.Option("--rearrange/--no-rearrange", help="order channels so that blocks keep more: much slower")
    ] = False,
    keep: Keep = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE.svg", help="draw it"),
    ] = None,
    output_name: OutputName = None,
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show how far a model can be pruned in one shot: accuracy over sparsity 0 to 0.9, beside random masks."""
    if output is not None:
        check_file(output, force)
    from edgesparse import report, tables_reports
    from edgesparse.samples import read_arrays
    from edgesparse.sparsity.sweep import NM
    from edgesparse.sparsity.sweep import sweep as look
    from edgesparse.sparsity.sweep_plot import svg
    from edgesparse.workspace import write_text

    judge = None if metric is None else _metric(metric)
    samples = None if calibration is None else read_arrays(calibration)
    patterns = [*_words(pattern), *(NM if nm else ())]
    with report.progress("sweep") as on_progress:
        found = look(
            load_model(model, shape), data, patterns, _words(method), calibration=samples, metric=judge,
            output=output_name, rearrange=rearrange, keep=tuple(keep or ()), on_progress=on_progress,
        )  # fmt: skip
    if output is not None:
        write_text(output, svg(f"{model.name}, {data.name}", found))
    tables_reports.sweep(model, found, output, json)


@commands.command("report-bundle", epilog="Example: edgesparse report-bundle model.onnx --device pixel-8 --runtime adb")
def report_bundle(
    model: Either,
    output: Annotated[Path, typer.Option("--output", "-o", help="where to write")] = Path("edgesparse-report.zip"),
    device: For = "host",
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write one file for a bug report: what works and what does not, hashes, the graph without weights, the device."""
    from edgesparse import report, tables_reports
    from edgesparse.options import parse_shapes
    from edgesparse.report_bundle import report_bundle as collect
    from edgesparse.workspace import write_bytes

    check_file(output, force)
    with report.progress("report") as on_progress:
        found = collect(model, device, runtime, precision, parse_shapes(shape or []), on_progress)
    write_bytes(output, found.archive())
    tables_reports.collected(output, found, json)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _metric(name: str) -> str | Metric:
    """The name of a metric, or the function that ``FILE.py:FUNCTION`` names."""
    from edgesparse.user_code import load_function

    if not (name.endswith(".py") or ".py:" in name):
        return name
    function = load_function(name, "--metric FILE.py:FUNCTION, a function of (outputs, data)")
    function.__name__ = name
    return cast("Metric", function)
