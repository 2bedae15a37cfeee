"""``python -m bench.llm``: whole decoders with random weights, token by token: dense, and by shares of active inputs.

Thresholds are quantiles of what each layer of the random network reads, of one threshold a layer. All variants are open
at once and take turns, and with them a loop that only reads memory. On one core the time counts for which the process
had it, so that other programs cost less; they still take their part of the memory's bandwidth and of the cache.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import as_typed
from bench.decode_kernels import library
from bench.llm_shape import SHAPES, Shape
from bench.machine import facts
from bench.results import save
from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import Block, Decoder, InputRule, Linear
from edgesparse.decoder.reference import logits
from edgesparse.decoder.store import form_of
from edgesparse.report import print_table
from edgesparse.runtimes.generation import Request
from edgesparse.runtimes.session import Session
from edgesparse.types import Array

CALIBRATED = 24  # tokens
PROBE_BYTES = 256 << 20
MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over rounds. ``mb``: 1e6 bytes of weights that a token needs; ``read_gbs``: what a loop that does nothing
    else reads on as many threads; ``of_read``: of that. ``active``: of the weights of the linear layers.
    ``prompt_tokens_s``: of a prompt of 64. ``resident_mb``: memory that the session added, ``needed_mb`` weights and
    caches."""

    variant: str
    shape: str
    threads: int
    tokens_s: float
    best_tokens_s: float
    prompt_tokens_s: float
    mb: float
    gbs: float
    read_gbs: float
    of_read: float
    active: float
    resident_mb: float
    needed_mb: float


COLUMNS = (
    "shape", "weights", "threads", "tokens/s", "x dense", "MB/token", "GB/s", "memory GB/s", "of it", "active",
    "prompt tokens/s", "resident MB", "weights and caches MB",
)  # fmt: skip


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["shape"], row["variant"], str(row["threads"]), f"{row['tokens_s']:.1f}", f"{row['x_dense']:.2f}",
        f"{row['mb']:.0f}", f"{row['gbs']:.1f}", f"{row['read_gbs']:.1f}", f"{row['of_read']:.0%}",
        f"{row['active']:.0%}", f"{row['prompt_tokens_s']:.0f}", f"{row['resident_mb']:.0f}", f"{row['needed_mb']:.0f}",
    )  # fmt: skip


