"""The networks of the demo page: compiled for browsers, with inputs and what onnxruntime answers to them.

Each network becomes a folder in the user's cache, under a key made of all that decides what is in it, so that what was
built once is there the next time. Files of a network:

    network.json            a `Network`: names, sizes, inputs, labels; the page reads it
    input-NAME.bin          stored inputs, little-endian, sample after sample
    VARIANT/                the bundle without its sources: manifest.json, modules, weights
    VARIANT/expected-i.bin  what onnxruntime answers to the stored inputs, for output i
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import edgesparse as es
from edgesparse.compare import run_onnxruntime
from edgesparse.compile import Progress
from edgesparse.demo_network import mobilenet_shape
from edgesparse.devices import load_device
from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, read_manifest
from edgesparse.places import cache_dir
from edgesparse.runtimes.arrays import Sample
from edgesparse.samples import random_inputs
from edgesparse.tuned import tuned_path
from edgesparse.types import Array
from edgesparse.workspace import workspace

if TYPE_CHECKING:
    import onnx_ir as ir

DEVICE, PATTERN = "browser", "block:4x1"
DIGITS, DIGITS_SPARSITY = "digits", 0.75
RACE_SPARSITIES, RACE_PATTERNS = (0.5, 0.7, 0.9), (PATTERN, "unstructured")
WIDTHS: Mapping[str, float] = {"small": 0.25, "full": 1.0}
OWN = "own"
NETWORK = "network.json"
KEPT_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Variant:
    """A network at one sparsity; ``pattern`` is "" for the dense one."""

    sparsity: float
    pattern: str

    @property
    def id(self) -> str:
        return f"{self.pattern.replace(':', '-')}-{self.sparsity * 100:.12g}" if self.sparsity else "dense"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is built. ``model`` makes the one of a variant, ``key`` names all that it depends on.

    ``inputs`` are stored samples, stacked on axis 0 for each input; None: one sample of random numbers. ``labels``
    name the classes. ``truth`` are the labels of the samples in ``test``, over which the accuracy is counted.
    """

    id: str
    title: str
    about: str
    key: str
    variants: tuple[Variant, ...]
    model: Callable[[Variant], ir.Model]
    inputs: Array | None = None
    labels: tuple[str, ...] = ()
    test: tuple[Array, Array] | None = None


def digits() -> Recipe:
    """The classifier of examples/, dense and pruned as the quickstart does it; ten test images are stored, 0 to 9."""
    with as_file(files("edgesparse") / "examples") as folder:
        if not (folder / "digits.onnx").is_file():
            raise InputError("the example is not there", where=str(folder), hint="python examples/train_digits.py")
        content = (folder / "digits.onnx").read_bytes() + (folder / "digits_test.npz").read_bytes()
        with np.load(folder / "digits_test.npz", allow_pickle=False) as data:
            images, labels = data["image"], data["labels"]

        def model(variant: Variant) -> ir.Model:
            with as_file(files("edgesparse") / "examples" / "digits.onnx") as path:
                return _pruned(es.load(path), variant)

    first = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    return Recipe(
        DIGITS, "Handwritten digits", "Depthwise and pointwise convolutions, trained on images of 8 × 8",
        _sha(content), (Variant(0.0, ""), Variant(DIGITS_SPARSITY, PATTERN)), model,
        images[first], tuple(map(str, range(10))), (images, labels),
    )  # fmt: skip


def race(size: str) -> Recipe:
    """MobileNetV1's shape at width `WIDTHS` [size], dense and in every sparsity and pattern that is raced."""
    width = WIDTHS[size]
    return Recipe(
        f"race-{size}", f"MobileNetV1's shape, width {width:g}", "224 × 224 images, 1000 classes, random weights",
        f"mobilenet_shape {width}", (Variant(0.0, ""), *_each(RACE_SPARSITIES, RACE_PATTERNS)),
        lambda variant: mobilenet_shape(width, variant.pattern, variant.sparsity),
    )  # fmt: skip


def own(
    name: str, load: Callable[[], ir.Model], key: str, sparsities: Sequence[float], patterns: Sequence[str],
    labels: Sequence[str] = (),
) -> Recipe:  # fmt: skip
    """The user's model, which ``load`` reads anew for each variant; ``key`` stands for its content."""
    variants = tuple(dict.fromkeys(v if v.sparsity else Variant(0.0, "") for v in _each(sparsities, patterns)))
    return Recipe(
        OWN, name, "The model that was given, pruned in one shot by magnitude, not trained again",
        f"{key} {name}", variants, lambda variant: _pruned(load(), variant), labels=tuple(labels),
    )  # fmt: skip


def build(recipe: Recipe, on_progress: Progress | None = None) -> Path:
    """The folder of the network: from the cache, or built there. ``on_progress(done, total, what)`` counts variants.

    Raises:
        InputError, UnsupportedError: as `compile_model` and `sparsify`; the cache cannot be written.
    """
    place = cache_dir() / "demo"
    folder = place / _key(recipe)
    if not folder.is_dir():
        try:
            place.mkdir(parents=True, exist_ok=True)
            with workspace(place) as scratch:
                fresh = scratch / "network"
                fresh.mkdir()
                _build(recipe, scratch, fresh, on_progress)
                if not folder.is_dir():  # another process was faster
                    fresh.rename(folder)
            _forget_old(place, recipe.id)
        except OSError as error:
            raise InputError(
                f"the cache cannot be written: {(error.strerror or str(error)).lower()}", where=str(place),
                hint="free some space, or set $EDGESPARSE_CACHE to another folder",
            ) from error  # fmt: skip
    with suppress(OSError):  # not ours to write to: then not ours to tidy up, either
        os.utime(folder)
    return folder


