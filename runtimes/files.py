"""The files of a bundle, each checked against the manifest before it is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from edgesparse.errors import RuntimeFailure
from edgesparse.manifest import Manifest, Module
from edgesparse.manifest_decoder import WeightFile
from edgesparse.packed_weights import decode


def best_module(bundle: Path, manifest: Manifest, *, threads: bool, relaxed: bool = True) -> Module:
    """Of a WebAssembly bundle the module to run, for one thread or for several.

    Raises:
        RuntimeFailure: there is none: of an older version, or all of them need relaxed SIMD and it is not there.
    """
    fitting = [m for m in manifest.modules if m.threads == threads]
    able = [m for m in fitting if relaxed or "relaxed" not in m.isa]
    if able:
        return able[0]
    raise RuntimeFailure(
        "every module of the bundle uses relaxed SIMD" if fitting else "the bundle lists no module for this",
        where=str(bundle), hint="edgesparse compile MODEL.onnx --device browser makes a bundle that runs everywhere",
    )  # fmt: skip


def read_verified(bundle: Path, manifest: Manifest, name: str) -> bytes:
    """The bytes of a file of the bundle.

    Raises:
        RuntimeFailure: it is missing, or its SHA-256 is not the one in the manifest.
    """
    try:
        content = (bundle / name).read_bytes()
    except OSError as error:
        raise _damaged(bundle, name, f"cannot be read: {error.strerror}") from error
    check_sha256(bundle, manifest, name, hashlib.sha256(content).hexdigest())
    return content


def read_weights(bundle: Path, manifest: Manifest) -> bytes:
    """The content of weights.bin, which WebAssembly bundles hold packed, or cut into files.

    Raises:
        RuntimeFailure: as `read_verified`; or the files of a language model are not all of it.
    """
    if not manifest.weights_bytes:
        return b""
    if manifest.kind != "wasm":
        return read_verified(bundle, manifest, "weights.bin")
    if manifest.decoder is not None:
        return b"".join(_read_piece(bundle, manifest, piece) for piece in weight_files(bundle, manifest))
    if manifest.weights is None:
        raise _damaged(bundle, "manifest.json", "does not say how its weights are packed")
    packed = manifest.weights
    try:
        return decode(packed, read_verified(bundle, manifest, packed.file), manifest.weights_bytes)
    except RuntimeFailure as error:
        error.where = error.where or str(bundle)
        raise


def weight_files(bundle: Path, manifest: Manifest) -> tuple[WeightFile, ...]:
    """What weights.bin of a language model is cut into for WebAssembly; of other bundles nothing.

    Raises:
        RuntimeFailure: these are not all of it, in order: what none of them holds would be zeros, and no error later.
    """
    if manifest.decoder is None or manifest.kind != "wasm":
        return ()
    found = manifest.decoder.weight_files
    ordered = all(piece.file == f"weights.{i}.bin" for i, piece in enumerate(found))
    if not ordered or sum(piece.bytes for piece in found) != manifest.weights_bytes:
        what = f"its weight_files are not weights.0.bin, weights.1.bin and so on, of {manifest.weights_bytes} bytes"
        raise _damaged(bundle, "manifest.json", f"is damaged: {what}")
    return found


def _read_piece(bundle: Path, manifest: Manifest, piece: WeightFile) -> bytes:
    content = read_verified(bundle, manifest, piece.file)
    if len(content) != piece.bytes:
        raise _damaged(bundle, piece.file, f"is damaged: it holds {len(content)} bytes, not {piece.bytes}")
    return content


def check_sha256(bundle: Path, manifest: Manifest, name: str, digest: str) -> None:
    """Compare the SHA-256 of a file, in hexadecimal, with the manifest. Raises RuntimeFailure."""
    expected = manifest.files.get(name)
    if expected is None:
        raise _damaged(bundle, name, "is not listed in the manifest")
    if digest != expected:
        raise _damaged(bundle, name, "is damaged: its SHA-256 is not the one in the manifest")


def check_sizes(
    bundle: Path, manifest: Manifest, arena_bytes: int, weights_bytes: int, scratch_bytes: int,
    inputs: Sequence[int], outputs: Sequence[int],
) -> None:  # fmt: skip
    """Compare what the compiled code says of itself (es_the_model) with the manifest. Raises RuntimeFailure."""
    said: list[tuple[str, object, object]] = [
        ("arena bytes", manifest.arena_bytes, arena_bytes),
        ("bytes of weights", manifest.weights_bytes, weights_bytes),
        ("scratch bytes", manifest.scratch_bytes, scratch_bytes),
        ("bytes of inputs", [p.bytes for p in manifest.inputs], list(inputs)),
        ("bytes of outputs", [p.bytes for p in manifest.outputs], list(outputs)),
    ]
    for what, expected, compiled in said:
        if expected != compiled:
            raise _damaged(bundle, "manifest.json", f"says {expected} {what}, the compiled model {compiled}")


def _damaged(bundle: Path, name: str, what: str) -> RuntimeFailure:
    return RuntimeFailure(f"{name} {what}", where=str(bundle), hint="compile the model again, or copy the bundle again")
