"""``python -m bench.llm_web CHECKPOINT..``: decoders in node.js and Chromium, token by token, on one core.

Checkpoints are what `edgesparse import-llm` takes; ``--shapes`` are of `bench.llm_shape`, with random weights. Bundles
are loaded as load() does, in pages in a worker, and continue the same prompt several times, in both builds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.command import as_typed
from bench.llm_rules import random_decoder
from bench.llm_shape import SHAPES
from bench.machine import facts
from bench.results import save
from bench.wasm.places import WEB, Chromium, Unavailable, node_program, on_core
from bench.wasm.server import serve
from edgesparse.decoder.checkpoint import load_checkpoint
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import Decoder
from edgesparse.decoder.store import FORMS, form_of
from edgesparse.decoder.tokenizer import BYTES, load_tokenizer
from edgesparse.errors import EdgeSparseError, RuntimeFailure
from edgesparse.report import print_table, progress

BUILDS = {"relaxed": True, "simd128": False}
PLACES = ("node", "chromium")
PROMPT = "def read_file(path):"
LIMIT_S = 600
COLUMNS = (
    "model", "weights", "where", "build", "tokens/s", "fastest", "prompt, ms", "MB a token", "load, s", "memory, MB"
)  # fmt: skip
# In node 20 the baseline compiler gets dot products of bytes wrong, and elsewhere times begin with optimised code.
NODE_FLAGS = ("--no-liftoff",)
# The peak of this memory alone: what getrusage says has that of the process that started it.
IN_NODE = """
import { readFileSync } from "node:fs";
const { timed } = await import(process.argv[1]);
const found = await timed(JSON.parse(process.argv[2]));
const peak = /VmHWM:\\s+(\\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
console.log(JSON.stringify({ ...found, resident_bytes: 1024 * Number(peak[1]) }));
"""


def in_node(bundle: Path, options: Mapping[str, Any], cpu: int) -> dict[str, Any]:
    """Raises RuntimeFailure: it does not run."""
    path, _, relaxed = node_program()
    given = json.dumps({"bundle": bundle.absolute().as_uri(), **options})
    command = [
        path,
        *relaxed,
        *NODE_FLAGS,
        "--input-type=module",
        "-e",
        IN_NODE,
        (WEB / "language.mjs").as_uri(),
        given,
    ]
    with on_core(cpu):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL
        )
    if done.returncode != 0:
        raise RuntimeFailure(f"node.js: {done.stderr.strip()[-500:]}", where=str(bundle))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_chromium(chromium: Chromium, origin: str, options: Mapping[str, Any]) -> dict[str, Any]:
    with ExitStack() as stack:
        found: dict[str, Any] = chromium.page(stack).evaluate(
            "async (options) => (await import('/web/language.mjs')).timed(options)",
            {"bundle": f"{origin}/case/lm.edge", **options},
        )
        return found


def models(given: argparse.Namespace) -> Iterator[tuple[str, Decoder, tuple[str, bytes] | None, Sequence[str]]]:
    """(name, decoder, its tokenizer, its forms of weights)."""
    for checkpoint in given.checkpoints:
        decoder = load_checkpoint(checkpoint)
        tokenizer = load_tokenizer(checkpoint, decoder.vocabulary)
        file = (tokenizer.file_name, tokenizer.to_bytes()) if tokenizer.file_name else None
        yield checkpoint.stem, decoder, file, given.weights
    for name in given.shapes:
        decoder = random_decoder(SHAPES[name])
        words = None if decoder.vocabulary == BYTES else ("tokenizer.bin", made_tokenizer(decoder.vocabulary))
        yield name, decoder, words, given.shape_weights


def made_tokenizer(vocabulary: int) -> bytes:
    """Bytes, and words that nobody writes, in the form of llama2.c."""
    pieces = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % i for i in range(256))]
    pieces += [b"<word %d>" % i for i in range(vocabulary - len(pieces))]
    return struct.pack("<i", 16) + b"".join(struct.pack("<fi", 0, len(p)) + p for p in pieces)


def measured(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each model, form, place and build."""
    rows: list[dict[str, Any]] = []
    mounts: dict[str, Path] = {"web": WEB}
    with ExitStack() as stack:
        origin = stack.enter_context(serve(mounts))
        chromium = Chromium(origin, given.cpu, (), stack) if "chromium" in given.places else None
        version = {"node": node_program()[1], "chromium": chromium.version if chromium else ""}
        on_progress = stack.enter_context(progress("llm_web"))
        for name, decoder, tokenizer, forms in models(given):
            for form in forms:
                folder = mounts["case"] = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
                on_progress(len(rows), len(rows) + 1, f"compiling {name}, {form}")
                bundle = compile_decoder(
                    decoder, "browser", folder / "lm.edge", weights=form_of(form), tokenizer=tokenizer
                )
                most = min(given.tokens, decoder.context - len(PROMPT) - 2)
                for where in given.places:
                    for build, relaxed in BUILDS.items():
                        on_progress(len(rows), len(rows) + 1, f"{name}, {form}, {where}, {build}")
                        options = {"relaxed": relaxed, "prompt": PROMPT, "maxTokens": most, "rounds": given.rounds}
                        found = in_chromium(chromium, origin, options) if where == "chromium" and chromium else (
                            in_node(bundle, options, given.cpu)
                        )  # fmt: skip
                        rows.append({
                            "model": name, "weights": form, "where": where, "build": build, "version": version[where],
                            **found,
                        })  # fmt: skip
    return rows


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    resident = f"{row['resident_bytes'] / 1e6:.0f}" if "resident_bytes" in row else ""
    return (
        row["model"], row["weights"], row["where"], row["build"], f"{statistics.median(row['tokens_s']):.4g}",
        f"{max(row['tokens_s']):.4g}", f"{statistics.median(row['prompt_ms']):.3g}",
        f"{row['bytes_per_token'] / 1e6:.3g}", f"{row['load_ms'] / 1e3:.2f}", resident,
    )  # fmt: skip


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.llm_web", description=__doc__.partition("\n\n")[0])
    parser.add_argument("checkpoints", nargs="*", type=Path, help="llama2.c .bin, or folders of Hugging Face")
    parser.add_argument("--weights", type=_words, default=["int8", "f32"], help=f"of {', '.join(FORMS)} (int8,f32)")
    parser.add_argument("--shapes", type=_words, default=[], help=f"with random weights: {', '.join(SHAPES)}")
    parser.add_argument("--shape-weights", type=_words, default=["int4"], help="their weights (int4)")
    parser.add_argument("--in", dest="places", type=_words, default=list(PLACES), help="node,chromium")
    parser.add_argument(
        "--tokens", type=int, default=200, help="in each round, as far as the context goes (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="timed ones (%(default)s)")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core")
    parser.add_argument("--json", type=Path, help="write one JSON line per row to this file")
    given = parser.parse_args(arguments)
    if unknown := {*given.places} - {*PLACES}:
        parser.error(f"no place {', '.join(unknown)}")
    if unknown := {*given.shapes} - {*SHAPES}:
        parser.error(f"no shape {', '.join(unknown)}")
    try:
        rows = measured(given)
    except Unavailable as error:
        print(f"bench.llm_web: {error}", file=sys.stderr)
        return 4
    except EdgeSparseError as error:
        print(f"bench.llm_web: {error}", file=sys.stderr)
        return error.exit_code
    print_table("", COLUMNS, [cells(row) for row in rows])
    common = {"what": "decoders in WebAssembly", "command": as_typed(parser, arguments, given.json)}
    save(given.json, [{**common, "machine": facts(given.cpu), **row} for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
