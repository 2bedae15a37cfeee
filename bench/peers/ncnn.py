"""ncnn in fp32 (its half-precision storage switched off), converted by its own tool, pnnx. Dense kernels only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.engine import Array, CannotRun, Network, aligned

REQUIREMENTS = ("ncnn==1.0.20261020", "numpy")
# pnnx asks for torch, which its program does not need to read ONNX
WITHOUT_DEPENDENCIES = ("pnnx==20261020",)
HALF = (
    "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage",
)  # fmt: skip


def prepare(network: Network) -> Ncnn:
    return Ncnn(network)


class Ncnn:
    """A `run` creates the extractor too: ncnn keeps no results, so that an application does it as well."""

    def __init__(self, network: Network) -> None:
        import ncnn

        base = _convert(network)
        self._network, self._ncnn = network, ncnn
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads, options.use_vulkan_compute = network.threads, False
        for option in HALF:
            setattr(options, option, False)
        if self._net.load_param(f"{base}.ncnn.param") != 0 or self._net.load_model(f"{base}.ncnn.bin") != 0:
            raise CannotRun("ncnn does not load what pnnx made: an operator that it has no layer for")
        self._in, self._out = self._net.input_names(), self._net.output_names()
        self.version = str(ncnn.__version__)

    def feed(self, inputs: Sequence[Array]) -> None:
        # without the batch, which ncnn does not know; its Mat only points to the array
        self._arrays = [aligned(x[0]) for x in inputs]
        self._inputs = [self._ncnn.Mat(x) for x in self._arrays]

    def run(self) -> None:
        extractor = self._net.create_extractor()
        for name, mat in zip(self._in, self._inputs, strict=True):
            extractor.input(name, mat)
        self._results = [extractor.extract(name) for name in self._out]

    def outputs(self) -> list[Array]:
        if any(code != 0 for code, _ in self._results):
            raise RuntimeError("ncnn's extract failed")
        shapes = self._network.outputs.values()
        return [np.array(mat).reshape(shape) for (_, mat), shape in zip(self._results, shapes, strict=True)]


def _convert(network: Network) -> Path:
    """Writes NAME.ncnn.param and NAME.ncnn.bin into the network's folder; returns its path with NAME."""
    import importlib.util

    spec = importlib.util.find_spec("pnnx")  # not imported: that would ask for torch
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pnnx is not installed in this environment")
    program = Path(spec.origin).parent / "pnnx"
    program.chmod(program.stat().st_mode | 0o111)  # pip drops the bit
    base = network.folder / "network"
    source = base.with_suffix(".onnx")
    os.symlink(network.onnx.absolute(), source)
    shapes = ",".join(f"[{','.join(map(str, shape))}]" for shape in network.inputs.values())
    done = subprocess.run(
        [str(program), source.name, f"inputshape={shapes}", "fp16=0"],
        cwd=network.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0 or not Path(f"{base}.ncnn.bin").exists():
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise CannotRun(f"pnnx does not convert it: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return base
