"""Selection -> weights.packed; and weights rounded to what is stored of them, before anything reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesparse.errors import InputError
from edgesparse.manifest import PackedWeights, Rounding, Winograd
from edgesparse.ops.winograd import transforms
from edgesparse.packed_weights import STORAGES, Floats, Part, encode, rounded, spread_out
from edgesparse.stored import VECTORS, Placement, geometry, weights_bin
from edgesparse.types import Array, Selection, Step, Target
from edgesparse.winograd_layout import GROUP


def check_storage(storage: str, target: Target) -> None:
    """Raises InputError: there is no such storage, or not for this target."""
    if storage not in STORAGES:
        raise InputError(f"there is no storage '{storage}'", hint=f"it is one of {', '.join(STORAGES)}")
    if storage != "f32" and target.kind != "wasm":
        raise InputError(
            f"storage {storage} is for WebAssembly, where weights are downloaded; {target.name} maps them into memory",
            hint="leave it at f32; for arm64 there is --precision f16",
        )  # fmt: skip


def in_storage(selection: Selection, storage: str) -> tuple[Selection, tuple[Rounding, ...]]:
    """``selection`` with the weights that ``storage`` can hold, so that every runtime computes with the same values.

    Biases, indices and other constants stay as they are. In f32 nothing is rounded, but -0 becomes 0.
    """
    steps, errors = [], []
    for step in selection.steps:
        found = _weights(selection, step)
        steps.append(step)
        if found is None:
            continue
        parameter, name, array = found
        source = _source(selection, step)
        before = array if source is None else source
        after = rounded(before, storage)
        if before.tobytes() == after.tobytes():
            continue
        transform = _winograd(selection, step)
        stored = after if transform is None else spread_out(after, transform)
        # by another name, for something else may read the same constant
        new = f"{name}.{storage}"
        constants = {k: v for k, v in step.binding.constants.items() if k != name}
        arguments = {**step.binding.arguments, parameter: new}
        binding = replace(step.binding, arguments=arguments, constants={**constants, new: stored})
        steps[-1] = replace(step, binding=binding)
        errors.append(_rounding(step.call.layer, before, after))
    return replace(selection, steps=tuple(steps)), tuple(errors) if storage != "f32" else ()


def pack(
    selection: Selection, storage: str = "f32", rounding: tuple[Rounding, ...] = ()
) -> tuple[bytes, PackedWeights]:
    """weights.packed of what `in_storage` gave, and what the manifest says of it."""
    weights, placed = weights_bin(selection)
    parts = [_part(selection, p, storage) for p in placed if not p.shared and p.array.size]
    return encode(parts, weights, storage, rounding)


def _part(selection: Selection, placed: Placement, storage: str) -> Part:
    step, flat = selection.steps[placed.step], placed.array.reshape(-1)
    found = _weights(selection, step)
    if found is None or found[0] != placed.parameter:
        return Part(placed.offset, flat)
    source, transform = _source(selection, step), _winograd(selection, step)
    held = flat if source is None else source
    kept = storage if np.isfinite(held).all() else "f32"
    if source is None or transform is None:
        return Part(placed.offset, flat, kept)
    source = rounded(source, kept)
    same = np.array_equal(spread_out(source, transform).view(np.uint8), flat.view(np.uint8))
    return Part(placed.offset, flat, kept, source, transform) if same else Part(placed.offset, flat)


def _weights(selection: Selection, step: Step) -> tuple[str, str, Array] | None:
    """C parameter, name and values of the weights that could have been left out; None without."""
    if not geometry(selection, step.call) and not step.binding.stem.startswith("winograd"):
        return None
    pool = {**selection.graph.constants, **step.binding.constants}
    for parameter, name in step.binding.arguments.items():
        if isinstance(name, str) and name in pool and parameter not in VECTORS and pool[name].dtype == np.float32:
            return parameter, name, np.ascontiguousarray(pool[name])
    return None


def _source(selection: Selection, step: Step) -> Floats | None:
    """The weights that Winograd's are made of, flat."""
    if not step.binding.stem.startswith("winograd"):
        return None
    return np.ascontiguousarray(selection.graph.constants[step.call.inputs[1]], np.float32).reshape(-1)


def _winograd(selection: Selection, step: Step) -> Winograd | None:
    if not step.binding.stem.startswith("winograd"):
        return None
    matrix = transforms(step.binding.tiles["M"])[2]
    return Winograd(
        channels=step.call.attrs["channels"], inputs=step.call.attrs["in_channels"],  # type: ignore[arg-type]
        height=step.binding.tiles["MR"], group=GROUP, matrix=tuple(map(tuple, matrix.tolist())),
    )  # fmt: skip


def _rounding(layer: str, before: Array, after: Array) -> Rounding:
    error = np.abs(after.astype(np.float64) - before)
    largest = float(np.abs(before).max(initial=0)) or 1.0
    return Rounding(
        layer=layer, max=float(error.max(initial=0)) / largest, rms=float(np.sqrt(np.mean(error**2))) / largest
    )
