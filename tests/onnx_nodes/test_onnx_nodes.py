"""ONNX's node tests give no wrong answer and no crash, and docs/operators.md counts them right."""

from __future__ import annotations

import difflib

import numpy as np
import onnx
import pytest

from edgesparse.docs import operators_markdown, with_section
from tests.conftest import PROJECT
from tests.onnx_nodes import harness
from tests.onnx_nodes.cases import CRASHED, FAILED, PASSED, Outcome, difference, freeze, node_cases
from tests.onnx_nodes.markdown import node_tests_markdown, onnx_version

DOCUMENT = PROJECT / "docs" / "operators.md"


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return harness.run_all()


def _changed(before: str, after: str) -> str:
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), "stored", "now", lineterm="", n=0))


def test_no_wrong_answer_and_no_crash(outcomes: list[Outcome]) -> None:
    bad = [f"{o.case}: {o.status}: {o.reason}" for o in outcomes if o.status in (FAILED, CRASHED)]
    assert not bad, "\n".join(bad)
    assert sum(o.status == PASSED for o in outcomes) > 300  # it is not that nothing was tried


def test_the_numbers_in_the_documentation(outcomes: list[Outcome], update_snapshots: bool) -> None:
    before = DOCUMENT.read_text()
    after = with_section(before, "node tests", node_tests_markdown(outcomes))
    if update_snapshots:
        DOCUMENT.write_text(after)
        return
    if onnx_version(before) != onnx.__version__:
        pytest.skip(f"onnx {onnx.__version__} has other cases than {onnx_version(before)}, which the document counts")
    assert before == after, f"{_changed(before, after)}\npytest tests/onnx_nodes --update-snapshots writes it again"


def test_the_operators_in_the_documentation(update_snapshots: bool) -> None:
    before = DOCUMENT.read_text()
    after = with_section(before, "operators", operators_markdown())
    if update_snapshots:
        DOCUMENT.write_text(after)
        return
    assert before == after, f"{_changed(before, after)}\npython -m edgesparse.docs docs/operators.md writes it again"


def test_a_crash_costs_its_case_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is told to fall dead at one case; the cases before and after it count."""
    monkeypatch.setenv("EDGESPARSE_TEST_CRASH", "test_squeeze")
    found = harness.run(["test_identity", "test_squeeze", "test_flatten_axis0"])
    assert [o.status for o in found] == [PASSED, CRASHED, PASSED]
    assert found[1].operator == "Squeeze" and "exit -11" in found[1].reason


def test_differences_are_seen() -> None:
    case = node_cases()["test_squeeze"]
    (wanted,) = case.expected
    assert isinstance(wanted, np.ndarray)
    name = case.model.graph.output[0].name
    assert difference(case, {name: wanted}) == ""
    assert "expected float32" in difference(case, {name: wanted.astype(np.float64)})
    assert "expected float32 [3, 4, 5]" in difference(case, {name: wanted[0]})
    off = wanted.copy()
    off[0, 1, 2] += 1
    assert difference(case, {name: off}).startswith(f"1 of {wanted.size} of {name} differ")


def test_freezing_keeps_the_first_input() -> None:
    case = node_cases()["test_reshape_negative_dim"]
    frozen = freeze(case.model, case.inputs)
    assert [v.name for v in frozen.graph.input] == ["data"] and [t.name for t in frozen.graph.initializer] == ["shape"]
    onnx.checker.check_model(frozen)