def _forget_old(place: Path, name: str) -> None:
    """Remove what other versions built of this network, where nobody used it for `KEPT_S`."""
    for folder in place.glob(f"{name}-*"):
        if time.time() - folder.stat().st_mtime > KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)


def _build(recipe: Recipe, scratch: Path, out: Path, on_progress: Progress | None) -> None:
    made = []
    gzipped = 0
    for number, variant in enumerate(recipe.variants):

        def inner(done: int, total: int, what: str, number: int = number, variant: Variant = variant) -> None:
            if on_progress:
                on_progress(number, len(recipe.variants), f"{recipe.title}, {variant.id}: {what}")

        inner(0, 0, "reading")
        model = recipe.model(variant)
        onnx_file, bundle = scratch / "model.onnx", scratch / f"{recipe.id}.edge"
        es.save(model, onnx_file)
        es.compile(model, DEVICE, bundle, name=f"{recipe.id}-{variant.id}", force=True, on_progress=inner)
        inner(0, 0, "onnxruntime answers")
        manifest = read_manifest(bundle)
        samples = _samples(recipe, manifest)
        if number == 0:
            gzipped = _gzip_bytes(recipe.model(Variant(0.0, "")))
            inputs = _store(out, "input", [p.name for p in manifest.inputs], samples)
        folder = out / variant.id
        shutil.copytree(bundle, folder, ignore=lambda _, names: [n for n in names if not _served(n)])
        answers = run_onnxruntime(onnx_file, manifest, samples)
        expected = _store(folder, "expected", [p.name for p in manifest.outputs], answers)
        made.append(
            {
                "id": variant.id, "sparsity": variant.sparsity, "pattern": variant.pattern, "expected": expected,
                "accuracy": _accuracy(recipe, onnx_file, manifest),
                "sizes": {f.name: f.stat().st_size for f in sorted(folder.iterdir()) if f.name not in expected},
            }
        )  # fmt: skip
    document = {
        "id": recipe.id, "title": recipe.title, "about": recipe.about, "labels": recipe.labels, "inputs": inputs,
        "samples": len(samples), "dense_gzip_bytes": gzipped, "variants": made,
        "test_images": 0 if recipe.test is None else len(recipe.test[1]),
    }  # fmt: skip
    (out / NETWORK).write_text(json.dumps(document, indent=1))


def _served(name: str) -> bool:
    """Of the files in a bundle, what the page fetches."""
    return name == "manifest.json" or name.endswith(".wasm") or name.startswith("weights.")


def _samples(recipe: Recipe, manifest: Manifest) -> list[Sample]:
    if recipe.inputs is None:
        given = random_inputs(manifest)
        return [tuple(given[port.name] for port in manifest.inputs)]
    return [(image.reshape(manifest.inputs[0].shape),) for image in recipe.inputs]


def _store(folder: Path, stem: str, names: Sequence[str], samples: Sequence[Sample]) -> list[str]:
    """The names of the files, one for each of ``names``."""
    stored = []
    for i, _ in enumerate(names):
        stored.append(f"{stem}-{i}.bin")
        (folder / stored[-1]).write_bytes(b"".join(np.ascontiguousarray(s[i]).tobytes() for s in samples))
    return stored


def _accuracy(recipe: Recipe, model: Path, manifest: Manifest) -> float | None:
    """The share of the test images that onnxruntime answers rightly with this very network."""
    if recipe.test is None:
        return None
    images, labels = recipe.test
    answers = run_onnxruntime(model, manifest, [(x.reshape(manifest.inputs[0].shape),) for x in images])
    return float(np.mean([int(y[0].argmax()) == label for y, label in zip(answers, labels.tolist(), strict=True)]))


def _gzip_bytes(model: ir.Model) -> int:
    """What `gzip -9` makes of the weights as the dense model has them: what a download would be without us."""
    values = [v.const_value for v in model.graph.initializers.values()]
    return len(gzip.compress(b"".join(v.tobytes() for v in values if v is not None), 9, mtime=0))


def _pruned(model: ir.Model, variant: Variant) -> ir.Model:
    if variant.sparsity:
        try:
            es.sparsify(model, pattern=variant.pattern, sparsity=variant.sparsity)
        except es.InputError as error:
            raise es.InputError(error.what, where=error.where, hint="--sparsity 0 shows it as it is") from error
    return model


def _each(sparsities: Sequence[float], patterns: Sequence[str]) -> list[Variant]:
    return [Variant(s, p) for p in patterns for s in sparsities]


def _key(recipe: Recipe) -> str:
    target = load_device(DEVICE).target
    measured = tuned_path(target)  # decides which kernels are chosen
    known = measured.read_bytes() if measured.is_file() else b""
    parts = [recipe.id, recipe.title, recipe.key, repr(recipe.variants), repr(recipe.labels), _package(), _sha(known)]
    return f"{recipe.id}-{_sha(json.dumps(parts).encode())}"


@cache
def _package() -> str:
    """SHA-256 of all sources of edgesparse: another version, or one that is being worked on, builds anew."""
    root = Path(__file__).parent
    paths = [p for p in sorted(_tree(root)) if p.suffix in (".py", ".c", ".h", ".toml", ".mjs")]
    return _sha(b"".join(p.read_bytes() for p in paths))


def _tree(folder: Path) -> list[Path]:
    """All files, also behind the links of an editable install, which rglob does not follow."""
    found = []
    for path in folder.iterdir():
        if path.is_dir():
            found += [] if path.name in ("__pycache__", "pages") else _tree(path)
        else:
            found.append(path)
    return found


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
