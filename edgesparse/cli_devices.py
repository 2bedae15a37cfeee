"""The commands of `edgesparse` about devices and the time that a model takes on them; `cli.py` adds them to its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgesparse.errors import InputError
from edgesparse.options import Cores, Json, Left, OneSample, Runtime, Shapes, Threads, left, load_model

commands = typer.Typer()

# Optional[...] below and not "... | None": typer evaluates it on Python 3.10, too.


@commands.command(epilog="Example: edgesparse devices --attached")
def devices(
    attached: Annotated[
        bool, typer.Option("--attached", help="the phones that adb lists, or a board: what each says of itself")
    ] = False,
    runtime: Annotated[
        str, typer.Option(help="with --attached: adb, adb:SERIAL, or ssh:USER@HOST[:PORT]", show_default=False)
    ] = "",
    json: Json = False,
) -> None:
    """List the devices a model can be compiled for, or with --attached those that are at hand."""
    from edgesparse import report

    if attached:
        from edgesparse import tables_attached
        from edgesparse.attached import attached_devices

        with report.progress("devices") as on_progress:
            found = attached_devices(runtime or "adb", on_progress)
        return tables_attached.attached(found, json)
    if runtime:
        raise InputError("--runtime says where to look with --attached", hint=f"add --attached --runtime {runtime}")
    from edgesparse.devices import known_devices, load_device

    known = [load_device(name) for name in known_devices()]
    if json:
        return report.print_json([d.model_dump(mode="json") for d in known])
    rows = []
    for d in known:
        cores = ", ".join(f"{c.count}x {c.core}" + (f" {c.max_ghz:g} GHz" if c.max_ghz else "") for c in d.cluster)
        best = d.cluster[0]
        caches = "/".join(str(k or "-") for k in (best.l1d_kb, best.l2_kb, best.l3_kb))
        rows.append((d.name, d.title, d.kind, " ".join(d.usable_isas), cores, caches, d.memory.bandwidth_gbs))
    columns = ("device", "what it is", "kind", "kernels", "cores", "L1d/L2/L3 kB", "GB/s peak")
    report.print_table("", columns, rows)
    print("Published figures and estimates; --json says which are which. Nothing here was measured on the device.")
    return None


@commands.command(
    epilog="Example: edgesparse bench model.edge --num-runs 50 --warmup-runs 5 --json, or: edgesparse bench model.onnx "
    "--device auto --runtime adb --pattern block:4x1 --sparsity 0.7"
)
def bench(
    model: Annotated[
        Path, typer.Argument(help="a bundle, or an ONNX file to compile first", metavar="NAME.edge|MODEL.onnx")
    ],
    input: OneSample = None,
    num_runs: Annotated[int, typer.Option(min=1)] = 50,
    warmup_runs: Annotated[int, typer.Option(min=0)] = 5,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    cores: Cores = None,
    keep: Left = False,
    device: Annotated[
        str,
        typer.Option(
            help="for an ONNX file: what to compile for; auto: what adb or ssh reaches, a browser, or this machine"
        ),
    ] = "auto",
    pattern: Annotated[
        str, typer.Option(help="for an ONNX file: time it sparse in this pattern, too, in turns with dense")
    ] = "",
    sparsity: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="the share of weights to set to zero, from 0 to less than 1"),
    ] = None,
    shape: Shapes = None,
    json: Json = False,
) -> None:
    """Time a bundle on one sample; or a model, compiled for the device that is there, dense beside sparse."""
    from edgesparse import report, runtimes, tables
    from edgesparse.samples import random_inputs, read_inputs

    if model.is_file() or (model.suffix == ".onnx" and not model.exists()):
        from edgesparse import tables_bench
        from edgesparse.attached import AUTO, auto_device
        from edgesparse.bench_model import bench_model
        from edgesparse.devices import load_device

        known = None if device == AUTO else load_device(device)
        loaded = load_model(model, shape)
        target = known or auto_device(runtime)
        if known is None:
            report.note(f"--device auto: {target.name}, {target.title}")
        with report.progress("bench") as on_progress:
            found = bench_model(
                loaded, target, runtime, pattern=pattern, sparsity=sparsity, input=input, num_runs=num_runs,
                warmup_runs=warmup_runs, threads=threads, cores=cores, keep=keep, on_progress=on_progress,
            )  # fmt: skip
        return tables_bench.model_bench(model, found, warmup_runs, json)
    given = {"--device": device != "auto", "--pattern": pattern, "--sparsity": sparsity is not None, "--shape": shape}
    if useless := [option for option, is_given in given.items() if is_given]:
        raise InputError(
            f"{useless[0]} is for an ONNX file, a bundle is compiled already", where=str(model),
            hint="give MODEL.onnx, or leave the option out",
        )  # fmt: skip
    with (
        report.progress("bench") as on_progress,
        runtimes.open(model, runtime, threads=threads, on_push=on_progress, **left(keep)) as session,
    ):
        if cores is not None:
            session.use_cores(cores)
        manifest = session.manifest
        inputs = random_inputs(manifest) if input is None else read_inputs(input, [p.name for p in manifest.inputs])
        result = session.bench(inputs, num_runs=num_runs, warmup_runs=warmup_runs, on_progress=on_progress)
    return tables.timing(model, manifest, result, warmup_runs, json)
