"""``python -m bench.llm``: whole decoders with random weights, token by token: dense, and by methods that skip inputs.

All variants of a shape are open at once and take turns, and with them a loop that only reads memory. Timed are runs for
a single token: the first token of a text comes out of the prompt, which has all inputs, and is not counted. On one core
the time counts for which the process had it, so that other programs cost less; they still take their part of the
memory's bandwidth and of the cache. With ``--llama-cpp`` that takes turns, too, with weights of Q4_0.
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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import as_typed, note
from bench.decode_kernels import library
from bench.llm_llama_cpp import LlamaCpp
from bench.llm_rules import METHODS, random_decoder, random_tokens
from bench.llm_shape import SHAPES, Shape
from bench.machine import facts
from bench.results import save
from edgesparse import runtimes
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.store import FORMS, form_of
from edgesparse.manifest_decoder import DecoderFacts
from edgesparse.report import print_table
from edgesparse.runtimes.generation import Cost, Request
from edgesparse.runtimes.session import Session

PROBE_BYTES = 256 << 20
MB = 1 << 20
HALF = 0.5
PROMPT = 64  # tokens
MOST_TRIES = 40  # rounds for each that counts, where memory has to be fast enough
BLOCKS = "-blocks"
WEIGHTS = (*FORMS, f"int4{BLOCKS}")
METHODS_ON = "int8"
"""The form of weights that all methods are compared on; of others there is TEAL alone."""


@dataclass(frozen=True, slots=True)
class Variant:
    """``weights``: a form, or int4-blocks: half of the blocks of 4 x 16 left out. ``skipped``: as `METHODS` say, 0 for
    dense."""

    weights: str
    method: str = ""
    skipped: float = 0.0

    @property
    def dense(self) -> Variant:
        """What it is compared with."""
        return Variant(self.weights.removesuffix(BLOCKS))

    def __str__(self) -> str:
        return f"{self.weights}, {self.method} {self.skipped:.0%}" if self.method else self.weights


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over rounds. ``x_dense``: of the dense variant of the same form, in the same round. ``mb``: 1e6 bytes of
    weights that a token needs; ``read_gbs``: what a loop that does nothing else reads on as many threads; ``of_read``:
    of that. ``active``: of the bytes of the linear layers. ``prompt_tokens_s``: of a prompt of `PROMPT`.
    ``resident_mb``: memory that the session added, ``needed_mb`` weights and caches. ``peer``: llama.cpp's version,
    ``peer_tokens_s`` and ``x_peer``, over it in the same round, where it ran."""

    variant: str
    weights: str
    method: str
    skipped: float
    shape: str
    threads: int
    tokens_s: float
    best_tokens_s: float
    x_dense: float
    prompt_tokens_s: float
    mb: float
    gbs: float
    read_gbs: float
    of_read: float
    active: float
    resident_mb: float
    needed_mb: float
    peer: str | None
    peer_tokens_s: float | None
    x_peer: float | None


COLUMNS = (
    "shape", "weights", "threads", "tokens/s", "x dense", "MB/token", "GB/s", "memory GB/s", "of it", "active",
    "prompt tokens/s", "resident MB", "weights and caches MB", "x llama.cpp Q4_0",
)  # fmt: skip


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["shape"], row["variant"], str(row["threads"]), f"{row['tokens_s']:.1f}", f"{row['x_dense']:.2f}",
        f"{row['mb']:.0f}", f"{row['gbs']:.1f}", f"{row['read_gbs']:.1f}", f"{row['of_read']:.0%}",
        f"{row['active']:.0%}", f"{row['prompt_tokens_s']:.0f}", f"{row['resident_mb']:.0f}", f"{row['needed_mb']:.0f}",
        f"{row['x_peer']:.2f} ({row['peer_tokens_s']:.1f} tokens/s)" if row.get("x_peer") else "",
    )  # fmt: skip


