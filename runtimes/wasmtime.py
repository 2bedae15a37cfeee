"""Runs a WebAssembly bundle in wasmtime, through its Python package."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import platform
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesparse.errors import InputError, RuntimeFailure
from edgesparse.manifest import Manifest, Port
from edgesparse.runtimes.arrays import Sample
from edgesparse.runtimes.files import best_module, check_sizes, read_verified, read_weights
from edgesparse.runtimes.generation import Held
from edgesparse.runtimes.session import Progress, Session
from edgesparse.types import DTYPES, Array

KINDS = ("wasm",)
ALIGN, PAGE_BYTES, MAX_PORTS = 64, 65536, 4096


def open(bundle: Path, manifest: Manifest, *, threads: int = 1) -> WasmtimeSession:
    """Compile the module and place the weights in its memory.

    Raises:
        RuntimeFailure: the package is not installed, the module does not compile, or is damaged.
        InputError: more than one thread.
    """
    if threads != 1:
        # its SharedMemory cannot be given to an instance: github.com/bytecodealliance/wasmtime-py/issues/318
        raise InputError(
            f"wasmtime's Python package cannot share a memory between threads, so not {threads} but 1", where="threads",
            hint="use the runtime node, or leave threads out",
        )  # fmt: skip
    try:
        # By name, because this very module is called wasmtime too.
        wasmtime = importlib.import_module("wasmtime")
    except ImportError as error:
        raise RuntimeFailure(
            f"the Python package wasmtime cannot be imported ({error})",
            where=str(bundle), hint="pip install wasmtime (in a checkout: '.[wasmtime]'), or use the runtime node",
        ) from error  # fmt: skip
    return WasmtimeSession(bundle, manifest, wasmtime)


class WasmtimeSession(Session):
    """One instance. After ``__heap_base`` its memory holds weights, arena, inputs, outputs, then the
    two arrays of 32-bit pointers; nothing moves between runs. A call through the Python package costs
    some 30 microseconds, which are part of every timed run."""

    def __init__(self, bundle: Path, manifest: Manifest, wasmtime: Any) -> None:
        version = importlib.metadata.version("wasmtime")
        self._module = module = best_module(bundle, manifest, threads=False)
        super().__init__(bundle, manifest, {
            "runtime": "wasmtime", "engine": f"wasmtime {version}", "cpu": platform.machine(), "threads": "1",
            "isa": module.isa, "timing": "WebAssembly on this machine, not a device timing",
        })  # fmt: skip
        module_bytes = read_verified(bundle, manifest, module.file)
        weights = read_weights(bundle, manifest)
        config = wasmtime.Config()
        config.wasm_simd = True
        config.wasm_relaxed_simd = True
        self._wasmtime = wasmtime
        self._store = wasmtime.Store(wasmtime.Engine(config))
        try:
            compiled = wasmtime.Module(self._store.engine, module_bytes)
            exports = wasmtime.Instance(self._store, compiled, []).exports(self._store)
            self._memory, self._model_run = exports["memory"], exports["model_run"]
            heap_base = int(exports["__heap_base"].value(self._store))
            facts_at = int(exports["es_the_model"].value(self._store))
        except (wasmtime.WasmtimeError, wasmtime.Trap, KeyError) as error:
            raise RuntimeFailure(
                f"{module.file} cannot be loaded by wasmtime {version}: {error}",
                where=str(bundle), hint="compile the model again, or pip install --upgrade wasmtime",
            ) from error  # fmt: skip
        self._check(facts_at)
        self._place(heap_base, weights)

    def _check(self, at: int) -> None:
        """es_model of model_info.h with pointers of 32 bits, at address ``at``."""

        def read(form: str, at: int) -> tuple[int, ...]:
            return struct.unpack(form, self._memory.read(self._store, at, at + struct.calcsize(form)))

        try:
            _, arena_bytes, weights_bytes, scratch_bytes, ins, outs, ins_at, outs_at = read("<I4xQQQIIII", at)
            inputs = [read("<I4xQ", ins_at + 16 * i)[1] for i in range(min(ins, MAX_PORTS))]
            outputs = [read("<I4xQ", outs_at + 16 * i)[1] for i in range(min(outs, MAX_PORTS))]
        except struct.error as error:
            raise RuntimeFailure(
                f"{self._module.file} does not describe itself: {error}",
                where=str(self.bundle), hint="compile the model again",
            ) from error  # fmt: skip
        check_sizes(self.bundle, self.manifest, arena_bytes, weights_bytes, scratch_bytes, inputs, outputs)

    def _place(self, heap_base: int, weights: bytes) -> None:
        ins, outs = self.manifest.inputs, self.manifest.outputs
        ports_bytes = [port.bytes for port in (*ins, *outs)]
        sizes = [len(weights), self.manifest.arena_bytes, *ports_bytes, 4 * len(ins), 4 * len(outs)]
        addresses, end = [], heap_base
        for size in sizes:
            end += -end % ALIGN
            addresses.append(end)
            end += size
        missing_bytes = end - self._memory.data_len(self._store)
        if missing_bytes > 0:
            try:
                self._memory.grow(self._store, -(-missing_bytes // PAGE_BYTES))
            except self._wasmtime.WasmtimeError as error:
                raise RuntimeFailure(
                    f"the model needs {end} bytes of WebAssembly memory: {error}",
                    where=str(self.bundle), hint="32-bit WebAssembly ends at 4 GiB: use a smaller model",
                ) from error  # fmt: skip
        # The memory never grows again, so this view stays right for the life of the store.
        start = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        length = self._memory.data_len(self._store)
        self._bytes: Array = np.frombuffer((ctypes.c_ubyte * length).from_address(start), np.uint8)
        self._in_at, self._out_at = addresses[2 : 2 + len(ins)], addresses[2 + len(ins) : -2]
        self._bytes[addresses[0] : addresses[0] + len(weights)] = np.frombuffer(weights, np.uint8)
        for at, pointers in ((addresses[-2], self._in_at), (addresses[-1], self._out_at)):
            self._bytes[at : at + 4 * len(pointers)] = np.array(pointers, "<u4").view(np.uint8)
        self._arguments = [_signed(a) for a in (addresses[0], addresses[1], addresses[-2], addresses[-1])]

    def run_samples(self, samples: Sequence[Sample]) -> list[Sample]:
        results = []
        for sample in samples:
            self._write(sample)
            self._call()
            results.append(self._read())
        return results

    def time_sample(
        self, sample: Sample, num_runs: int, warmup_runs: int, on_progress: Progress | None
    ) -> tuple[Sample, tuple[int, ...]]:
        self._write(sample)
        for _ in range(warmup_runs):
            self._call()
        wall_ns = []
        for i in range(num_runs):
            before = time.perf_counter_ns()
            self._call()
            wall_ns.append(time.perf_counter_ns() - before)
            if on_progress is not None:
                on_progress(i + 1, num_runs)
        return self._read(), tuple(wall_ns)

    def held(self) -> Held:
        def views(ports: Sequence[Port], at: Sequence[int]) -> Sample:
            return tuple(self._view(port, address) for port, address in zip(ports, at, strict=True))

        ins, outs = self.manifest.inputs, self.manifest.outputs
        return Held(views(ins, self._in_at), views(outs, self._out_at), self._call)

    def _call(self) -> None:
        try:
            code = self._model_run(self._store, *self._arguments)
        except (self._wasmtime.WasmtimeError, self._wasmtime.Trap) as error:
            raise RuntimeFailure(f"model_run stopped: {error}", where=str(self.bundle)) from error
        if code != 0:
            raise RuntimeFailure(f"model_run returned {code}", where=str(self.bundle), hint="compile the model again")

    def _view(self, port: Port, at: int) -> Array:
        return self._bytes[at : at + port.bytes].view(DTYPES[port.dtype]).reshape(port.shape)

    def _write(self, sample: Sample) -> None:
        for port, at, array in zip(self.manifest.inputs, self._in_at, sample, strict=True):
            self._view(port, at)[...] = array

    def _read(self) -> Sample:
        return tuple(self._view(p, at).copy() for p, at in zip(self.manifest.outputs, self._out_at, strict=True))


def _signed(address: int) -> int:
    """wasmtime takes an i32 as a signed number."""
    return address - (1 << 32) if address >= 1 << 31 else address
