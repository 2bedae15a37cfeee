"""``python -m bench.decode_kernels``: matrix times vector of decoders, dense and skipping inputs, beside memory.

Matrices take turns and are together far larger than any cache, as the layers of a model are. Choosing the active
inputs and rounding them to bytes is part of what is timed. What as many cores can read is measured in turns with
them. Threads divide the tiles of a matrix, and meet when all matrices are done.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import facts
from bench.results import save
from edgesparse.build import kernel_object, zig
from edgesparse.decoder import pack
from edgesparse.devices import load_device
from edgesparse.kernels import find
from edgesparse.ops.select import GROUP, in_groups
from edgesparse.report import print_table
from edgesparse.types import Array, Target

SHAPES = ((2048, 2048), (5632, 2048), (2048, 5632), (4096, 4096), (11008, 4096))
"""(outputs, inputs): TinyLlama's, and those of a model of 7 billion weights."""
WIDTH = {"f32": 4, "f16": 2, "qc8": 1}
STEMS = (
    "select_f32", "quantise_f32", "probe_read_f32", *(f"columns{m}_{d}" for m in ("", "_many") for d in WIDTH)
)  # fmt: skip
CORES = os.sched_getaffinity(0)
TURN_BYTES = 160e6  # matrices that take turns: five times the largest cache that a few cores share
PROBE_BYTES, PROBE_PART = 1 << 28, 1 << 25


@dataclass(frozen=True, slots=True)
class Result:
    """``us`` of a matrix. ``gbs``: 1e9 bytes of weights that were needed, a second; ``read_gbs``: what as many threads
    read meanwhile; ``of_read`` of that. ``speedup``: over dense qc8 of the same shape and threads. ``tokens``: 1 is
    decoding. ``gops``: two operations a multiply-add. All are medians over rounds.
    """

    kind: str
    isa: str
    outputs: int
    inputs: int
    active: float
    threads: int
    tokens: int
    us: float
    gbs: float
    of_read: float
    read_gbs: float
    gops: float
    speedup: float | None


@cache
def library(isa: str) -> ctypes.CDLL:
    """The kernels of ``isa``; `STEMS` are its functions."""
    target = _target()
    with tempfile.TemporaryDirectory() as folder:
        made, lines = [], ["#include <stdint.h>"]
        for stem in STEMS:
            kernel = find(stem, isa, {})
            assert kernel is not None
            made.append(kernel_object(kernel, target))
            kinds = ", ".join(f"{kind} {name}" for kind, name in kernel.parameters)
            names = ", ".join(name for _, name in kernel.parameters)
            lines += [f"void {kernel.symbol}({kinds});", f'__attribute__((visibility("default"))) void {stem}({kinds})']
            lines += ["{", f"  {kernel.symbol}({names});", "}"]
        work = Path(folder)
        (work / "names.c").write_text("\n".join([*lines, ""]))
        out = work / "kernels.so"
        options = ["-target", target.triple, "-O2", "-g0", "-shared", "-fPIC", "-nostdlib"]
        zig("cc", [*options, "names.c", *made, "-o", out], work)
        return ctypes.CDLL(str(out))


def _target() -> Target:
    return load_device("host").target


def memory(size: int) -> Array:
    """Bytes at the beginning of a page; pages are small, as those of a file that is mapped."""
    area = mmap.mmap(-1, max(size, 1))
    area.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(area, np.uint8)


