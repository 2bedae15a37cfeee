"""The command line: reads options, calls the Python API, prints. Results on stdout, all else on stderr.

Exit codes: 0 ok, 1 a bug, 2 bad usage or input, 3 unsupported operator, 4 device or runtime, 5 a gate failed, and 141
where nobody reads what is printed (``| head``), as of programs that SIGPIPE ends.
Over 300 lines, for it is one short function a command; what commands share is in options.py.
"""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgesparse.cli_calibrate import commands as calibrate_commands
from edgesparse.cli_decoder import commands as decoder_commands
from edgesparse.cli_demo import commands as demo_commands
from edgesparse.cli_devices import commands as device_commands
from edgesparse.cli_ends import as_typed, end_unread, ready_streams
from edgesparse.cli_generate import commands as generate_commands
from edgesparse.cli_generate import compile_decoder
from edgesparse.cli_predict import commands as predict_commands
from edgesparse.cli_profile import commands as profile_commands
from edgesparse.cli_reports import commands as report_commands
from edgesparse.cli_sparsity import commands as sparsity_commands
from edgesparse.errors import EdgeSparseError, GateError, InputError, RuntimeFailure
from edgesparse.options import (
    BlockSparsity,
    Bundle,
    Context,
    Device,
    Each,
    Force,
    Inputs,
    Json,
    KeepRules,
    Left,
    Model,
    Out,
    Precision,
    Runtime,
    Shapes,
    Storage,
    Threads,
    Weights,
    check_file,
    left,
    load_model,
)
from edgesparse.version import __version__
from edgesparse.workspace import check_place

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.

app = typer.Typer(
    name="edgesparse", no_args_is_help=True, add_completion=False,
    rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Compile sparse neural networks to small, fast programs for phones, boards and browsers.",
    epilog="Exit codes: 0 ok, 1 a bug of ours, 2 bad usage or input, 3 unsupported operator, 4 device or runtime, "
    "5 a gate failed, 141 nobody reads the output any more (| head).",
)  # fmt: skip
app.add_typer(device_commands)
app.add_typer(sparsity_commands)
app.add_typer(report_commands)
app.add_typer(profile_commands)
app.add_typer(predict_commands)
app.add_typer(demo_commands)
app.add_typer(generate_commands)
app.add_typer(decoder_commands)
app.add_typer(calibrate_commands)


def main() -> None:
    """The console script: every error the user can act on is printed without a traceback."""
    ready_streams()
    for library in ("onnx_ir", "onnxscript"):  # what they log, we report, or it is no concern of the user
        logging.getLogger(library).addHandler(logging.NullHandler())
    try:
        _run()
    except BrokenPipeError as error:
        end_unread(error)


def _run() -> None:
    try:
        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # of any pipe: typer ends with 1, and says nothing
            raise end.__context__ from None
        sys.stdout.flush()
        raise
    except EdgeSparseError as error:
        _fail(as_typed(str(error)), error.exit_code)
    except OSError as error:
        # what disks and folders refuse is not a bug; any other OSError keeps its traceback
        if error.errno not in _REFUSED:
            raise
        place = f"{error.filename}: " if error.filename else ""
        what = (error.strerror or str(error)).lower()
        _fail(f"{place}{what}\n  hint: {_REFUSED[error.errno]}", 2)


_SPACE, _NAME = "check the permissions and the free space there", "give another name"
_REFUSED = {
    errno.ENOSPC: _SPACE, errno.EROFS: _SPACE, errno.EACCES: _SPACE, errno.EPERM: _SPACE, errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE, errno.EISDIR: _NAME, errno.ENOTDIR: _NAME, errno.ENAMETOOLONG: _NAME, errno.ELOOP: _NAME,
    errno.EIO: "give another file, or look after the disk",
}  # fmt: skip


