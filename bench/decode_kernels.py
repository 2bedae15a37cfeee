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
from edgesparse.types import Array

SHAPES = ((2048, 2048), (5632, 2048), (2048, 5632), (4096, 4096), (11008, 4096))
"""(outputs, inputs): TinyLlama's, and those of a model of 7 billion weights."""
WIDTH = {"f32": 4, "f16": 2, "qc8": 1}
STEMS = ("select_f32", "quantise_f32", "probe_read_f32")
CORES = os.sched_getaffinity(0)
TURN_BYTES, PARTS = 160e6, 4
"""Matrices that take turns: five times the largest cache that a few cores share. One turn is a quarter of them: what
memory gives changes from one hundredth of a second to the next, where other machines use it as well. Prompts are bound
by arithmetic: one matrix a turn."""
PROBE_BYTES, PROBE_PART = 1 << 28, 1 << 25
FAST = 0.1
LARGE_PAGE = 2 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """``us`` of a matrix. ``gbs``: 1e9 bytes of weights that were needed, a second; ``read_gbs``: what as many threads
    read meanwhile; ``of_read`` of that. ``speedup``: over dense qc8 of the same shape and threads. ``tokens``: 1 is
    decoding. ``gops``: two operations a multiply-add. Times are those that a tenth of the turns did not exceed: what
    else the machine does, and its neighbours, only ever adds to them.
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
    read_gbs: float
    of_read: float
    gops: float
    speedup: float | None


class Job(ctypes.Structure):
    """``struct job`` of decode_kernels.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("w", "wscale", "x", "threshold", "index", "value", "count", "q", "scale",
                                               "sum", "y")),
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "tile", "tokens", "dense", "first", "begin", "end")),
    ]  # fmt: skip


@cache
def library(isa: str, kind: str) -> ctypes.CDLL:
    """decode_kernels.c with the kernels of ``isa`` for weights of ``kind``."""
    target, source = load_device("host").target, Path(__file__).with_suffix(".c")
    defines, made, lines = [f"-D{kind.upper()}"], [], ["#include <stdint.h>"]
    for stem in (*STEMS, f"columns_{kind}", f"columns_many_{kind}", f"rows_{kind}"):
        kernel = find(stem, isa, {})
        assert kernel is not None
        made.append(kernel_object(kernel, target))
        plain = stem if stem in STEMS else stem.removesuffix(f"_{kind}")
        defines.append(f"-D{plain}={kernel.symbol}")
        lines.append(f"void {kernel.symbol}({', '.join(f'{kind} {name}' for kind, name in kernel.parameters)});")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "kernels.h").write_text("\n".join([*lines, ""]))
        options = ["-target", target.triple, "-O2", "-g0", "-shared", "-fPIC", "-nostdlib", f"-I{work}", *defines]
        zig("cc", [*options, source, *made, "-o", work / "kernels.so"], work)
        return ctypes.CDLL(str(work / "kernels.so"))


def memory(size: int, large: bool) -> Array:
    """Bytes at the beginning of a page: a large one, as sessions put weights there, or a small one, as those of a file
    that is mapped."""
    area = mmap.mmap(-1, size + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE if large else mmap.MADV_NOHUGEPAGE)
    all_of_it = np.frombuffer(area, np.uint8)
    first = -all_of_it.ctypes.data % LARGE_PAGE
    return all_of_it[first : first + size]


