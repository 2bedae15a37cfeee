"""``python -m bench.llm_int4``: all linear layers of a decoder in 4 bits, beside llama.cpp's whole decoder.

Ours are kernels in a loop: choosing and quantising inputs included, attention, norms and sampling not. They are timed
in turns with llama.cpp, on the same cores; on one core by the time that the process had it, so that other programs
cost less. Weights of ours lie in large pages, as a session puts them there.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import as_typed
from bench.llm_llama_cpp import LlamaCpp
from bench.llm_shape import SHAPES, Shape
from bench.machine import facts
from bench.results import save
from edgesparse.build import kernel_object, zig
from edgesparse.decoder.gqsa import shares
from edgesparse.decoder.pack_qb4 import PANEL, STRIP
from edgesparse.devices import load_device
from edgesparse.kernels import find
from edgesparse.report import print_table
from edgesparse.types import Array

Given = tuple[Array | int | None, ...]
STEMS = (
    "dense_qb4", "columns_qb4", "rows_qb4", "blocks_qb4", "select_qb4", "quantise_f32", "quantise16_f32",
)  # fmt: skip
ARGUMENTS, MOST_THREADS, HUGE, AREA = 20, 8, 1 << 21, 1 << 28
BLOCK = {"dense": 32, "columns": 64}
"""Inputs that share a scale. 32 is what Q4_0 has; scales are read whatever is skipped, so that fewer are better."""


class Call(ctypes.Structure):
    """``call`` of llm_int4.c."""

    _fields_ = [
        ("f", ctypes.c_void_p), ("a", ctypes.c_uint64 * ARGUMENTS), ("at", ctypes.c_int64),
        ("begin", ctypes.c_int64 * MOST_THREADS), ("end", ctypes.c_int64 * MOST_THREADS),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """``tokens_s``: the median over rounds; ``gbs``: 1e9 bytes of weights that were needed, a second."""

    variant: str
    shape: str
    threads: int
    tokens_s: float
    best_tokens_s: float
    gbs: float
    version: str


COLUMNS = ("shape", "weights", "threads", "tokens/s", "best", "GB/s", "x llama.cpp", "version")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["shape"], row["variant"], str(row["threads"]), f"{row['tokens_s']:.1f}", f"{row['best_tokens_s']:.1f}",
        f"{row['gbs']:.1f}", f"{row['x_peer']:.2f}", row["version"],
    )  # fmt: skip


class Kernels:
    """The kernels of ``isa``, by stem, and the loop that calls them."""

    def __init__(self, isa: str) -> None:
        target, made, lines = load_device("host").target, [], []
        for stem in STEMS:
            kernel = find(stem, isa, {})
            assert kernel is not None
            made.append(kernel_object(kernel, target))
            symbol = kernel.symbol
            lines.append(f'void {symbol}(void);\n__attribute__((visibility("default"))) void *at_{stem} = {symbol};\n')
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "table.c").write_text("".join(lines))
            source = Path(__file__).with_suffix(".c")
            options = ["-target", target.triple, "-O2", "-g0", "-shared", "-fPIC", "-nostdlib", "-Wno-pedantic"]
            zig("cc", [*options, source, Path(folder) / "table.c", *made, "-o", Path(folder) / "int4.so"], Path(folder))
            self._library = ctypes.CDLL(str(Path(folder) / "int4.so"))
        self.run = self._library.run

    def __getitem__(self, stem: str) -> int:
        return int(ctypes.c_void_p.in_dll(self._library, f"at_{stem}").value or 0)


class Pages:
    """Memory in large pages, which has to be asked for in large areas: the weights of one model lie in one."""

    def __init__(self) -> None:
        self._area, self._used = np.zeros(0, np.uint8), 0

    def take(self, size: int) -> Array:
        """``size`` bytes on a line of the cache of their own."""
        if self._used + size > self._area.size:
            room = max(AREA, -(-size // HUGE) * HUGE)
            area = mmap.mmap(-1, room + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            area.madvise(mmap.MADV_HUGEPAGE)
            data = np.frombuffer(area, np.uint8)
            skip = -data.ctypes.data % HUGE
            self._area, self._used = data[skip : skip + room], 0
        begin, self._used = self._used, self._used + -(-size // 64) * 64
        return self._area[begin : begin + size]


class Stack:
    """All matrices of a decoder in one layout, and the calls that a token takes."""

    def __init__(self, kernels: Kernels, shape: Shape, layout: str, active: float, most_threads: int) -> None:
        self._kernels, self._layout, self._active, self.bytes = kernels, layout, active, 0
        self._random = np.random.default_rng(0)
        self._noise = self._random.integers(0, 256, 1 << 22, np.uint8)
        self._keep: list[Array] = []
        self._pages = Pages()
        self._most = most_threads
        self._limit = self._array(np.array([np.sqrt(2) * _inverse_erf(1 - active)], np.float32))
        room = max(shape.dim, shape.hidden)
        self._x = self._array(self._random.standard_normal(room).astype(np.float32))
        sizes = ((np.int8, room), (np.float32, room // 16), (np.int32, room // 16), (np.int32, room), (np.int32, room))
        self._lists = [self._array(np.zeros(n + 64, dtype)) for dtype, n in (*sizes, (np.int32, 1))]
        self._y = self._array(np.zeros(max(shape.vocabulary, shape.hidden), np.float32))
        calls: list[Call] = []
        for _ in range(shape.layers):
            last = 0
            for site, outputs, inputs in shape.linears():
                if inputs != last or site in ("o", "gate"):  # q, k and v, and gate and up, read the same
                    calls.append(self._inputs(inputs, True))
                last = inputs
                calls.append(self._matrix(outputs, inputs, layout))
        head = "dense" if layout == "columns" else layout  # no rule skips what the head reads
        calls += [self._inputs(shape.dim, False), self._matrix(shape.vocabulary, shape.dim, head)]
        self.calls = (Call * len(calls))(*calls)

    def _array(self, array: Array) -> Array:
        self._keep.append(array)
        return array

    def _filled(self, size: int) -> Array:
        """Random bytes; as halves they are small."""
        data = self._array(self._pages.take(size))
        for at in range(0, size, self._noise.size):
            data[at : at + self._noise.size] = self._noise[: size - at]
        return data

    def _scales(self, count: int) -> Array:
        data = self._filled(2 * count).view(np.float16)
        data[:] = 0.02
        return data

    def _call(self, stem: str, arguments: Sequence[Array | int | None], cuts: Sequence[tuple[int, int]] = ()) -> Call:
        """``cuts``: the pieces of each thread, if it is divided: arguments at the end are begin and end."""
        words = [0 if a is None else a if isinstance(a, int) else a.ctypes.data for a in arguments]
        call = Call(self._kernels[stem], at=len(words) if cuts else -1)
        call.a[: len(words)] = words
        for i, (begin, end) in enumerate(cuts):
            call.begin[i], call.end[i] = begin, end
        return call

    def _inputs(self, inputs: int, rule: bool) -> Call:
        q, scale, total, index, start, count = self._lists
        if self._layout == "columns" and rule:
            given: Given = (self._x, self._limit, index, q, scale, total, start, count, inputs, BLOCK["columns"], 0)
            return self._call("select_qb4", given)
        stem = "quantise16_f32" if self._layout == "blocks" else "quantise_f32"
        return self._call(stem, (self._x, q, scale, total, inputs))

    def _matrix(self, outputs: int, inputs: int, layout: str) -> Call:
        q, scale, total, index, start, _ = self._lists
        threads = self._most
        given: Given
        if layout == "blocks":
            keep = self._random.random((outputs // 4, inputs // 16)) < self._active
            kept = int(keep.sum())
            begins = self._array(np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int32))
            column = self._array(np.nonzero(keep)[1].astype(np.uint16))
            self.bytes += 42 * kept
            given = (
                self._filled(32 * kept),
                self._scales(4 * kept),
                column,
                begins,
                None,
                q,
                scale,
                total,
                self._y,
                outputs,
            )
            return self._call("blocks_qb4", given, shares(begins, threads))
        step = STRIP if layout == "columns" else PANEL
        room = -(-outputs // step) * step * inputs
        weights, scales = self._filled(room // 2), self._scales(room // BLOCK[layout])
        if layout == "columns":
            self.bytes += int((weights.nbytes * self._active) + scales.nbytes)
            ends = (inputs, outputs, BLOCK[layout])
            given = (weights, scales, None, index, start, q, scale, total, self._y, *ends)
            return self._call("columns_qb4", given, _equal(-(-outputs // STRIP), threads))
        self.bytes += weights.nbytes + scales.nbytes
        given = (weights, scales, None, q, scale, total, self._y, inputs, outputs, BLOCK[layout])
        return self._call("dense_qb4", given, _equal(-(-outputs // PANEL), threads))

    def seconds(self, cpus: Sequence[int], tokens: int) -> list[float]:
        """Of each of ``tokens``. The stack was made for as many threads as there are ``cpus``."""
        gate = ctypes.c_int64(0)
        both = threading.Barrier(len(cpus))
        taken: list[float] = []
        clock = time.thread_time if len(cpus) == 1 else time.perf_counter

        def work(thread: int) -> None:
            os.sched_setaffinity(0, {cpus[thread]})
            for _ in range(tokens):
                both.wait()
                gate.value = 0
                both.wait()
                begin = clock()
                ends = map(ctypes.c_int64, (len(self.calls), thread, len(cpus)))
                self._kernels.run(self.calls, *ends, ctypes.byref(gate))
                if thread == 0:
                    taken.append(clock() - begin)

        team = [threading.Thread(target=work, args=(i,)) for i in range(len(cpus))]
        for member in team:
            member.start()
        for member in team:
            member.join()
        return taken


def _equal(pieces: int, threads: int) -> list[tuple[int, int]]:
    return [(pieces * i // threads, pieces * (i + 1) // threads) for i in range(threads)]


def _inverse_erf(y: float) -> float:
    """By halving: normal numbers are larger than ``sqrt(2)`` of it with probability ``1 - y``."""
    from math import erf

    low, high = 0.0, 6.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if erf(middle) < y else (low, middle)
    return low


def results(given: Any) -> Iterator[Result]:
    shape = SHAPES[given.shape]
    kernels = Kernels(given.isa)
    kinds = [("dense", 1.0), ("blocks", 0.5), *(("columns", a) for a in given.active)]
    for threads in given.threads:
        cpus = tuple(sorted(os.sched_getaffinity(0))[-threads:])
        stacks = {f"{layout} {share:.0%}": Stack(kernels, shape, layout, share, threads) for layout, share in kinds}
        with LlamaCpp(shape, "q4_0", cpus) as peer:
            peer.seconds(1)
            taken: dict[str, list[float]] = {name: [] for name in (*stacks, "llama.cpp Q4_0")}
            for _ in range(given.rounds):
                for name, stack in stacks.items():
                    taken[name] += stack.seconds(cpus, given.tokens)
                taken["llama.cpp Q4_0"] += peer.seconds(given.tokens)
        for name, seconds in taken.items():
            needed = stacks[name].bytes if name in stacks else shape.weights * 18 // 32
            middle = statistics.median(seconds)
            version = peer.version if name not in stacks else given.isa
            yield Result(name, shape.name, threads, 1 / middle, 1 / min(seconds), needed / middle / 1e9, version)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.llm_int4", description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", default="tinyllama", help=f"of {', '.join(SHAPES)} (%(default)s)")
    parser.add_argument("--isa", default="avx512vnni")
    parser.add_argument("--active", default="0.5,0.3", help="shares of inputs that are not skipped")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--tokens", type=int, default=8, help="in a row, before the next takes its turn (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    given.active = [float(a) for a in given.active.split(",")]
    given.threads = [int(t) for t in given.threads.split(",")]
    rows = [asdict(r) for r in results(given)]
    peers = {r["threads"]: r["tokens_s"] for r in rows if r["variant"].startswith("llama.cpp")}
    rows = [{**r, "x_peer": r["tokens_s"] / peers[r["threads"]]} for r in rows]
    print_table("", COLUMNS, [cells(row) for row in rows])
    common = {"what": "int4 and llama.cpp", "command": as_typed(parser, arguments, given.json)}
    save(given.json, [{**common, "machine": facts(*sorted(os.sched_getaffinity(0))), **row} for row in rows])


if __name__ == "__main__":
    main()
