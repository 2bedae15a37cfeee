"""The harness itself: every kind of mistake a kernel can make is noticed, natively, under qemu and in wasm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesparse.types import Kernel
from tests.kernels import machine
from tests.kernels.harness import skip_unavailable
from tests.kernels.machine import INPUT, OUTPUT, Argument, Buffer, Run

ISAS = ("sse2", "neon", "simd128")
HEAD = '// edgesparse-kernel: op=toy dtype=f32 isa=any\n#include "es.h"\n'
PARAMETERS = (("float *", "x"), ("float *", "y"), ("int64_t", "n"))
X = np.arange(1, 6, dtype=np.float32)


def _outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isa: str, name: str, body: str) -> list[machine.Outcome]:
    skip_unavailable(isa)
    source = tmp_path / f"{name}.c"
    source.write_text(f"{HEAD}void ES_KERNEL({name})(float *x, float *y, int64_t n) {{ {body} }}\n")
    kernel = Kernel(f"es_{name}__{isa}", name, "toy", "f32", isa, source, {}, PARAMETERS)
    monkeypatch.setattr(machine, "kernels_of", lambda stem, architecture: (kernel,) if stem else ())
    run = Run(
        (Buffer("x", INPUT, X.nbytes, X.tobytes()), Buffer("y", OUTPUT, X.nbytes)),
        ((kernel, (Argument(0, True), Argument(1, True), Argument(X.size))),),
    )
    return machine.execute(isa, name, [run])[0]


@pytest.mark.parametrize("isa", ISAS)
def test_a_right_kernel_has_no_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    body = "for (int64_t i = 0; i < n; i++) y[i] = 2 * x[i];"
    for outcome in _outcomes(tmp_path, monkeypatch, isa, "toyright", body):
        assert outcome.problem == ""
        np.testing.assert_array_equal(np.frombuffer(outcome.outputs["y"], np.float32), 2 * X)


@pytest.mark.parametrize("isa", ISAS)
def test_what_is_not_written_is_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    outcomes = _outcomes(tmp_path, monkeypatch, isa, "toyless", "for (int64_t i = 1; i < n; i++) y[i] = x[i];")
    for outcome in outcomes:
        assert np.isnan(np.frombuffer(outcome.outputs["y"], np.float32)[0])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("toychange", "x[n - 1] = 0; y[0] = 1;", "an input was changed: 'x'"),
        ("toywrite", "for (int64_t i = 0; i <= n; i++) y[i] = x[0];", "outside of the buffer was written: 'y'"),
        ("toybefore", "for (int64_t i = -1; i < n; i++) y[i] = x[0];", "outside of the buffer was written: 'y'"),
        ("toyread", "for (int64_t i = 0; i < n; i++) y[i] = x[i] + ((volatile float *)x)[i + 1];", ""),
    ],
)
def test_mistakes_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isa: str, name: str, body: str, text: str
) -> None:
    outcomes = _outcomes(tmp_path, monkeypatch, isa, name, body)
    problems = [o.problem for o in outcomes if o.problem]
    assert problems
    assert any(text in p or "the program ended here: signal 11" in p or p.startswith("trap") for p in problems)
