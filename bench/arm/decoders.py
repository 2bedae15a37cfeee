"""``python -m bench.arm.decoders``: executed arm64 instructions of language models, per token, counted under qemu.

`pylm` of ``$EDGESPARSE_DATA``, and one block of TinyLlama's shape with random weights and a vocabulary of 256: in every
form of weights, dense and with activation sparsity (one threshold for each layer, its quantile), on a core with and on
one without dot products of bytes. Two runs of the program of the bundle differ by `TOKENS` tokens; what these took is
counted. Inputs below their threshold are always skipped, also where computing with all of them is said to be no slower.
``--mca``: estimates of inner loops instead, see `bench.arm.decoder_loops`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.activation_sparsity import data
from bench.arm import decoder_loops
from bench.arm.counting import Executed, emulator, run
from bench.arm.tables import numbers
from bench.command import as_typed
from bench.llm_rules import random_decoder, random_tokens, teal
from bench.llm_shape import SHAPES
from bench.machine import facts
from bench.results import write_rows
from edgesparse.build import compiler_version
from edgesparse.decoder import pack, pack_qb4
from edgesparse.decoder.compile import compile_decoder
from edgesparse.decoder.model import Block, Decoder
from edgesparse.decoder.perplexity import log_softmax
from edgesparse.decoder.reference import logits
from edgesparse.decoder.store import BLOCK, FORMS, Form, form_of
from edgesparse.errors import EdgeSparseError, GateError, InputError, RuntimeFailure
from edgesparse.manifest import read_manifest
from edgesparse.report import print_table
from edgesparse.runtimes import generation
from edgesparse.runtimes.facts import parse_facts
from edgesparse.types import Array

DEVICE = "rpi5"
CORES: Mapping[str, str] = {"neon": "cortex-a72", "neon_dotprod": "cortex-a76"}
"""Instruction sets -> qemu's name of a core that has no more than these."""
WITH_DOT_PRODUCTS = ("int8", "int4")
PROMPT, TOKENS, SCORED = 8, 2, 12
ALLOWED: Mapping[str, float] = {"f32": 1e-4, "f16": 1e-4, "int8": 0.03, "int4": 0.03}
"""The largest mean difference of the loss of a token from the NumPy reference with the same rounded weights, in nats:
with weights of 8 and 4 bits, activations are rounded to bytes, too."""
ALLOWED_MORE = 0.3
"""With a rule: where rounding puts one input on the other side of its threshold, all that follows is different."""
COLUMNS = (
    "model", "weights", "instruction set", "inputs left out", "active", "millions a token", "of dense",
    "instructions a weight",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Network:
    """``text``: tokens that it continues, after `PROMPT`; ``variants``: by share of inputs that are active."""

    name: str
    text: Array
    variants: Mapping[float, Decoder]


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["model"], row["weights"], row["isa"], f"{row['sparsity']:.0%}" if row["sparsity"] else "none",
        f"{row['active']:.0%}", f"{row['executed'] / 1e6:.3f}", f"{row['of_dense']:.2f}",
        f"{row['executed'] / row['linear_weights']:.3f}",
    )  # fmt: skip


def networks(names: Sequence[str], shares: Sequence[float]) -> Iterator[Network]:
    """Raises InputError: none of that name, or no data."""
    for name in names:
        if name == "pylm":
            decoder, calibrating, judging = data()
            variants = {share: teal(decoder, calibrating[:4], 1 - share) for share in shares}
            yield Network(name, judging[0], {1.0: decoder, **variants})
        elif name in SHAPES:
            decoder = random_decoder(replace(SHAPES[name], layers=1, vocabulary=256))
            text = np.random.default_rng(2).integers(0, 256, 64)
            variants = {share: teal(decoder, random_tokens(decoder), 1 - share) for share in shares}
            yield Network(f"{name}, one block", text, {1.0: decoder, **variants})
        else:
            raise InputError(f"there is no '{name}'", where="--models", hint=", ".join(["pylm", *SHAPES]))


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for network in networks(given.models, [1 - s for s in given.sparsity if s]):
        for form in map(form_of, given.weights):
            dense: dict[str, float] = {}
            for share, decoder in network.variants.items():
                with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
                    bundle = compile_decoder(decoder, DEVICE, f"{folder}/m.edge", weights=form, break_even=1.0)
                    for isa in CORES if form in WITH_DOT_PRODUCTS else ("neon",):
                        counted = Counted(bundle, CORES[isa], Path(folder))
                        active = counted.check(isa, decoder, network.text, ALLOWED[form] + ALLOWED_MORE * (share < 1))
                        executed = counted.executed(network.text[:PROMPT])
                        yield {
                            "model": network.name, "weights": form, "isa": isa, "core": CORES[isa],
                            "sparsity": round(1 - share, 6), "active": active, "executed": executed,
                            "of_dense": executed / dense.setdefault(isa, executed),
                            "linear_weights": _linear_weights(decoder),
                        }  # fmt: skip


