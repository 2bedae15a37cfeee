"""A bundle beside onnxruntime on the ONNX file it should agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesparse.errors import InputError
from edgesparse.manifest import Manifest
from edgesparse.runtimes.arrays import Sample, check_inputs
from edgesparse.runtimes.session import Session
from edgesparse.types import Array

TOLERANCE: Mapping[str, float] = {"f32": 1e-4, "f16": 5e-2}
"""By precision: what errors relative to the largest output are allowed, where nobody says otherwise.

Each f16 layer rounds to 11 bits and adds up to 128 products as halves (kernels_arm/spmm_f16.h). Measured: 7e-3 for the
trained keyword spotter; MobileNetV1 with random weights has 5e-3 on an image, and 3e-2 on noise, which cancels out.
"""
FATAL = 4  # onnxruntime's levels of severity have no names in Python


@dataclass(frozen=True, slots=True)
class OutputError:
    """How far one output is off, over all samples.

    ``max_rel`` is, for the worst sample, the largest absolute error divided by the largest
    absolute value onnxruntime gives for that sample. ``agree`` of ``rows`` is how often the largest
    element along the last axis is the same one.
    """

    name: str
    max_abs: float
    max_rel: float
    agree: int
    rows: int


def compare(model: Path, session: Session, inputs: dict[str, Array], each: bool = False) -> list[OutputError]:
    """Run every sample by onnxruntime and by ``session``; one `OutputError` per output.

    Raises:
        InputError: an input does not fit, onnxruntime cannot load or run ``model``, or the two have other outputs.
        RuntimeFailure: the engine of the session failed.
    """
    samples = check_inputs(session.manifest, inputs, each)
    reference = run_onnxruntime(model, session.manifest, samples)
    given = session.run_samples(samples)
    names = [port.name for port in session.manifest.outputs]
    return [
        output_error(name, [sample[i] for sample in reference], [sample[i] for sample in given])
        for i, name in enumerate(names)
    ]


def run_onnxruntime(model: Path, manifest: Manifest, samples: Sequence[Sample]) -> list[Sample]:
    """The outputs of the manifest for each sample, as onnxruntime computes them on one thread.

    Raises:
        InputError: it cannot load or run the model, or the inputs or outputs have other names.
    """
    import onnxruntime as ort

    try:
        there = model.is_file()
    except OSError as error:
        raise InputError((error.strerror or str(error)).lower(), where=str(model)) from error
    if not there:
        raise InputError("no such file", where=str(model))
    options, quiet = ort.SessionOptions(), ort.RunOptions()
    options.intra_op_num_threads = 1
    # its errors are ours to report: it would print them, too
    options.log_severity_level = quiet.log_severity_level = FATAL
    ort.set_default_logger_severity(FATAL)
    try:
        peer = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no other base class
        raise InputError(f"onnxruntime cannot load the model: {first_line(error)}", where=str(model)) from error
    names = [port.name for port in manifest.inputs]
    wanted = [port.name for port in manifest.outputs]
    has = [o.name for o in peer.get_outputs()]
    # a weight listed as graph input is one onnxruntime does not need
    required = [i.name for i in peer.get_inputs()]
    if set(required) != set(names) or not set(wanted) <= set(has):
        raise InputError(
            f"inputs {', '.join(required)} and outputs {', '.join(has)}; the bundle has inputs {', '.join(names)} "
            f"and outputs {', '.join(wanted)}",
            where=str(model), hint="compare with the model the bundle was compiled from",
        )  # fmt: skip
    results: list[Sample] = []
    for sample in samples:
        try:
            results.append(tuple(peer.run(wanted, dict(zip(names, sample, strict=True)), quiet)))
        except Exception as error:
            raise InputError(f"onnxruntime cannot run the model: {first_line(error)}", where=str(model)) from error
    return results


def output_error(name: str, reference: Sequence[Array], given: Sequence[Array]) -> OutputError:
    """Compare sample by sample. NaN agrees with NaN and infinity with itself; otherwise they are infinitely far off.

    Raises:
        InputError: the shapes differ, so the two are not the same model.
    """
    max_abs = max_rel = 0.0
    agree = rows = 0
    for expected, actual in zip(reference, given, strict=True):
        if expected.shape != actual.shape:
            raise InputError(
                f"onnxruntime gives shape {expected.shape}, the bundle {actual.shape}", where=f"output '{name}'"
            )
        if expected.size == 0:
            continue
        a, b = expected.astype(np.float64), actual.astype(np.float64)
        with np.errstate(invalid="ignore"):
            off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        worst = float(np.where(np.isnan(off), np.inf, off).max())
        largest = float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))
        max_abs = max(max_abs, worst)
        max_rel = max(max_rel, worst / largest if largest else worst)
        last = a.shape[-1] if a.ndim else 1
        same = a.reshape(-1, last).argmax(axis=1) == b.reshape(-1, last).argmax(axis=1)
        agree, rows = agree + int(same.sum()), rows + same.size
    return OutputError(name, max_abs, max_rel, agree, rows)


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
