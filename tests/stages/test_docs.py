"""The table of operators in docs/operators.md: what it says of kernels fits the kernel table."""

from __future__ import annotations

import pytest

from edgesparse.docs import INTERNAL, kernel_types, operators_markdown, with_section
from edgesparse.errors import InputError
from edgesparse.kernels import table
from edgesparse.ops import CONTRACTS, OPERATORS

RENAMES = {"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
# copies of the model's own inputs and constants to its outputs, f32 to f16, and what `calibrate` measures by: no
# operator asks for these
OF_THE_COMPILER = {"assign", "convert", "probe_fma", "probe_read"}
OF_DECODERS = {f"edgesparse.ops.{name}" for name in ("columns", "decode", "qb4", "select")}
"""Files of contracts that no operator lowers to: language models are compiled in `edgesparse.decoder`. Kernels for
weights of 4 bits have contracts under other names."""


def test_every_operator_names_its_kernels() -> None:
    without = {name for (domain, name), operator in OPERATORS.items() if not operator.kernels and domain != INTERNAL}
    assert without == RENAMES
    named = {kernel for operator in OPERATORS.values() for kernel in operator.kernels}
    in_table = {kernel.op for kernel in table()}
    others = {
        op for op in in_table - named if op in CONTRACTS and CONTRACTS[op].reference.__module__ not in OF_DECODERS
    }
    assert named <= in_table and others <= OF_THE_COMPILER


def test_pooling_runs_its_own_kernel() -> None:
    lines = {line.split(" | ")[0].strip("| "): line for line in operators_markdown().splitlines()}
    assert "pool_avg (f16, f32) |" in lines["AveragePool"] and "pool_max" not in lines["AveragePool"]
    assert "| pool_max (" in lines["MaxPool"] and "pool_avg" not in lines["MaxPool"]
    products = "spmm (f16, f32), spmv (f16, f32)"
    assert products in lines["Gemm"] and products in lines["Conv"]
    assert "| none |" in lines["Flatten"] and "edgesparse::" not in operators_markdown()


def test_types_of_a_kernel() -> None:
    assert kernel_types("copy") == "copy (any)" and kernel_types("binary") == "binary (f16, f32, i32, i64)"
    with pytest.raises(KeyError, match="'fly', which is not in the table"):
        kernel_types("fly")


def test_sections() -> None:
    text = "a\n<!-- begin b -->\nold\n<!-- end b -->\nc"
    assert with_section(text, "b", "new \\1") == "a\n<!-- begin b -->\n\nnew \\1\n<!-- end b -->\nc"
    with pytest.raises(InputError, match="no section 'x'"):
        with_section(text, "x", "")