class Counted:
    """The program of a bundle on an emulated ``core``."""

    def __init__(self, bundle: Path, core: str, folder: Path) -> None:
        self.bundle, self.core, self.folder = bundle, core, folder

    def executed(self, prompt: Array) -> float:
        """Instructions of a token, the mean of `TOKENS` after ``prompt``."""

        def count(tokens: int) -> Executed:
            return run([*self._command(prompt), "--max-tokens", str(tokens)], cpu=self.core)

        return (count(1 + TOKENS).instructions - count(1).instructions) / TOKENS

    def check(self, isa: str, decoder: Decoder, text: Array, allowed: float) -> float:
        """The active share of the linear layers' weights, of the tokens that `executed` counts.

        Raises:
            GateError: another instruction set ran, or losses are not those of the reference.
        """
        facts = read_manifest(self.bundle).decoder
        assert facts is not None
        document = self._run([*self._command(text[:PROMPT]), "--max-tokens", str(1 + TOKENS), "--json"])
        if document["isa"] != isa:
            raise GateError(f"{document['isa']} ran on the {self.core}", where=isa, hint="see CORES")
        active = generation.said(document, facts).cost.active
        window = text[:SCORED]
        losses = self.folder / "losses.bin"
        self._run([*self._command(window), "--score", str(window.size), "--output", losses, "--json"])
        rounded = _rounded(decoder, form_of(facts.weights))
        error = float(np.abs(np.fromfile(losses, np.float32) - _losses(rounded, window)).mean())
        if not error <= allowed:
            raise GateError(
                f"losses are off by {error:.2g}, allowed is {allowed:g}", where=f"{self.bundle.name} on {isa}",
                hint="wrong answers are not counted",
            )  # fmt: skip
        read = sum(s.unit_bytes * a for s, a in zip(facts.sites, active, strict=True))
        return read / sum(s.unit_bytes * s.entries for s in facts.sites)

    def _command(self, tokens: Array) -> list[str | Path]:
        given = self.folder / "tokens.bin"
        tokens.astype(np.int32).tofile(given)
        return [self.bundle / "model", "--weights", self.bundle / "weights.bin", "--input", given]

    def _run(self, command: Sequence[str | Path]) -> dict[str, Any]:
        done = subprocess.run([emulator()[0], "-cpu", self.core, *command], capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeFailure(
                f"failed under the emulator: {done.stderr.decode(errors='replace').strip()}", where=str(command[0])
            )
        return parse_facts(done.stdout)


def _rounded(decoder: Decoder, form: Form) -> Decoder:
    """With the weights that are stored, as floats."""

    def weights(w: Array) -> Array:
        if form == "int4":
            return pack_qb4.quantise_qb4(w.astype(np.float32), BLOCK).dense()
        if form == "int8":
            q, scale = pack.quantise_rows(w.astype(np.float32))
            return q * scale[:, None]
        return pack.halves(w).astype(np.float32) if form == "f16" else w

    def rounded(block: Block) -> Block:
        layers = {site: replace(layer, weight=weights(layer.weight)) for site, layer in block.linears()}
        return replace(block, **layers)  # type: ignore[arg-type]

    head = None if decoder.head is None else weights(decoder.head)
    blocks = tuple(map(rounded, decoder.blocks))
    return replace(decoder, blocks=blocks, embedding=weights(decoder.embedding), head=head)


def _losses(decoder: Decoder, window: Array) -> Array:
    """In nats, of each token but the first."""
    foretold = log_softmax(logits(decoder, window[None]))[0, :-1]
    found: Array = -foretold[np.arange(window.size - 1), window[1:]]
    return found


def _linear_weights(decoder: Decoder) -> int:
    """Of all matrices that a token meets, the head included."""
    head = decoder.embedding if decoder.head is None else decoder.head
    return head.size + sum(layer.weight.size for block in decoder.blocks for _, layer in block.linears())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.arm.decoders", description=__doc__.partition("\n")[0].partition(": ")[2]
    )
    parser.add_argument("--models", default="pylm,tinyllama", help="pylm, or shapes of bench.llm_shape (%(default)s)")
    parser.add_argument("--weights", default=",".join(FORMS), help="(%(default)s)")
    parser.add_argument("--sparsity", default="0,0.5,0.7", help="shares of inputs that are skipped (%(default)s)")
    parser.add_argument("--mca", action="store_true", help="instead: estimate inner loops with llvm-mca")
    parser.add_argument("--json", type=Path, help="write one JSON line per result to this file")
    given = parser.parse_args(arguments)
    common = {
        "what": "decoder loops on arm64" if given.mca else "decoders on arm64",
        "command": as_typed(parser, arguments, given.json),
    }  # fmt: skip
    try:
        given.models, given.weights = given.models.split(","), given.weights.split(",")
        given.sparsity = numbers(given.sparsity)
        machine = {"compiler": compiler_version(), "commit": facts()["commit"]}
        if given.mca:
            found = list(decoder_loops.rows())
            print_table(decoder_loops.TITLE, decoder_loops.COLUMNS, [decoder_loops.cells(row) for row in found])
        else:
            path, major = emulator()
            machine["emulator"] = f"{Path(path).name} {major}"
            found = list(rows(given))
            print_table("executed instructions, counted", COLUMNS, [cells(row) for row in found])
        if given.json:
            write_rows(given.json, ({**common, "machine": machine, **row} for row in found))
    except EdgeSparseError as error:
        print(f"bench.arm.decoders: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
