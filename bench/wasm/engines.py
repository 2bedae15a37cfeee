"""The engines: what npm installs for them, and the files they read a network from."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import peers
from bench.cases import Pruned
from bench.engine import CannotRun
from bench.environments import python_for
from bench.peers import OURS

ISAS = ("simd128", "relaxed")
PROJECT = Path(__file__).resolve().parents[2]
Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Engine:
    """``packages`` as npm spells them, the first one is the engine and its version.

    ``nhwc``: how it takes and gives planes. ``write(network, folder, backend)`` puts files into ``folder``, which is
    served as ``/case/ENGINE-BACKEND``, and returns them as options for web/NAME.mjs.
    """

    name: str
    packages: tuple[str, ...]
    nhwc: bool
    write: Callable[[Pruned, Path, str], Mapping[str, str]]

    @property
    def version(self) -> str:
        return self.packages[0].rpartition("@")[2] if self.packages else ""


def _ours(network: Pruned, folder: Path, backend: str) -> Mapping[str, str]:
    from edgesparse.compile import compile_model
    from edgesparse.errors import UnsupportedError
    from edgesparse.importer import load
    from edgesparse.version import __version__

    try:
        bundle = compile_model(load(network.onnx), "browser", folder / "model.edge")
    except UnsupportedError as error:
        raise CannotRun(str(error)) from error
    return {"bundle": bundle.name, "version": __version__, "isa": backend}


def _onnx(network: Pruned, folder: Path, backend: str) -> Mapping[str, str]:
    (folder / "network.onnx").write_bytes(network.onnx.read_bytes())
    return {"model": "network.onnx"}


def _layers(network: Pruned, folder: Path, backend: str) -> Mapping[str, str]:
    from bench.wasm import layers

    layers.write(network.onnx, folder / "layers.json", folder / "weights.bin")
    return {"layers": "layers.json", "weights": "weights.bin"}


def _tflite(network: Pruned, folder: Path, backend: str) -> Mapping[str, str]:
    """In the environment of the native LiteRT, which has the schema of such files."""
    python = python_for("litert", peers.load("litert"))
    command = [str(python), "-m", "bench.tflite", "--sparse", str(network.onnx), str(folder / "network.tflite")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        raise CannotRun(done.stderr.strip())
    if done.returncode != 0:
        raise RuntimeError(f"python -m bench.tflite: {done.stderr.strip()[-1000:]}")
    return {"model": "network.tflite"}


ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(OURS, (), False, _ours),
        Engine("onnxruntime-web", ("onnxruntime-web@1.30.0",), False, _onnx),
        Engine(
            "tfjs",
            (
                "@tensorflow/tfjs-backend-wasm@4.22.0", "@tensorflow/tfjs-backend-cpu@4.22.0",
                "@tensorflow/tfjs-core@4.22.0",
            ),
            True, _layers,
        ),
        Engine("litert", ("@litertjs/core@2.5.3", "@litertjs/wasm-utils@2.5.3"), True, _tflite),
    )
}  # fmt: skip
PEERS: Sequence[str] = [name for name in ENGINES if name != OURS]
