"""Artifact -> a bundle folder, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.resources import files as resources
from pathlib import Path

from edgesparse.bands import call_numbers
from edgesparse.build import Artifact
from edgesparse.errors import InputError
from edgesparse.held import held
from edgesparse.manifest import Layer, Manifest, PackedWeights, Port
from edgesparse.npm_package import package_json
from edgesparse.select import other_us
from edgesparse.storage import pack
from edgesparse.stored import geometry, stored, traffic
from edgesparse.tuned import predictions_hash
from edgesparse.types import MemoryPlan, Selection, Sources, Target
from edgesparse.workspace import OLD, check_place, workspace

EXECUTABLE = 0o755


def check_target_path(out: Path, *, force: bool) -> None:
    """As `check_place`; only a bundle is replaced by a bundle.

    Raises:
        InputError: as `check_place`, or ``out`` is something else than a bundle.
    """
    check_place(out, force=force)
    if os.path.lexists(out) and not is_bundle(out):
        raise InputError("is not a bundle, so it is not replaced", where=str(out), hint="choose another name")


def write(
    artifact: Artifact, sources: Sources, selection: Selection, memory: MemoryPlan, target: Target,
    out: Path, *, name: str, version: str, notes: tuple[str, ...] = (), force: bool = False,
    packed: tuple[bytes, PackedWeights] | None = None,
) -> Path:  # fmt: skip
    """Write the bundle to a temporary folder beside ``out`` and rename it: whole or not at all.

    ``packed``: for WebAssembly, what `storage.pack` made of the weights.

    Raises:
        InputError: no space, no permission, or ``out`` exists.
    """
    from edgesparse.runtimes.c import HEADERS
    from edgesparse.runtimes.node import LOADER
    from edgesparse.runtimes.web import package_entry

    check_target_path(out, force=force)
    content = dict(artifact.files)
    if target.kind != "wasm":
        content["weights.bin"] = sources.weights
    elif sources.weights:
        packed = packed or pack(selection)
        content[packed[1].file] = packed[0]
    content.update({n: t.encode() for n, t in sources.files.items()})
    package = resources("edgesparse")
    for file in HEADERS:
        content[file] = (package / "runtimes/c" / file).read_bytes()
    if target.kind == "wasm":
        for file in (*LOADER, "model.d.ts"):
            content[file] = (package / "runtimes/web" / file).read_bytes()
        content["index.mjs"] = package_entry(content).encode()
        content["package.json"] = package_json(name, version, content).encode()
    manifest = describe(artifact, sources, selection, memory, target, content, name, version, notes)
    manifest.weights = packed[1] if packed else None
    return write_files(content, manifest, out, force)


def write_files(content: Mapping[str, bytes | Path], manifest: Manifest, out: Path, force: bool) -> Path:
    """``content`` and the manifest as the bundle ``out``; files given as a path, on the same disk, are moved there.

    Raises:
        InputError: no space or no permission.
    """
    document = manifest.model_dump_json(indent=1, exclude_none=True).encode() + b"\n"
    try:
        _write_folder({**content, "manifest.json": document}, out, force)
    except OSError as error:
        raise InputError(
            f"could not be written: {error.strerror or error}", where=str(out),
            hint="free some space or choose another folder; nothing of it was left behind",
        ) from error  # fmt: skip
    return out


def _write_folder(content: Mapping[str, bytes | Path], out: Path, force: bool) -> None:
    with workspace(out.absolute().parent) as scratch:
        fresh = scratch / "bundle"
        fresh.mkdir()
        for name, data in content.items():
            if isinstance(data, Path):
                os.rename(data, fresh / name)
                continue
            with open(fresh / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if "model" in content:
            (fresh / "model").chmod(EXECUTABLE)
        if force and out.exists():
            # killed between the two, the next one that works in this folder puts the old bundle back
            (scratch / OLD).mkdir()
            os.rename(out, scratch / OLD / out.name)
        os.rename(fresh, out)


def is_bundle(folder: Path) -> bool:
    """Whether ``folder`` was written by edgesparse, of any version: other programs have a manifest.json, too."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"edgesparse", "schema_version", "files"} <= set(manifest)


def describe(
    artifact: Artifact, sources: Sources, selection: Selection, memory: MemoryPlan, target: Target,
    content: Mapping[str, bytes], name: str, version: str, notes: tuple[str, ...],
) -> Manifest:  # fmt: skip
    graph = selection.graph

    def port(tensor: str) -> Port:
        spec = graph.tensors[tensor]
        return Port(name=tensor, shape=spec.shape, dtype=spec.dtype, bytes=spec.bytes)

    return Manifest(
        edgesparse=version, name=name, device=target.name, kind=target.kind, triple=target.triple,
        isas=target.isas, precision=target.precision, predictions=predictions_hash(target),
        inputs=tuple(map(port, graph.inputs)), outputs=tuple(map(port, graph.outputs)),
        arena_bytes=memory.arena_bytes, arena_lower_bound_bytes=memory.lower_bound_bytes,
        scratch_bytes=memory.scratch_bytes,
        weights_bytes=len(sources.weights), code_bytes=artifact.code_bytes, compiler=artifact.compiler,
        layers=layers(selection, target, memory), notes=notes, modules=artifact.modules,
        files={n: hashlib.sha256(d).hexdigest() for n, d in sorted(content.items())},
    )  # fmt: skip


def layers(selection: Selection, target: Target, memory: MemoryPlan | None = None) -> tuple[Layer, ...]:
    """What the manifest says of every kernel call; without ``memory`` not where its output lies."""
    found = []
    facts = zip(selection.steps, call_numbers(selection), traffic(selection), stored(selection), strict=True)
    for step, numbers, (reads, writes), constants in facts:
        why = [step.binding.reason, *(f"not {r.kernel}: {r.reason}" for r in selection.rejected[step.call.name])]
        found.append(
            Layer(
                name=step.call.layer,
                op=step.call.op,
                kernel=step.kernels[target.machine.isa].symbol,
                pattern=step.binding.pattern,
                zeros=round(step.binding.zeros, 6),
                shape=selection.graph.tensors[step.call.outputs[0]].shape,
                macs=step.binding.macs,
                weight_bytes=sum(a.nbytes for a in step.binding.constants.values()),
                predicted_us=round(step.binding.predicted_us, 3),
                dense_us=round(step.binding.dense_us, 3),
                skipping_us=round(step.binding.skipping_us, 3),
                measured=step.binding.measured,
                model_us=round(step.binding.uncorrected_us or other_us(step.call, selection.graph, target.machine), 3),
                calls=numbers,
                reason="; ".join(w for w in why if w),
                reads=reads,
                writes=writes,
                stored=constants,
                held=None if memory is None else held(step, numbers, selection, memory),
                **geometry(selection, step.call),
            )  # fmt: skip
        )
    return tuple(found)