def random_decoder(shape: Shape) -> Decoder:
    """Blocks share their arrays here, but are stored one by one."""
    rng = np.random.default_rng(0)

    def halves(outputs: int, inputs: int) -> Array:
        weight: Array = (rng.standard_normal((outputs, inputs), np.float32) / np.sqrt(inputs)).astype(np.float16)
        return weight

    layers = {site: Linear(halves(outputs, inputs)) for site, outputs, inputs in shape.linears()}
    gain = np.ones(shape.dim, np.float32)
    block = Block(attention_norm=gain, mlp_norm=gain, **layers)  # type: ignore[arg-type]
    size = shape.dim // shape.heads
    return Decoder(
        shape.name, halves(shape.vocabulary, shape.dim) * np.float16(8), (block,) * shape.layers, gain,
        halves(shape.vocabulary, shape.dim), shape.heads, shape.kv_heads, size, shape.context,
        10000.0 ** (-np.arange(size // 2) / (size // 2)), False, 1e-5, "silu", size**-0.5, dense_positions=0,
    )  # fmt: skip


def with_shares(decoder: Decoder, shares: Sequence[float], windows: Array | None = None) -> dict[float, Decoder]:
    """``decoder`` by share of active inputs: a threshold for each layer, its quantile over ``windows``, (n, w), or else
    `CALIBRATED` random tokens."""
    found: dict[tuple[int, str], dict[float, float]] = {}

    def watch(block: int, site: str, x: Array) -> None:
        found[block, site] = {s: float(np.quantile(np.abs(x), 1 - s)) for s in shares}

    tokens = np.random.default_rng(1).integers(0, decoder.vocabulary, (1, CALIBRATED))
    logits(decoder, tokens if windows is None else windows, watch)

    def ruled(index: int, block: Block, share: float) -> Block:
        def rule(site: str) -> InputRule:
            return InputRule("teal", 1 - share, np.array([found[index, site][share]], np.float32))

        layers = {site: replace(layer, rule=rule(site)) for site, layer in block.linears()}
        return replace(block, **layers)  # type: ignore[arg-type]

    return {
        share: replace(decoder, blocks=tuple(ruled(i, b, share) for i, b in enumerate(decoder.blocks)))
        for share in shares
    }


class Reader:
    """Reads memory in large pages, on as many threads."""

    def __init__(self) -> None:
        area = mmap.mmap(-1, PROBE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(mmap.MADV_HUGEPAGE)
        self.data = np.frombuffer(area, np.uint8)
        self.data[:] = 1
        self.read = library("avx512", "qc8").read

    def gbs(self, threads: int) -> float:
        part = PROBE_BYTES // threads
        out = np.zeros((threads, 16), np.float32)

        def work(i: int) -> None:
            at = self.data.ctypes.data + i * part
            self.read(ctypes.c_void_p(at), ctypes.c_void_p(out[i].ctypes.data), ctypes.c_int64(part // 4))

        seconds = _clock(threads)
        if threads == 1:
            work(0)
        else:
            team = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
            for member in team:
                member.start()
            for member in team:
                member.join()
        return PROBE_BYTES / seconds() / 1e9


def _clock(threads: int) -> Callable[[], float]:
    """Seconds from now on: of this thread's own where there is no other."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    begin = clock()
    return lambda: clock() - begin


def variants(shape: Shape, given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """What is compared: (what, bundle)."""
    plain = random_decoder(shape)
    sparse = with_shares(plain, [a for a in given.active if a < 1])
    for weights in given.weights:
        form, blocks = form_of(weights.removesuffix("-blocks")), weights.endswith("-blocks")
        for share, decoder in {1.0: plain, **({} if blocks else sparse)}.items():
            what = f"{weights}, {100 * share:.0f}% active"
            bundle = folder / f"{weights}-{share}.edge"
            yield what, compile_decoder(decoder, "host", bundle, weights=form, block_sparsity=0.5 if blocks else 0.0)


def results(given: argparse.Namespace) -> Iterator[Result]:
    shape, reader = SHAPES[given.shape], Reader()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bundles = dict(variants(shape, given, Path(folder)))
        for threads in given.threads:
            yield from _measured(shape, bundles, threads, given, reader)


def _measured(
    shape: Shape, bundles: dict[str, Path], threads: int, given: argparse.Namespace, reader: Reader
) -> Iterator[Result]:
    prompt = np.random.default_rng(2).integers(0, shape.vocabulary, 64).tolist()
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        resident = {}
        for what, bundle in bundles.items():
            before = _resident_mb()
            sessions[what] = stack.enter_context(runtimes.open(bundle, "local", threads=threads))
            sessions[what].generate(prompt, Request(2))
            resident[what] = _resident_mb() - before
        speeds: dict[str, list[float]] = {what: [] for what in bundles}
        prompts: dict[str, list[float]] = {what: [] for what in bundles}
        costs, read = {}, []
        for _ in range(given.rounds):
            read.append(reader.gbs(threads))
            for what, session in sessions.items():
                seconds = _clock(threads)
                session.generate(prompt, Request(1))
                prompts[what].append(len(prompt) / seconds())
                seconds = _clock(threads)
                costs[what] = session.generate(prompt[:1], Request(given.tokens)).cost
                speeds[what].append(given.tokens / seconds())  # the prompt is one more
        for what, session in sessions.items():
            decoder = session.manifest.decoder
            assert decoder is not None
            median, needed = statistics.median(speeds[what]), decoder.bytes_per_token(list(costs[what].active))
            units = [(s.unit_bytes * a, s.unit_bytes * s.entries)
                     for s, a in zip(decoder.sites, costs[what].active, strict=True)]  # fmt: skip
            gbs, gbs_read = needed * median / 1e9, statistics.median(read)
            yield Result(
                what, shape.name, threads, median, max(speeds[what]), statistics.median(prompts[what]), needed / 1e6,
                gbs, gbs_read, gbs / gbs_read, sum(u for u, _ in units) / sum(u for _, u in units), resident[what],
                (session.manifest.weights_bytes + decoder.cache_bytes) / MB,
            )  # fmt: skip


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.llm", description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", default="tinyllama", choices=SHAPES, help="(%(default)s)")
    parser.add_argument("--weights", default="int8,int4,int4-blocks", help="forms; int4-blocks: 50%% of 4 x 16 blocks")
    parser.add_argument("--active", default="0.5,0.3", help="shares of inputs that are not skipped (%(default)s)")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--tokens", type=int, default=8, help="in a row, before the next takes its turn (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="for bundles; there have to be some gigabytes free")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    given.weights = given.weights.split(",")
    given.active = [float(a) for a in given.active.split(",")]
    given.threads = [int(t) for t in given.threads.split(",")]
    rows = [asdict(r) for r in results(given)]
    dense = {
        (r["variant"].split(",")[0], r["threads"]): r["tokens_s"] for r in rows if r["variant"].endswith(" 100% active")
    }
    rows = [{**r, "x_dense": r["tokens_s"] / dense[r["variant"].split(",")[0], r["threads"]]} for r in rows]
    print_table("", COLUMNS, [cells(row) for row in rows])
    common = {"what": "decoders", "command": as_typed(parser, arguments, given.json)}
    save(given.json, [{**common, "machine": facts(*sorted(os.sched_getaffinity(0))), **row} for row in rows])


if __name__ == "__main__":
    main()
