"""The commands of `edgesparse` about devices and the time that a model takes on them; `cli.py` adds them to its own."""

from __future__ import annotations

from typing import Annotated

import typer

from edgesparse.errors import InputError
from edgesparse.options import Bundle, Cores, Json, Left, OneSample, Runtime, Threads, left

commands = typer.Typer()


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


@commands.command(epilog="Example: edgesparse bench model.edge --num-runs 50 --warmup-runs 5 --json")
def bench(
    bundle: Bundle,
    input: OneSample = None,
    num_runs: Annotated[int, typer.Option(min=1)] = 50,
    warmup_runs: Annotated[int, typer.Option(min=0)] = 5,
    runtime: Runtime = "auto",
    threads: Threads = 1,
    cores: Cores = None,
    keep: Left = False,
    json: Json = False,
) -> None:
    """Time a bundle on one sample."""
    from edgesparse import report, runtimes, tables
    from edgesparse.samples import random_inputs, read_inputs

    with (
        runtimes.open(bundle, runtime, threads=threads, **left(keep)) as session,
        report.progress("bench") as on_progress,
    ):
        if cores is not None:
            session.use_cores(cores)
        manifest = session.manifest
        inputs = random_inputs(manifest) if input is None else read_inputs(input, [p.name for p in manifest.inputs])
        result = session.bench(inputs, num_runs=num_runs, warmup_runs=warmup_runs, on_progress=on_progress)
    tables.timing(bundle, manifest, result, warmup_runs, json)
