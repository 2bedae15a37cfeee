"""pytest plugin: a session that ran all of tests/kernels fails when a kernel was neither run nor skipped.

The session counts as complete when every test file of this folder was collected and nothing was
deselected, stopped or picked by name. With pytest-xdist every worker reports what it ran.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
_LINES: list[str] = []
_RAN: set[str] = set()
_SKIPPED: dict[str, str] = {}
_COMPLETE: list[bool] = []
_DESELECTED: list[str] = []


def missing(ran: set[str], skipped: dict[str, str]) -> list[str]:
    """A line for every row of the kernel table that is neither in ``ran`` nor of a skipped ISA."""
    from edgesparse.kernels import table
    from tests.kernels.harness import CLAIMED

    lines = []
    for kernel in table():
        if kernel.symbol in ran or kernel.isa in skipped:
            continue
        if kernel.op in CLAIMED:
            hint = f"the cases of '{kernel.op}' never reach it: add one with its dtype or tile"
        else:
            hint = f"no case file: add tests/kernels/test_{kernel.op}.py, test_softmax.py is a short example"
        lines.append(f"{kernel.symbol} ({kernel.source.name}) was not run; {hint}")
    return lines


def pytest_deselected(items: list[pytest.Item]) -> None:
    _DESELECTED.extend(item.nodeid for item in items if FOLDER in item.path.parents)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Runs in the process that runs tests: the only one, or each worker of xdist."""
    wanted = set(FOLDER.glob("test_*.py"))
    named = any("::" in argument for argument in session.config.args)
    _COMPLETE.append(wanted <= {item.path for item in session.items} and not named and not _DESELECTED)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    from tests.kernels import harness

    config: Any = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["kernels"] = [sorted(harness.EXECUTED), harness.SKIPPED, sorted(harness.CLAIMED), _COMPLETE]
        return
    _RAN.update(harness.EXECUTED)
    _SKIPPED.update(harness.SKIPPED)
    stopped = session.shouldstop or session.shouldfail or config.option.collectonly
    if not _COMPLETE or not all(_COMPLETE) or stopped:
        return
    _LINES.extend(missing(_RAN, _SKIPPED))
    if _LINES:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """A worker of xdist is done: take over what it ran. A crashed one has no report, so nothing is checked."""
    from tests.kernels import harness

    ran, skipped, claimed, complete = getattr(node, "workeroutput", {}).get("kernels", ([], {}, [], [False]))
    _RAN.update(ran)
    _SKIPPED.update(skipped)
    harness.CLAIMED.update(claimed)
    _COMPLETE.extend(complete)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _LINES:
        terminalreporter.section(f"{len(_LINES)} untested kernels", red=True)
        for line in _LINES:
            terminalreporter.line(line)
