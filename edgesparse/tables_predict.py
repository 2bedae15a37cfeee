"""What `predict` and `calibrate` print: tables, or with ``json`` one document with the same facts and more."""

from __future__ import annotations

import dataclasses

from edgesparse.calibrate import Calibration
from edgesparse.predict import Prediction
from edgesparse.probe import BUSY
from edgesparse.report import note, print_facts, print_json, print_table, short, warn


def prediction(model: str, found: Prediction, json: bool) -> None:
    if json:
        document = dataclasses.asdict(found)
        return print_json({"model": model, "estimated": True, **document, "dense_us": found.dense_us})
    total = sum(x.us for x in found.layers) or 1.0
    rows = [
        (
            short(x.name), x.op, x.kernel, x.pattern, f"{100 * x.zeros:.0f}" if x.pattern else "", x.macs / 1e6 or None,
            round(x.us, 1), round(100 * x.us / total, 1), x.basis,
            None if x.roofline_us is None else round(x.roofline_us, 1), x.bound,
        )
        for x in found.layers
    ]  # fmt: skip
    columns = ("layer", "type", "kernel", "pattern", "zeros %", "MMACs", "us", "%", "by", "roofline us", "bound by")
    print_table(f"{model} on {found.title}: estimated", columns, rows)
    gain = found.dense_us / found.us if found.us else 1.0
    dense = {"without zeros in weights": f"{found.dense_us / 1e3:.3g} ms: they make it {gain:.2f} times as fast"}
    how = "measured by `edgesparse calibrate`" if found.measured else "published or estimated"
    limits = f"{found.gflops:.1f} GFLOP/s" if found.gflops else "unknown speed"
    limits += f", {found.read_gbs:.1f} GB/s" if found.read_gbs else ", unknown bandwidth"
    print_facts(
        "", {
            "whole network, estimated": f"{found.us / 1e3:.3g} ms on one {found.core}, kernels for {found.isa}",
            **(dense if any(x.zeros for x in found.layers) else {}),
            "one core": f"{limits}, {how}",
        },
    )  # fmt: skip
    note(
        "estimated: `edgesparse profile` on the device says what it takes, and corrects this; `edgesparse calibrate` "
        "does so for every kernel"
    )
    return None


def calibration(found: Calibration, json: bool) -> None:
    if json:
        return print_json(dataclasses.asdict(found))
    rows = [
        (
            f"{c.count}x {c.core}", c.cores or "any", c.published_gflops, c.limits.gflops,
            *(c.limits.read_gbs.get(level) for level in ("l1", "l2", "l3", "memory")),
        )
        for c in found.clusters
    ]  # fmt: skip
    columns = ("cores", "chosen", "expected GFLOP/s", "GFLOP/s", "L1 GB/s", "L2 GB/s", "L3 GB/s", "memory GB/s")
    print_table(f"{found.device} through {found.runtime}: one core, measured", columns, rows)
    factors = [
        (k.kernel, k.layers, round(k.factor, 2), round(k.lowest, 2), round(k.highest, 2), "" if k.known else "traffic")
        for k in found.kernels
    ]
    titles = ("kernel", "layers", "times as long", "lowest", "highest", "beside")
    print_table("Kernels: measured time over the predicted one", titles, factors)
    for c in found.clusters:
        if c.limits.disturbed > BUSY:
            warn(
                f"{c.core}: the median of the probes took {c.limits.disturbed:.2f} times as long as the best: "
                "something else was running; stop it, let the device cool down, and calibrate again"
            )
    for text in found.skipped:
        warn(f"not measured: {text}")
    for file in found.files:
        note(f"wrote {file}")
    return None
