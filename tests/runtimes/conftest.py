"""A small model by hand (toy_model.c) built for each kind of bundle: y = 2 x + w, n = k + 1."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesparse import build as product
from edgesparse import packed_weights
from edgesparse.devices import load_device
from edgesparse.devices.host import TARGETS as HOSTS
from edgesparse.kernels import ISAS
from edgesparse.manifest import Manifest, Module, PackedWeights, Port
from edgesparse.runtimes import c
from edgesparse.runtimes.node import LOADER
from edgesparse.types import Array

HERE = Path(__file__).parent
W = np.array([0.5, -1, 0, 3, 1e6], np.float32)
X = np.arange(5, dtype=np.float32).reshape(1, 5)
K = np.array([1, -2, 2**40])
INPUTS = {"x": X, "k": K}
INPUT_BYTES = X.nbytes + K.nbytes
OUTPUT_BYTES = INPUT_BYTES
X86 = HOSTS["x86_64"][0]
TARGETS = {
    "shared": (X86, "libmodel.so", c.LIBRARY_SOURCES, (*product.LIBRARY_LINK_FLAGS, "-fPIC")),
    "executable": (
        load_device("rpi5").triple, "model", (*c.LIBRARY_SOURCES, *c.PROGRAM_SOURCES), product.PROGRAM_LINK_FLAGS
    ),
    "wasm": (
        load_device("browser").triple, "model-toy.wasm", c.WASM_SOURCES,
        (*product.WASM_LINK_FLAGS, *ISAS["simd128"].flags, "-DES_ONE_THREAD"),
    ),
}  # fmt: skip
WEIGHTS = {"shared": "weights.bin", "executable": "weights.bin", "wasm": packed_weights.FILE}
MakeBundle = Callable[..., Path]


def is_right(outputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> bool:
    return np.array_equal(outputs["y"], 2 * X + W) and np.array_equal(outputs["n"], K + 1)


def compile_c(triple: str, sources: list[Path], out: Path, flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, *product.COMMON_FLAGS, *flags]
    subprocess.run([*command, f"-I{c.FOLDER}", *map(str, sources), "-o", str(out)], check=True)


def packed(values: Array) -> tuple[bytes, PackedWeights]:
    """weights.packed of a constant, and what the manifest says of it."""
    return packed_weights.encode([packed_weights.Part(0, values)], values.tobytes())


def _float_port(name: str) -> Port:
    return Port(name=name, shape=(1, 5), dtype="f32", bytes=20)


def _int_port(name: str) -> Port:
    return Port(name=name, shape=(3,), dtype="i64", bytes=24)


def write_manifest(folder: Path, kind: str, **changes: object) -> None:
    """manifest.json over the files that are in ``folder``."""
    files = {
        f.name: hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.iterdir()) if f.name != "manifest.json"
    }  # fmt: skip
    values: dict[str, object] = {
        "edgesparse": "0", "name": "toy", "device": "test", "kind": kind, "triple": TARGETS[kind][0], "isas": ("toy",),
        "inputs": (_float_port("x"), _int_port("k")), "outputs": (_float_port("y"), _int_port("n")),
        "arena_bytes": 64, "arena_lower_bound_bytes": 20, "scratch_bytes": 64, "weights_bytes": 20, "code_bytes": 1,
        "compiler": "zig",
        "layers": (), "files": files, **changes,
    }  # fmt: skip
    if kind == "wasm":
        values.setdefault("weights", packed(W)[1])
        isas: tuple[str, ...] = values["isas"]  # type: ignore[assignment]
        values["modules"] = tuple(
            Module(file=name, isa=isas[0], threads="threads" in name, bytes=(folder / name).stat().st_size)
            for name in files if name.endswith(".wasm")
        )  # fmt: skip
    (folder / "manifest.json").write_text(Manifest.model_validate(values).model_dump_json())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles once per kind and -D flags; returns the folder of the result."""
    done: dict[tuple[str, ...], Path] = {}

    def build(kind: str, *defines: str) -> Path:
        key = (kind, *defines)
        if key not in done:
            folder = tmp_path_factory.mktemp(f"toy-{kind}")
            triple, name, sources, flags = TARGETS[kind]
            files = [HERE / "toy_model.c", *sources]
            compile_c(triple, files, folder / name, (*flags, *defines))
            (folder / WEIGHTS[kind]).write_bytes(packed(W)[0] if kind == "wasm" else W.tobytes())
            if kind == "wasm":
                threads = (*product.WASM_THREADS_LINK_FLAGS, *ISAS["simd128"].flags, *product.WASM_THREADS, *defines)
                sources = c.WASM_THREADS_SOURCES
                compile_c(triple, [HERE / "toy_model.c", *sources], folder / "model-toy-threads.wasm", threads)
                for name in LOADER:
                    shutil.copy(c.FOLDER.parent / "web" / name, folder)
            write_manifest(folder, kind)
            done[key] = folder
        return done[key]

    return build


@pytest.fixture
def toy(built: Callable[..., Path], tmp_path: Path) -> MakeBundle:
    """``toy(kind, *defines)``: a bundle of its own for the test, to break as it likes."""

    def make(kind: str, *defines: str) -> Path:
        folder = tmp_path / f"{kind}{len(list(tmp_path.iterdir()))}.edge"
        shutil.copytree(built(kind, *defines), folder)
        return folder

    return make


@pytest.fixture
def here_is_x86(require: Callable[[str], None]) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the toy library is built for x86_64")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Enough of one for what goes wrong before it is looked at."""
    folder = tmp_path / "m.edge"
    folder.mkdir()
    write_manifest(folder, "executable")
    return folder
