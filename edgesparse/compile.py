"""Every stage in order: the map of the project.

    load -> bind shapes -> simplify -> optimise -> lower -> join -> direct -> precision -> pooled
      -> pad -> select -> bands -> storage -> plan -> emit -> build -> bundle

Each stage is one file of the same name; `verify` checks what each of them promises.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgesparse.bands import in_bands
from edgesparse.build import build
from edgesparse.bundle import check_target_path, write
from edgesparse.devices import Device, load_device
from edgesparse.direct import read_directly
from edgesparse.emit import emit
from edgesparse.errors import InputError
from edgesparse.importer import bind_default_shapes
from edgesparse.join import join_concats
from edgesparse.lower import lower
from edgesparse.manifest import Rounding
from edgesparse.pad import pad_planes
from edgesparse.passes.pipeline import optimise, simplify
from edgesparse.plan import plan
from edgesparse.pooled import pool_planes
from edgesparse.precision import in_precision
from edgesparse.select import select
from edgesparse.storage import check_storage, in_storage, pack
from edgesparse.tuned import tuned, tuning_notes
from edgesparse.types import LoweredGraph, Target
from edgesparse.verify import check_graph, check_model, check_plan
from edgesparse.version import __version__

if TYPE_CHECKING:
    import onnx_ir as ir

Progress = Callable[[int, int, str], None]
ADDRESS_SPACE_BYTES = {"wasm": 2**31, "executable": 2**40, "shared": 2**40}


def compile_model(
    model: ir.Model, device: str | Device = "host", out: str | Path = "model.edge", *,
    name: str | None = None, force: bool = False, precision: str = "f32", storage: str = "f32",
    on_progress: Progress | None = None,
) -> Path:  # fmt: skip
    """Compile ``model`` for ``device`` into the bundle folder ``out``; returns its path.

    ``model`` itself is not changed. Symbolic batch dimensions become 1, with a note in the
    manifest. ``precision="f16"`` (arm64 devices) stores weights and activations as halves, within the model: its
    inputs and outputs stay f32. ``storage`` (browsers) is how weights are downloaded: rounded to halves with
    ``"f16"``, to bytes with ``"int8"``; what computes with them is f32 all the same. ``on_progress(done, total, what)``
    reports the compilation of kernels.

    Raises:
        InputError: a shape, device or path that cannot be used (exit code 2).
        UnsupportedError: all nodes that cannot be compiled (exit code 3).
    """
    out = Path(out)
    target = load_device(device).target_in(precision)
    check_storage(storage, target)
    check_target_path(out, force=force)

    graph, notes = lowered(model, target)
    selection = in_bands(select(graph, target, tuned(target)), target)
    notes += tuning_notes(selection)
    rounding: tuple[Rounding, ...] = ()
    if target.kind == "wasm":
        selection, rounding = in_storage(selection, storage)
    memory = check_plan(plan(selection), selection)
    _check_address_space(memory.arena_bytes, target)
    sources = emit(selection, memory, name or out.stem)
    artifact = build(sources, selection, target, on_progress=on_progress)
    packed = pack(selection, storage, rounding) if target.kind == "wasm" and sources.weights else None
    return write(
        artifact, sources, selection, memory, target, out,
        name=name or out.stem, version=__version__, notes=notes, force=force, packed=packed,
    )  # fmt: skip


def lowered(model: ir.Model, target: Target) -> tuple[LoweredGraph, tuple[str, ...]]:
    """The stages that know ONNX, on a copy of ``model``; and what the user should know of them.

    Raises:
        InputError, UnsupportedError: as `compile_model`.
    """
    model = check_model(model).clone()
    notes = tuple(bind_default_shapes(model))
    simplify(model)
    optimise(model)
    graph, more = in_precision(read_directly(join_concats(lower(model, target))), target)
    return check_graph(pad_planes(pool_planes(graph, target), target)), (*notes, *more)


def _check_address_space(arena_bytes: int, target: Target) -> None:
    largest = ADDRESS_SPACE_BYTES[target.kind]
    if arena_bytes > largest:
        raise InputError(
            f"the model needs an arena of {arena_bytes} bytes; {target.name} has room for {largest}",
            hint="give smaller shapes: --shape NAME=1,3,224,224",
        )  # fmt: skip
