"""The table of operators in docs/operators.md: what it says of kernels fits the kernel table."""

from __future__ import annotations

import pytest

from edgesparse.docs import INTERNAL, kernel_types, operators_markdown, with_section
from edgesparse.errors import InputError
from edgesparse.kernels import table
from edgesparse.ops import OPERATORS

RENAMES = {"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
# copies of the model's own inputs and constants to its outputs, f32 to f16, and what `calibrate` measures by: no
# operator asks for these
OF_THE_COMPILER = {"assign", "convert", "probe_fma", "probe_read"}


def test_every_operator_names_its_kernels() -> None:
    without = {name for (domain, name), operator in OPERATORS.items() if not operator.kernels and domain != INTERNAL}
    assert without == RENAMES
    named = {kernel for operator in OPERATORS.values() for kernel in operator.kernels}
    in_table = {kernel.op for kernel in table()}
    assert named <= in_table and in_table - named <= OF_THE_COMPILER


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
