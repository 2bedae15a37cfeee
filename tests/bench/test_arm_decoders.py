"""Language models on arm64: instructions are counted, cycles of loops are estimated and say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.arm import decoder_loops, decoders
from bench.arm.mca import PROGRAM
from bench.assembly import loops
from bench.sections import section
from edgesparse.kernels import find

ASKS_AHEAD = """
kernel:
  mov x1, x2
.L1:
  ldr q1, [x0], #16
  cbnz x3, .L2
  cmp x4, x5
  b.ge .L2
  prfm pldl1keep, [x0, x4]
.L2:
  sdot v0.4s, v1.16b, v2.16b
  smlal2 v3.8h, v1.16b, v2.16b
  smlal v4.4s, v1.4h, v2.4h
  subs x1, x1, #1
  b.ne .L1
  ret
"""


def test_what_a_branch_forward_skips_is_not_of_the_shortest_round() -> None:
    (loop,) = loops(ASKS_AHEAD, "aarch64")
    assert len(loop.instructions) == 10 and loop.byte_products == 16 + 8
    kept = [text.split()[0] for text in loop.shortest.instructions]
    assert kept == ["ldr", "cbnz", "sdot", "smlal2", "smlal", "subs", "b.ne"]


@pytest.mark.parametrize("stem", decoder_loops.STEMS)
@pytest.mark.parametrize("isa", decoder_loops.SETS)
def test_every_kernel_has_a_loop_that_multiplies_bytes(stem: str, isa: str) -> None:
    kernel = find(stem, isa, {})
    assert kernel is not None
    loop = decoder_loops.inner_loop(kernel)
    assert loop.byte_products >= 128 and loop.byte_products % 64 == 0
    assert any(text.startswith("sdot") for text in loop.instructions) == (isa == "neon_dotprod")


def test_dot_products_take_fewer_cycles(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, require: Callable[[str], None]
) -> None:
    require(PROGRAM)
    out = tmp_path / "loops.json"
    assert decoders.main(["--mca", "--json", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 2 * 2 * len(decoder_loops.STEMS) and {row["source"] for row in rows} == {"estimated"}
    each = {(row["kernel"], row["mcpu"]): row["cycles"] / row["weights"] for row in rows}
    for stem in decoder_loops.STEMS:
        for core in decoder_loops.CORES:
            assert each[f"es_{stem}__neon_dotprod", core] < each[f"es_{stem}__neon", core]
    assert "estimated" in capsys.readouterr().out
    text = section(rows)
    assert "estimated" in text.splitlines()[0] and "| es_dense_qc8__neon_dotprod |" in text


def test_instructions_of_a_token(require: Callable[[str], None], tmp_path: Path) -> None:
    require("qemu-aarch64")
    out = tmp_path / "tokens.json"
    options = ["--models", "tiny", "--weights", "int8", "--sparsity", "0,0.7"]
    assert decoders.main([*options, "--json", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["isa"], row["sparsity"]) for row in rows] == [
        (isa, sparsity) for sparsity in (0, 0.7) for isa in ("neon", "neon_dotprod")
    ]
    for dense, sparse in zip(rows[:2], rows[2:], strict=True):
        assert dense["active"] == 1 and 0.15 < sparse["active"] < 0.5
        assert dense["executed"] > dense["linear_weights"] / 16  # no instruction multiplies more
        assert sparse["of_dense"] == sparse["executed"] / dense["executed"]
    # with dot products, so small a layer is no sooner done where inputs are skipped
    assert max(row["executed"] for row in rows[1:]) < rows[0]["executed"]
    text = section(rows)
    assert "no times" in text and "| tiny, one block | int8 | neon_dotprod | 70% |" in text


def test_what_cannot_be_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoders.main(["--models", "none"]) == 2
    assert "there is no 'none'" in capsys.readouterr().err
    monkeypatch.setenv("EDGESPARSE_DATA", "/none")
    assert decoders.main(["--models", "pylm"]) == 2
    assert "EDGESPARSE_DATA" in capsys.readouterr().err