class Layer:
    """One matrix of random weights and its input, ``tokens`` of them. Without ``tile`` its weights are by output."""

    def __init__(
        self, kind: str, outputs: int, inputs: int, tile: int, tokens: int, seed: int, large: bool
    ) -> None:  # fmt: skip
        random = np.random.default_rng(seed)
        self.kind, self.outputs, self.inputs, self.tile, self.tokens = kind, outputs, inputs, tile, tokens
        self.w = memory(-(-outputs // 64) * 64 * inputs * WIDTH[kind], large)
        block = random.integers(1, 256, 1 << 20).astype(np.uint8)
        if kind != "qc8":
            block = random.standard_normal(1 << 18).astype({"f32": np.float32, "f16": np.float16}[kind]).view(np.uint8)
        self.w[:] = np.resize(block, self.w.size)
        self.x = random.standard_normal((tokens, inputs)).astype(np.float32)
        self.wscale = np.ones(outputs, np.float32)


class Prepared:
    """What one layer needs for inputs above a threshold, or for some outputs, and where its outputs go."""

    def __init__(self, layer: Layer, active: float, threshold: Array) -> None:
        self.layer, self.active, self.threshold = layer, active, threshold
        tokens, room = layer.tokens, in_groups(layer.inputs)
        types = (np.int32, room), (np.float32, room), (np.int32, 1)
        grouped = (np.int8, room), (np.float32, room // GROUP), (np.int32, room // GROUP)
        self.lists = [np.zeros(n, dtype) for dtype, n in types] + [np.zeros((tokens, n), dtype) for dtype, n in grouped]
        self.y = memory(4 * tokens * layer.outputs, False).view(np.float32)  # at a line of the cache, as arenas are
        self.entries = pack.tiles(layer.outputs, layer.tile) if layer.tile else round(layer.outputs * active)
        if not layer.tile:
            chosen = np.random.default_rng(0).choice(layer.outputs, self.entries, replace=False)
            self.lists[0] = np.sort(chosen).astype(np.int32)

    def job(self, thread: int, threads: int) -> Job:
        """What one thread of several does."""
        x, first = self.layer, thread == 0
        begin, end = self.entries * thread // threads, self.entries * (thread + 1) // threads
        arrays = (x.w, x.wscale, x.x, self.threshold, *self.lists, self.y)
        ends = (x.inputs, x.outputs, x.tile, x.tokens, int(self.active == 1), int(first), begin, end)
        return Job(*(array.ctypes.data for array in arrays), *ends)


Work = Callable[[int, int, int], None]


def rounds(works: Sequence[Work], threads: int, repeats: int) -> Array:
    """Seconds of each of ``works(thread, threads, turn)``, in turns: (repeats, works). On cores of their own."""
    cores = sorted(CORES)[-threads:]
    gate = threading.Barrier(threads)
    taken = np.zeros((repeats + 1, len(works)))

    def run(thread: int) -> None:
        os.sched_setaffinity(0, {cores[thread]})
        for turn in range(repeats + 1):
            for i, work in enumerate(works):
                gate.wait()
                begin = time.perf_counter()
                work(thread, threads, turn + i)
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

    def __init__(self, isa: str, large: bool) -> None:
        self.read, self.out = library(isa, "qc8").read, np.zeros((16, 16), np.float32)
        self.data = memory(PROBE_BYTES, large)
        self.data[:] = 0

    def __call__(self, thread: int, threads: int, turn: int) -> None:
        part = PROBE_PART // threads // 2048 * 2048
        begin = self.data.ctypes.data + turn * PROBE_PART % PROBE_BYTES + thread * part
        self.read(ctypes.c_void_p(begin), ctypes.c_void_p(self.out[thread].ctypes.data), ctypes.c_int64(part // 4))


def some_layers(layers: Sequence[Layer], active: float, isa: str, most_threads: int) -> Work:
    """A part of the layers, at each turn another one."""
    limit = np.quantile(np.abs(np.concatenate([x.x[0] for x in layers])), 1 - active) if active < 1 else 0
    prepared = [Prepared(layer, active, np.array([limit], np.float32)) for layer in layers]
    part, kind = len(layers) // PARTS, layers[0].kind

    def jobs_of(thread: int, threads: int) -> Any:
        return (Job * len(layers))(*(p.job(thread, threads) for p in prepared))

    jobs = [[jobs_of(i, n) for i in range(n)] for n in range(1, most_threads + 1)]
    run = library(isa, kind).run
    run(jobs[0][0], ctypes.c_int64(len(layers)))  # makes the lists: other threads read those of the turn before

    def work(thread: int, threads: int, turn: int) -> None:
        assert prepared  # jobs are addresses of what it holds
        own = jobs[threads - 1][thread]
        run(ctypes.byref(own, turn % PARTS * part * ctypes.sizeof(Job)), ctypes.c_int64(part))

    return work


def results(given: Any) -> Iterator[Result]:
    large = given.pages == "large"
    probe = Probe(given.isa, large)
    for outputs, inputs in given.shapes:
        dense: dict[int, float] = {}
        for kind in given.kinds:
            wide = pack.SIDE_BY_SIDE if kind == "qc8" else pack.tile_for(outputs)
            tile = 0 if given.by == "output" else given.tile or wide
            size = outputs * inputs * WIDTH[kind]
            for tokens in given.tokens:
                number_of = PARTS * (max(1, -(-int(TURN_BYTES) // (PARTS * size))) if tokens == 1 else 1)
                layers = [Layer(kind, outputs, inputs, tile, tokens, seed, large) for seed in range(number_of)]
                shares = given.active if tokens == 1 else (1.0,)
                works: list[Work] = [
                    probe,
                    *(some_layers(layers, active, given.isa, max(given.threads)) for active in shares),
                ]
                for threads in given.threads:
                    taken = rounds(works, threads, given.repeats)
                    low = np.quantile(taken, FAST, axis=0)
                    reading = PROBE_PART / float(low[0]) / 1e9
                    for i, active in enumerate(shares):
                        us = float(low[i + 1]) / (number_of // PARTS) * 1e6
                        gbs = size * active / us / 1e3
                        if kind == "qc8" and tokens == 1:
                            dense.setdefault(threads, us)
                        faster = dense[threads] / us if threads in dense and tokens == 1 else None
                        gops = 2e-3 * outputs * inputs * active * tokens / us
                        yield Result(
                            kind, given.isa, outputs, inputs, active, threads, tokens, us, gbs, reading, gbs / reading,
                            gops, faster,
                        )  # fmt: skip
                del layers, works


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.decode_kernels", description=__doc__.partition("\n")[0])
    shapes = ",".join(f"{o}x{i}" for o, i in SHAPES)
    parser.add_argument("--isa", default="avx512vnni")
    parser.add_argument("--kinds", default="qc8,f16,f32")
    parser.add_argument("--shapes", default=shapes, help="outputs x inputs, comma-separated")
    parser.add_argument("--active", default="1,0.7,0.5,0.3", help="shares of inputs (or outputs) that are not skipped")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--tokens", default="1", help="more than 1: the kernels for prompts")
    parser.add_argument(
        "--by", choices=("input", "output"), default="input", help="how weights lie, and what is skipped"
    )
    parser.add_argument("--tile", type=int, default=0, help="outputs of a tile; 0: as models have them")
    parser.add_argument(
        "--pages",
        choices=("large", "small"),
        default="large",
        help="of memory that weights lie in; sessions' are large",
    )
    parser.add_argument("--repeats", type=int, default=40)
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
    save(given.json, ({**asdict(r), "by": given.by, "pages": given.pages, "machine": machine} for r in found))


if __name__ == "__main__":
    main()
