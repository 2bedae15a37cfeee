"""The kernel table as a whole: names, and that each contract in it has cases."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from edgesparse.kernels import ISAS, NAME, find, table
from edgesparse.ops import CONTRACTS
from tests.kernels import harness, table_check

FOLDER = Path(__file__).parent
OPS = sorted({kernel.op for kernel in table()})


def test_names_fit_the_grammar_and_are_unique() -> None:
    symbols = [kernel.symbol for kernel in table()]
    assert [s for s in symbols if not NAME.match(s)] == []
    assert len(symbols) == len(set(symbols))


def test_every_isa_has_every_stem() -> None:
    """Activations that are halves are for arm64 only (weights that are, for all); an instruction set with a base takes
    from there what it does not have."""
    stems = {kernel.stem for kernel in table()}
    halves = {kernel.stem for kernel in table() if any("_Float16" in kind for kind, _ in kernel.parameters)}
    assert [(s, i) for s in sorted(stems - halves) for i in ISAS if find(s, i, {}) is None] == []
    assert [(s, i) for s in sorted(halves) for i in ISAS if (find(s, i, {}) is None) == i.startswith("neon")] == []


@pytest.mark.parametrize("op", OPS)
def test_every_kernel_has_cases(op: str) -> None:
    for path in FOLDER.glob("test_*.py"):
        importlib.import_module(f"tests.kernels.{path.stem}")
    assert op in harness.CLAIMED, (
        f"the kernels of '{op}' have no cases: add tests/kernels/test_{op}.py with a generator under "
        f'@kernel_test("{op}"); test_softmax.py is a short example'
    )


def test_parameters_are_of_types_that_calls_can_give() -> None:
    wrong = [
        f"{kernel.symbol}: {kind} {name}"
        for kernel in table()
        for kind, name in kernel.parameters
        if "*" not in kind and kind not in ("int64_t", "float")
    ]
    assert wrong == []


def test_a_kernel_that_did_not_run_is_reported() -> None:
    everything = {kernel.symbol for kernel in table()}
    assert table_check.missing(everything, {}) == []
    one = table()[0]
    lines = table_check.missing(everything - {one.symbol}, {})
    assert len(lines) == 1 and lines[0].startswith(one.symbol)
    assert table_check.missing(everything - {one.symbol}, {one.isa: "not on this machine"}) == []


def test_contracts_without_a_kernel_are_only_the_view() -> None:
    stems = {kernel.op for kernel in table()}
    bound = {op for op, contract in CONTRACTS.items() if contract.bind is not None}
    assert [op for op in CONTRACTS if op not in stems | bound] == ["view", "part"]
