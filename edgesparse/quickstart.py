"""The tour: a small trained model, sparsified, compiled for three targets, run on real test images."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

import edgesparse as es
from edgesparse.compare import output_error, run_onnxruntime
from edgesparse.compile import Progress
from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import read_manifest
from edgesparse.runtimes.arrays import Sample, check_inputs
from edgesparse.types import Array

TARGETS = (("host", "local"), ("rpi5", "qemu"), ("browser", "auto"))
SPARSITIES = (0.0, 0.5, 0.75)
PATTERN = "block:4x1"
MODEL, IMAGES = "digits.onnx", "digits_test.npz"


@dataclass(frozen=True, slots=True)
class Row:
    """One bundle. What needs the bundle to run is None where its engine is missing.

    ``right`` and ``same`` count images of ``images``: the label is right; the answer is onnxruntime's on the
    same file. ``max_rel_error`` is against onnxruntime, ``latency_us`` the median on this machine (host only).
    """

    device: str
    sparsity: float
    runtime: str | None
    images: int
    right: int | None
    same: int | None
    max_rel_error: float | None
    code_bytes: int
    weights_bytes: int
    arena_bytes: int
    latency_us: float | None
    bundle: str


@dataclass(frozen=True, slots=True)
class Tour:
    """``missing`` is engine -> the command that installs it; ``files`` is everything that was written."""

    folder: str
    rows: tuple[Row, ...]
    missing: dict[str, str]
    files: tuple[str, ...]
    seconds: float


def quickstart(folder: Path, *, force: bool = False, on_progress: Progress | None = None) -> Tour:
    """Sparsify, compile and run the digit classifier of examples/; write all of it to ``folder``.

    ``on_progress(done, total, what)`` counts the bundles.

    Raises:
        InputError: the examples are not installed, ``folder`` cannot be made, or holds what would be written
            and not ``force``; or something of it cannot be written. Then nothing new is left behind.
    """
    started = time.perf_counter()
    models = {s: folder / f"digits-{s * 100:.0f}.onnx" for s in SPARSITIES}
    bundles = {(s, d): folder / f"digits-{s * 100:.0f}-{d}.edge" for d, _ in TARGETS for s in SPARSITIES}
    _check_free([*models.values(), *bundles.values()], force)
    images, labels = _test_images()
    with _nothing_half_done(folder, [*models.values(), *bundles.values()]):
        rows, missing = _tour(models, bundles, images, labels, force, on_progress)
    written = [*models.values(), *(f for b in bundles.values() for f in sorted(b.iterdir()))]
    seconds = time.perf_counter() - started
    return Tour(str(folder), tuple(rows), missing, tuple(map(str, written)), seconds)


@contextmanager
def _nothing_half_done(folder: Path, paths: list[Path]) -> Iterator[None]:
    """Makes ``folder``; when the block fails, what it made of ``paths`` goes, and the folders made for them."""
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    new = [p for p in paths if not os.path.lexists(p)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make this folder: {(error.strerror or str(error)).lower()}", where=str(folder),
            hint="-o FOLDER writes to another",
        ) from error  # fmt: skip
    try:
        yield
    except BaseException:
        for path in new:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for path in made:
            with suppress(OSError):  # somebody else put something there
                path.rmdir()
        raise


def _tour(
    models: dict[float, Path], bundles: dict[tuple[float, str], Path], images: Array, labels: Array, force: bool,
    on_progress: Progress | None,
) -> tuple[list[Row], dict[str, str]]:  # fmt: skip
    for sparsity, path in models.items():
        _sparsify(path, sparsity)
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for device, runtime in TARGETS:
        for sparsity, path in models.items():
            bundle = bundles[sparsity, device]

            def inner(done: int, total: int, what: str, name: str = bundle.name) -> None:
                if on_progress:
                    on_progress(len(rows), len(bundles), f"{name}: {what}")

            inner(0, 0, "reading")
            es.compile(es.load(path), device=device, out=bundle, force=force, on_progress=inner)
            inner(0, 0, f"running {len(labels)} images")
            rows.append(_run(bundle, sparsity, runtime, path, images, labels, missing))
    return rows, missing


def _check_free(paths: list[Path], force: bool) -> None:
    taken = [path for path in paths if path.exists()]
    if taken and not force:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise InputError(
            f"exists already{more}", where=str(taken[0]),
            hint="--force runs the tour again and replaces them; -o FOLDER writes to another folder",
        )  # fmt: skip


def _test_images() -> tuple[Array, Array]:
    """Images (200, 1, 8, 8) and labels (200,)."""
    with as_file(files("edgesparse") / "examples" / IMAGES) as path:
        if not path.is_file():
            raise InputError(
                "the test images are not there", where=str(path), hint="python examples/train_digits.py makes them"
            )
        with np.load(path, allow_pickle=False) as data:
            return data["image"], data["labels"]


def _sparsify(path: Path, sparsity: float) -> None:
    with as_file(files("edgesparse") / "examples" / MODEL) as source:
        model = es.load(source)
    if sparsity:
        es.sparsify(model, pattern=PATTERN, sparsity=sparsity)
    es.save(model, path)


def _run(
    bundle: Path, sparsity: float, runtime: str, model: Path, images: Array, labels: Array, missing: dict[str, str]
) -> Row:
    """The row of one bundle; an engine that is not installed is added to ``missing``."""
    manifest = read_manifest(bundle)
    used, right, same, error, latency_us = None, None, None, None, None
    try:
        session = es.open(bundle, runtime=runtime)
    except RuntimeFailure as failure:
        missing[failure.what] = failure.hint
    else:
        with session:
            samples = check_inputs(manifest, {manifest.inputs[0].name: images}, each=True)
            given = _first(session.run_samples(samples))
            compared = output_error("", _first(run_onnxruntime(model, manifest, samples)), given)
            used, same, error = session.machine["runtime"], compared.agree, compared.max_rel
            right = sum(int(y.argmax()) == label for y, label in zip(given, labels.tolist(), strict=True))
            if runtime == "local":
                _, wall_ns = session.time_sample(samples[0], 200, 20, None)
                latency_us = statistics.median(wall_ns) / 1000
    return Row(
        manifest.device, sparsity, used, len(labels), right, same, error,
        manifest.code_bytes, manifest.weights_bytes, manifest.arena_bytes, latency_us, str(bundle),
    )  # fmt: skip


def _first(outputs: list[Sample]) -> list[Array]:
    return [sample[0] for sample in outputs]
