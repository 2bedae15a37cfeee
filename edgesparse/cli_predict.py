"""The commands of `edgesparse` that estimate, and that measure what estimates go by; `cli.py` adds them."""

from __future__ import annotations

from typing import Annotated

import typer

from edgesparse.options import Device, Json, Model, Precision, Runtime, Shapes, load_model

commands = typer.Typer()


@commands.command(epilog="Example: edgesparse predict model.onnx --device pixel-8")
def predict(
    model: Model, device: Device = "host", precision: Precision = "f32", shape: Shapes = None, json: Json = False
) -> None:  # fmt: skip
    """Estimate what each layer takes on a device that need not be here: cost model and roofline."""
    from edgesparse import tables_predict
    from edgesparse.predict import predict as estimate

    tables_predict.prediction(str(model), estimate(load_model(model, shape), device, precision), json)


@commands.command(epilog="Example: edgesparse calibrate --device auto --runtime adb")
def calibrate(
    device: Annotated[str, typer.Option(help="a name that `edgesparse devices` lists, a .toml file, or auto")] = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    num_runs: Annotated[int, typer.Option(min=1, help="of each kernel")] = 30,
    json: Json = False,
) -> None:
    """Measure a device: peak, bandwidths, every kernel. What is compiled for it then goes by that. Takes a minute."""
    from edgesparse import report, tables_predict
    from edgesparse.attached import AUTO, auto_device
    from edgesparse.calibrate import calibrate as measure
    from edgesparse.devices import load_device

    described = auto_device(runtime) if device == AUTO else load_device(device)
    if device == AUTO:
        report.note(f"{described.name}: {described.title}")
    with report.progress(f"calibrate {described.name}") as on_progress:
        found = measure(described, runtime, precision=precision, num_runs=num_runs, on_progress=on_progress)
    tables_predict.calibration(found, json)
