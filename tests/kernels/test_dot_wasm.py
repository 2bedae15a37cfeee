"""Weights of 8 bits in WebAssembly, as engines multiply them on processors that are not here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesparse import build
from edgesparse.build import kernel_object
from edgesparse.types import Kernel, Target
from tests.kernels import machine, test_columns, test_dense, test_rows

CHECKS = {
    "dense": test_dense.test_dense,
    "dense_many": test_dense.test_many,
    "columns": test_columns.test_qc8,
    "columns_many": test_columns.test_many_qc8,
    "rows": test_rows.test_qc8,
}
UNSIGNED = Path(__file__).parent / "unsigned_dot.h"


@pytest.fixture(params=CHECKS)
def check(request: pytest.FixtureRequest) -> Callable[[str], None]:
    return CHECKS[request.param]


def test_signed(check: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on ARM: wasmtime does so where it has to compute the same everywhere."""
    monkeypatch.setitem(machine.WASM_SETTINGS, "wasm_relaxed_simd_deterministic", True)
    check("relaxed")


def test_unsigned(check: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on x86 with AVX-VNNI."""
    text = hashlib.sha256(UNSIGNED.read_bytes()).hexdigest()

    def of_such_engines(kernel: Kernel, target: Target) -> Path:
        more = ("-include", str(UNSIGNED), f"-DES_TEXT_{text}") if kernel.isa == "relaxed" else ()
        return kernel_object(kernel, target, more)

    monkeypatch.setattr(build, "kernel_object", of_such_engines)
    monkeypatch.setattr(machine, "program", machine.program.__wrapped__)
    check("relaxed")