class Reader:
    """Reads memory in large pages, on as many threads."""

    def __init__(self) -> None:
        area = mmap.mmap(-1, PROBE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(mmap.MADV_HUGEPAGE)
        self.data = np.frombuffer(area, np.uint8)
        self.data[:] = 1
        flags = facts()["flags"]
        isa = "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "sse2"
        self.read = library(isa, "qc8").read

    def gbs(self, threads: int) -> float:
        part = PROBE_BYTES // threads
        out = np.zeros((threads, 16), np.float32)

        def work(i: int) -> None:
            at = self.data.ctypes.data + i * part
            self.read(ctypes.c_void_p(at), ctypes.c_void_p(out[i].ctypes.data), ctypes.c_int64(part // 4))

        clock = _clock(threads)
        begin = clock()
        if threads == 1:
            work(0)
        else:
            team = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
            for member in team:
                member.start()
            for member in team:
                member.join()
        return PROBE_BYTES / (clock() - begin) / 1e9


def _clock(threads: int) -> Callable[[], float]:
    """Seconds: of this thread's own where there is no other."""
    return time.thread_time if threads == 1 else time.perf_counter


class Peer:
    """llama.cpp in a process of its own on the last of the CPUs that this one may use."""

    def __init__(self, shape: Shape, threads: int) -> None:
        self.process = LlamaCpp(shape, "q4_0", tuple(sorted(os.sched_getaffinity(0))[-threads:]))
        self.speeds: list[float] = []

    def turn(self, tokens: int) -> None:
        self.speeds.append(tokens / sum(self.process.seconds(tokens)))

    def forget(self) -> None:
        """The last turn."""
        self.speeds.pop()


@dataclass
class Timed:
    """An open bundle, and what was measured of it, by round."""

    variant: Variant
    session: Session
    resident_mb: float
    speeds: list[float] = field(default_factory=list)
    prompts: list[float] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    @property
    def facts(self) -> DecoderFacts:
        assert self.session.manifest.decoder is not None
        return self.session.manifest.decoder

    def turn(self, prompt: Sequence[int], tokens: int, threads: int) -> None:
        """A prompt, and as many tokens after the first one of another text."""
        clock = _clock(threads)
        begin = clock()
        self.session.generate(prompt, Request(1))
        self.prompts.append(len(prompt) / (clock() - begin))
        at: list[float] = []
        self.costs.append(self.session.generate(prompt[:1], Request(tokens + 1), lambda _: at.append(clock())).cost)
        self.speeds.append(tokens / (at[-1] - at[0]))

    def forget(self) -> None:
        """The last turn."""
        self.prompts.pop(), self.costs.pop(), self.speeds.pop()

    def result(self, shape: str, threads: int, dense: Timed, read_gbs: float, peer: Peer | None) -> Result:
        said, active = self.facts, self.costs[-1].active  # the same text in each round
        median, needed = statistics.median(self.speeds), said.bytes_per_token(active)
        layers = said.bytes_per_token([s.entries for s in said.sites]) - said.always_bytes
        gbs = needed * median / 1e9
        return Result(
            str(self.variant), self.variant.weights, self.variant.method, self.variant.skipped, shape, threads, median,
            max(self.speeds), _over(self.speeds, dense.speeds),
            statistics.median(self.prompts), needed / 1e6, gbs, read_gbs, gbs / read_gbs,
            (needed - said.always_bytes) / layers, self.resident_mb,
            (self.session.manifest.weights_bytes + said.cache_bytes) / MB, peer.process.version if peer else None,
            statistics.median(peer.speeds) if peer else None, _over(self.speeds, peer.speeds) if peer else None,
        )  # fmt: skip


def _over(speeds: Sequence[float], others: Sequence[float]) -> float:
    """How many times as fast, the median over rounds."""
    return statistics.median(a / b for a, b in zip(speeds, others, strict=True))


def variants(given: argparse.Namespace) -> Iterator[Variant]:
    """What is compared, the dense one of each form first."""
    for weights in given.weights:
        yield Variant(weights)
        if weights.endswith(BLOCKS):
            continue
        for method in given.methods:
            for active in given.active if method == "teal" else [HALF] if weights == METHODS_ON else []:
                yield Variant(weights, method, round(1 - active, 6))


def bundles(shape: Shape, given: argparse.Namespace, folder: Path) -> dict[Variant, Path]:
    """All variants, compiled."""
    plain = random_decoder(shape)
    tokens = random_tokens(plain)
    ruled = {("", 0.0): plain}
    found = {}
    for number, variant in enumerate(variants(given)):
        rules = variant.method, variant.skipped
        if rules not in ruled:
            note(f"{shape.name}: thresholds of {variant.method}")
            ruled[rules] = METHODS[variant.method](plain, tokens, variant.skipped)
        note(f"{shape.name}: compiling {variant}")
        found[variant] = compile_decoder(
            ruled[rules], "host", folder / f"{number}.edge", weights=form_of(variant.dense.weights),
            block_sparsity=HALF if variant.weights.endswith(BLOCKS) else 0.0,
        )  # fmt: skip
    return found


def results(given: argparse.Namespace) -> Iterator[Result]:
    reader = Reader()
    for name in given.shape:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            compiled = bundles(SHAPES[name], given, Path(folder))
            for threads in given.threads:
                note(f"{name}: {given.rounds} rounds on {threads} threads")
                yield from _measured(SHAPES[name], compiled, threads, given, reader)


def _measured(
    shape: Shape, compiled: Mapping[Variant, Path], threads: int, given: argparse.Namespace, reader: Reader
) -> Iterator[Result]:
    prompt = np.random.default_rng(2).integers(0, shape.vocabulary, PROMPT).tolist()
    with ExitStack() as stack:
        timed: dict[Variant, Timed] = {}
        for variant, bundle in compiled.items():
            before = _resident_mb()
            session = stack.enter_context(runtimes.open(bundle, "local", threads=threads))
            session.generate(prompt, Request(2))
            timed[variant] = Timed(variant, session, _resident_mb() - before)
        read, peer = [], Peer(shape, threads) if given.llama_cpp else None
        if peer:
            stack.enter_context(peer.process)
        for _ in range(given.rounds * (MOST_TRIES if given.memory else 1)):
            before = reader.gbs(threads)
            for one in timed.values():
                one.turn(prompt, given.tokens, threads)
            if peer:
                peer.turn(given.tokens)
            if given.memory and min(before, reader.gbs(threads)) < given.memory:
                for one in timed.values():
                    one.forget()
                if peer:
                    peer.forget()
                continue
            read.append(before)
            if len(read) == given.rounds:
                break
        else:
            raise SystemExit(f"memory streamed {given.memory:g} GB/s in {len(read)} rounds, not in {given.rounds}")
        for variant, one in timed.items():
            yield one.result(shape.name, threads, timed.get(variant.dense, one), statistics.median(read), peer)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def _some(known: Collection[str]) -> Callable[[str], list[str]]:
    """Parses some of ``known``, commas between them."""

    def names(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no '{name}': {', '.join(known)}")
        return found

    return names


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.llm", description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", type=_some(SHAPES), default="tinyllama", help="tinyllama,wide: both (%(default)s)")
    parser.add_argument("--weights", type=_some(WEIGHTS), default="int8,int4,int4-blocks",
        help="forms; int4-blocks: half of the blocks of 4 x 16 (%(default)s)")  # fmt: skip
    parser.add_argument("--methods", type=_some(METHODS), default="teal",
        help=f"{','.join(METHODS)}; those but teal at half, with weights of {METHODS_ON} (%(default)s)")  # fmt: skip
    parser.add_argument("--active", default="0.5,0.3", help="teal's shares of inputs that count (%(default)s)")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--tokens", type=int, default=16, help="in a row, before the next takes its turn (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", type=float, default=0.0, metavar="GBS",
        help="count rounds alone before and after which memory streams so much")  # fmt: skip
    parser.add_argument("--llama-cpp", action="store_true", help="beside Q4_0 of llama.cpp, which is built once")
    parser.add_argument("--folder", type=Path, help="for bundles; there have to be some gigabytes free")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    given.active = [float(a) for a in given.active.split(",")]
    given.threads = [int(t) for t in given.threads.split(",")]
    machine = facts(*sorted(os.sched_getaffinity(0)))  # its load is that before
    rows = [asdict(r) for r in results(given)]
    print_table("", COLUMNS, [cells(row) for row in rows])
    common = {"what": "decoders", "command": as_typed(parser, arguments, given.json), "machine": machine}
    save(given.json, [{**common, **row} for row in rows])


if __name__ == "__main__":
    main()