def _fail(text: str, code: int) -> None:
    sys.stdout.flush()
    from edgesparse.report import harmless

    print(f"error: {harmless(text)}", file=sys.stderr)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgesparse {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: edgesparse doctor")
def doctor(json: Json = False) -> None:
    """Look for what the commands need: what works, what is missing, and how to get it."""
    from edgesparse import report, tables
    from edgesparse.doctor import doctor as look

    with report.progress("doctor") as on_progress:
        found = look(on_progress)
    tables.findings(found, json)
    broken = [x.what for x in found if x.required and x.state != "ok"]
    if broken:
        raise RuntimeFailure(
            f"nothing can be compiled without {', '.join(broken)}", hint="the table says how to get it"
        )


@app.command(epilog="Example: edgesparse inspect model.onnx --shape image=1,3,224,224")
def inspect(model: Model, shape: Shapes = None, json: Json = False) -> None:
    """Show inputs, operators, parameters, MACs, zeros per layer, and what is unsupported."""
    from edgesparse import tables, tables_decoder
    from edgesparse.decoder.onnx_model import decoder_of, is_decoder
    from edgesparse.inspect import inspect as look

    loaded = load_model(model, shape)
    if is_decoder(loaded):
        return tables_decoder.inspection(model, *decoder_of(loaded), json)
    return tables.inspection(model, look(loaded), json)


@app.command(epilog="Example: edgesparse export examples/models.py:mobilenet_v1 -o mobilenet_v1.onnx")
def export(
    factory: Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION", help="makes a torch.nn.Module")],
    output: Out,
    force: Force = False,
    json: Json = False,
) -> None:
    """Export the torch module that a Python function makes. This runs the code in the file."""
    check_file(output, force)
    from edgesparse import report
    from edgesparse.frontend import export_factory
    from edgesparse.importer import save

    report.note(f"exporting {factory} with torch; this takes some seconds")
    save(export_factory(factory), output)
    facts = {"file": str(output), "bytes": output.stat().st_size}
    report.print_json(facts) if json else print(f"wrote {output} ({report.kilobytes(output.stat().st_size)})")


@app.command("compile", epilog="Example: edgesparse compile sparse.onnx --device rpi5 -o model.edge")
def compile_(
    model: Model,
    output: Out,
    device: Device = "host",
    precision: Precision = "f32",
    storage: Storage = "f32",
    weights: Weights = None,
    context: Context = None,
    block_sparsity: BlockSparsity = None,
    keep_rules: KeepRules = False,
    shape: Shapes = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Compile a model into a bundle: a folder with the program, its weights and readable C."""
    from edgesparse import report, tables
    from edgesparse.devices import load_device
    from edgesparse.manifest import read_manifest
    from edgesparse.storage import check_storage

    # what is wrong with the options is said before anything slow is imported or read
    check_storage(storage, load_device(device).target_in(precision))
    check_place(output, force=force)
    loaded = load_model(model, shape)
    from edgesparse.decoder.onnx_model import is_decoder

    if is_decoder(loaded):
        if precision != "f32" or storage != "f32":
            raise InputError(
                "--precision and --storage are not for language models", where=str(model),
                hint="--weights f32|f16|int8|int4 says how theirs are stored",
            )  # fmt: skip
        return compile_decoder(loaded, device, output, weights, context, block_sparsity, keep_rules, force, json)
    if keep_rules or any(option is not None for option in (weights, context, block_sparsity)):
        what = "--weights, --context, --block-sparsity and --keep-rules are for language models, which this is not"
        raise InputError(what, where=str(model), hint="leave them out; --precision and --storage are for this model")
    from edgesparse.compile import compile_model

    with report.progress(f"compiling for {device}") as on_progress:
        made = compile_model(
            loaded, device, output, force=force, precision=precision, storage=storage, on_progress=on_progress
        )
    bundle = Path(made)
    return tables.bundle(bundle, read_manifest(bundle), json)


@app.command(epilog="Example: edgesparse explain model.edge, or: edgesparse explain model.onnx --device pixel-8")
def explain(
    model: Annotated[Path, typer.Argument(help="a bundle, or an ONNX file", metavar="NAME.edge|MODEL.onnx")],
    device: Annotated[str, typer.Option(help="for an ONNX file: what it would be compiled for")] = "host",
    precision: Precision = "f32",
    shape: Shapes = None,
    json: Json = False,
) -> None:
    """Say why each layer got its kernel, what it gains over dense, and what would make it faster."""
    from edgesparse import tables, tables_decoder
    from edgesparse.explain import explain as verdicts
    from edgesparse.manifest import read_manifest

    if model.is_dir():
        manifest = read_manifest(model)
        if manifest.decoder is not None:
            return tables_decoder.explanation(model, manifest.device, manifest.decoder, json)
        return tables.explanation(model, manifest.device, verdicts(manifest.layers), json)
    from edgesparse.bands import in_bands
    from edgesparse.bundle import layers
    from edgesparse.compile import lowered
    from edgesparse.devices import load_device
    from edgesparse.select import select
    from edgesparse.tuned import tuned

    target = load_device(device).target_in(precision)
    graph, _ = lowered(load_model(model, shape), target)
    found = layers(in_bands(select(graph, target, tuned(target)), target), target)
    return tables.explanation(model, device, verdicts(found), json)


@app.command(epilog="Example: edgesparse tune sparse.onnx --device host")
def tune(
    model: Model,
    device: Device = "host",
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    num_runs: Annotated[int, typer.Option(min=1, help="of each kernel")] = 30,
    shape: Shapes = None,
    force: Annotated[bool, typer.Option("--force", help="measure again what is known")] = False,
    json: Json = False,
) -> None:
    """Measure the kernels that each layer could use; `compile` then takes the fastest. Can be interrupted."""
    from edgesparse import report, tables
    from edgesparse.tune import tune as measure

    loaded = load_model(model, shape)
    with report.progress("tune") as on_progress:
        result = measure(
            loaded, device, runtime, precision=precision, num_runs=num_runs, force=force, on_progress=on_progress
        )  # fmt: skip
    tables.tuning(result, json)


@app.command(epilog="Example: edgesparse run model.edge --input x.npz --output y.npz")
def run(
    bundle: Bundle,
    input: Inputs,
    output: Out,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    each: Each = False,
    keep: Left = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run a bundle on inputs from a file and write its outputs to another."""
    from edgesparse import report, runtimes, tables
    from edgesparse.runtimes.generation import refuse
    from edgesparse.samples import read_inputs, write_outputs

    check_file(output, force)
    with (
        report.progress("run") as on_progress,
        runtimes.open(bundle, runtime, threads=threads, on_push=on_progress, **left(keep)) as session,
    ):
        refuse(session.manifest, bundle)
        outputs = session.run(read_inputs(input, [p.name for p in session.manifest.inputs]), each=each)
        machine = session.machine
    write_outputs(output, outputs)
    tables.outputs(output, outputs, machine, json)


@app.command(epilog="Example: edgesparse compare model.onnx model.edge --input x.npz --each")
def compare(
    model: Model,
    bundle: Bundle,
    input: Inputs,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    tolerance: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.0, help="of the error relative to the largest output; default 1e-4, for f16 bundles 5e-2"),
    ] = None,
    each: Each = False,
    json: Json = False,
) -> None:
    """Compare a bundle with onnxruntime on the same inputs. Exits with 5 over the tolerance."""
    from edgesparse import report, runtimes, tables
    from edgesparse.compare import TOLERANCE
    from edgesparse.compare import compare as against
    from edgesparse.runtimes.generation import refuse
    from edgesparse.samples import read_inputs

    with (
        report.progress("compare") as on_progress,
        runtimes.open(bundle, runtime, threads=threads, on_push=on_progress) as session,
    ):
        refuse(session.manifest, bundle)
        inputs = read_inputs(input, [p.name for p in session.manifest.inputs])
        errors = against(model, session, inputs, each=each)
        tolerance = TOLERANCE[session.manifest.precision] if tolerance is None else tolerance
    tables.comparison(errors, tolerance, json)
    over = [e for e in errors if not e.max_rel <= tolerance]
    if over:
        raise GateError(
            f"{len(over)} of {len(errors)} outputs differ by more than {tolerance:g} of the largest output",
            where=str(bundle), hint="--tolerance sets the limit",
        )  # fmt: skip


@app.command(epilog="Example: edgesparse quickstart")
def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder to write to")] = Path("quickstart"),
    force: Force = False,
    json: Json = False,
) -> None:
    """The whole tour on a small trained model: sparsify, compile for three targets, run, compare."""
    from edgesparse import report, tables
    from edgesparse.quickstart import quickstart as tour

    report.note(f"writing to {output}/; the first time, kernels are compiled: up to a minute")
    with report.progress("quickstart") as on_progress:
        result = tour(output, force=force, on_progress=on_progress)
    tables.tour(result, json)
