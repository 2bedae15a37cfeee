"""A bundle, or what an ONNX file would be compiled to: its layers and weights, without building a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.errors import InputError
from edgesparse.manifest import Layer, read_manifest
from edgesparse.manifest_decoder import refuse_layers
from edgesparse.types import Shape

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Compiled:
    """``weights`` is the content of weights.bin, ``inputs`` and ``outputs`` are the shapes of the model's by name."""

    name: str
    device: str
    precision: str
    layers: tuple[Layer, ...]
    weights: bytes
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    notes: tuple[str, ...] = ()


def compiled(
    model: str | Path | ir.Model, device: str = "host", precision: str = "f32", name: str | None = None
) -> Compiled:
    """Read a bundle (a folder; ``device`` and ``precision`` are its own), or choose kernels for an ONNX model.

    ``name``: what to call it; without it the file's name, or the graph's.

    Raises:
        InputError: no such file, no bundle, a bundle of an older version, a device or shape that cannot be used.
        UnsupportedError: the model holds operators that cannot be compiled.
        RuntimeFailure: the weights are missing or damaged.
    """
    if isinstance(model, str | Path) and Path(model).is_dir():
        return _of_bundle(Path(model))
    from edgesparse.bands import in_bands
    from edgesparse.bundle import layers
    from edgesparse.compile import lowered
    from edgesparse.devices import load_device
    from edgesparse.importer import load
    from edgesparse.select import select
    from edgesparse.stored import weights_bin
    from edgesparse.tuned import tuned

    target = load_device(device).target_in(precision)
    name = name or (Path(model).stem if isinstance(model, str | Path) else model.graph.name or "model")
    graph, notes = lowered(load(model) if isinstance(model, str | Path) else model, target)
    selection = in_bands(select(graph, target, tuned(target)), target)
    shapes = {key: graph.tensors[key].shape for key in (*graph.inputs, *graph.outputs)}
    return Compiled(
        name, target.name, precision, layers(selection, target), weights_bin(selection)[0],
        {k: shapes[k] for k in graph.inputs}, {k: shapes[k] for k in graph.outputs}, notes,
    )  # fmt: skip


def _of_bundle(path: Path) -> Compiled:
    from edgesparse.runtimes.files import read_weights

    manifest = read_manifest(path)
    refuse_layers(manifest.decoder, path)
    if manifest.layers and not any(x.writes for x in manifest.layers):
        raise InputError(
            "a bundle of an older version, which does not say where its weights are", where=str(path),
            hint="compile the model again with this version of edgesparse",
        )  # fmt: skip
    return Compiled(
        manifest.name, manifest.device, manifest.precision, manifest.layers,
        read_weights(path, manifest),
        {p.name: p.shape for p in manifest.inputs}, {p.name: p.shape for p in manifest.outputs}, manifest.notes,
    )  # fmt: skip