def at(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def number(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)


class Layer:
    """One matrix of random weights, and what one token or several need for it."""

    def __init__(self, kind: str, isa: str, outputs: int, inputs: int, tile: int, tokens: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.kind, self.outputs, self.inputs, self.tile, self.tokens = kind, outputs, inputs, tile, tokens
        self.kernels = library(isa)
        width = sum(-(-min(tile, outputs - o) // 16) * 16 for o in range(0, outputs, tile))
        self.w = memory(width * inputs * WIDTH[kind])
        self._fill(random)
        self.x = random.standard_normal((tokens, inputs)).astype(np.float32)
        self.wscale = np.ones(outputs, np.float32)
        self.y = np.zeros((tokens, outputs), np.float32)
        room = in_groups(inputs)
        self.index, self.value = np.zeros(room, np.int32), np.zeros(room, np.float32)
        self.count, self.q = np.zeros(1, np.int32), np.zeros((tokens, room), np.int8)
        self.scale, self.sum = (
            np.zeros((tokens, room // GROUP), np.float32),
            np.zeros((tokens, room // GROUP), np.int32),
        )

    def _fill(self, random: np.random.Generator) -> None:
        if self.kind == "qc8":
            block = random.integers(1, 256, 1 << 20).astype(np.uint8)
        else:
            block = (
                random.standard_normal(1 << 18).astype(np.float32 if self.kind == "f32" else np.float16).view(np.uint8)
            )
        self.w[:] = np.resize(block, self.w.size)

    def prepare(self, threshold: Array, active: float) -> None:
        """What is done once for all threads."""
        k = self.kernels
        for t in range(self.tokens if self.kind == "qc8" and active == 1 else 0):
            values = at(self.q[t]), at(self.scale[t]), at(self.sum[t])
            k.quantise_f32(at(self.x[t]), *values, number(self.inputs))
        if active < 1:
            k.select_f32(at(self.x), at(threshold), at(self.index), at(self.value), at(self.count), number(self.inputs),
                         number(0))  # fmt: skip
            if self.kind == "qc8":
                k.quantise_f32(at(self.value), at(self.q), at(self.scale), at(self.sum), number(int(self.count[0])))

    def multiply(self, active: float, begin: int, end: int) -> None:
        k, kind, dense = self.kernels, self.kind, active == 1
        groups = at(self.q), at(self.scale), at(self.sum)
        ends = [number(v) for v in (self.inputs, self.outputs, self.tile, begin, end)]
        if self.tokens > 1:
            pitches = [number(v) for v in (self.tokens, self.q.shape[1], self.outputs)]
            if kind == "qc8":
                k.columns_many_qc8(at(self.w), at(self.wscale), None, *groups, at(self.y), *pitches, *ends)
            else:
                pitches[1] = number(self.inputs)
                getattr(k, f"columns_many_{kind}")(at(self.w), None, at(self.x), at(self.y), *pitches, *ends)
            return
        index, count = (None, self.inputs) if dense else (at(self.index), int(self.count[0]))
        if kind == "qc8":
            k.columns_qc8(at(self.w), at(self.wscale), None, index, *groups, at(self.y), number(count), *ends)
        else:
            value = at(self.x if dense else self.value)
            getattr(k, f"columns_{kind}")(at(self.w), None, index, value, at(self.y), number(count), *ends)


Work = Callable[[int, int], None]


def rounds(works: Sequence[Work], threads: int, repeats: int) -> Array:
    """Seconds of each of ``works(thread, threads)``, one after the other, (repeats, works); on cores of their own."""
    cores = sorted(CORES)[-threads:]
    gate = threading.Barrier(threads)
    taken = np.zeros((repeats + 1, len(works)))

    def run(thread: int) -> None:
        os.sched_setaffinity(0, {cores[thread]})
        for turn in range(repeats + 1):
            for i, work in enumerate(works):
                gate.wait()
                begin = time.perf_counter()
                work(thread, threads)
                gate.wait()
                if thread == 0:
                    taken[turn, i] = time.perf_counter() - begin

    team = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    return taken[1:]


class Probe:
    """Reads a part of memory that was not read for long, another one each time."""

    def __init__(self, isa: str) -> None:
        self.kernel, self.data, self.out = (
            library(isa).probe_read_f32,
            memory(PROBE_BYTES),
            np.zeros((16, 16), np.float32),
        )
        self.data[:] = 0
        self.turn = 0

    def __call__(self, thread: int, threads: int) -> None:
        part = PROBE_PART // threads // 2048 * 2048
        if thread == 0:
            self.turn = (self.turn + 1) % (PROBE_BYTES // PROBE_PART)
        begin = self.data.ctypes.data + self.turn * PROBE_PART + thread * part
        self.kernel(ctypes.c_void_p(begin), at(self.out[thread]), number(part // 4), number(1))


def all_layers(layers: Sequence[Layer], active: float) -> Work:
    limit = np.quantile(np.abs(np.concatenate([x.x[0] for x in layers])), 1 - active) if active < 1 else 0
    threshold = np.array([limit], np.float32)
    tiles = pack.tiles(layers[0].outputs, layers[0].tile)
    if active < 1:
        for layer in layers:
            layer.prepare(threshold, active)

    def work(thread: int, threads: int) -> None:
        begin, end = tiles * thread // threads, tiles * (thread + 1) // threads
        for layer in layers:
            if thread == 0:  # the others may read the list of the round before: it is the same
                layer.prepare(threshold, active)
            layer.multiply(active, begin, end)

    return work


def results(given: Any) -> Iterator[Result]:
    probe = Probe(given.isa)
    for outputs, inputs in given.shapes:
        dense: dict[int, float] = {}
        for kind in given.kinds:
            tile = given.tile or pack.tile_for(outputs)
            size = outputs * inputs * WIDTH[kind]
            for tokens in given.tokens:
                number_of = max(2, -(-int(TURN_BYTES) // size)) if tokens == 1 else 2
                layers = [Layer(kind, given.isa, outputs, inputs, tile, tokens, seed) for seed in range(number_of)]
                shares = given.active if tokens == 1 else (1.0,)
                works: list[Work] = [probe, *(all_layers(layers, active) for active in shares)]
                for threads in given.threads:
                    taken = rounds(works, threads, given.repeats)
                    reading = PROBE_PART / taken[:, 0] / 1e9
                    for i, active in enumerate(shares):
                        seconds = taken[:, i + 1] / number_of
                        gbs = size * active / seconds / 1e9
                        us = float(np.median(seconds)) * 1e6
                        if kind == "qc8" and tokens == 1:
                            dense.setdefault(threads, us)
                            faster = float(np.median(taken[:, 1] / taken[:, i + 1]))
                        else:
                            faster = dense.get(threads, 0.0) / us if tokens == 1 else 0.0
                        yield Result(
                            kind, given.isa, outputs, inputs, active, threads, tokens, us, float(np.median(gbs)),
                            float(np.median(gbs / reading)), float(np.median(reading)),
                            2e-3 * outputs * inputs * active * tokens / us, faster or None,
                        )  # fmt: skip
                del layers, works


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.decode_kernels", description=__doc__.partition("\n")[0])
    shapes = ",".join(f"{o}x{i}" for o, i in SHAPES)
    parser.add_argument("--isa", default="avx512vnni")
    parser.add_argument("--kinds", default="qc8,f16,f32")
    parser.add_argument("--shapes", default=shapes, help="outputs x inputs, comma-separated")
    parser.add_argument("--active", default="1,0.7,0.5,0.3", help="shares of inputs that are not skipped")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--tokens", default="1", help="more than 1: the kernels for prompts")
    parser.add_argument("--tile", type=int, default=0, help="outputs of a tile; 0: as `pack.tile_for` says")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    given.kinds = given.kinds.split(",")
    given.shapes = [tuple(map(int, s.split("x"))) for s in given.shapes.split(",")]
    given.active, given.tokens = [float(a) for a in given.active.split(",")], [int(t) for t in given.tokens.split(",")]
    given.threads = [int(t) for t in given.threads.split(",")]
    found = list(results(given))
    rows = [
        (f"{r.outputs}x{r.inputs}", r.kind, f"{r.active:g}", r.threads, r.tokens, round(r.us, 1), round(r.gbs, 1),
         round(r.read_gbs, 1), f"{r.of_read:.0%}", round(r.gops, 1), f"{r.speedup:.2f}" if r.speedup else "")
        for r in found
    ]  # fmt: skip
    heads = (
        "layer",
        "weights",
        "active",
        "threads",
        "tokens",
        "us",
        "GB/s",
        "reads",
        "of it",
        "GOP/s",
        "over dense qc8",
    )
    print_table("", heads, rows)
    machine = {**facts(*sorted(os.sched_getaffinity(0)))}
    save(given.json, ({**asdict(r), "machine": machine} for r in found))


if __name__ == "__main__":
    main()
