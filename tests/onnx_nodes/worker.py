"""Compiles and runs cases in a process of its own: ``python -m tests.onnx_nodes.worker CASE...``.

Prints the name of a case before it is touched and its `Outcome` as JSON after, so that the parent knows whose
fault it is when the process dies.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import onnx

import edgesparse as es
from edgesparse.errors import BuildError, EdgeSparseError, UnsupportedError
from tests.onnx_nodes.cases import FAILED, PASSED, UNSUPPORTED, NodeCase, Outcome, difference, freeze, node_cases


def outcome(case: NodeCase, folder: Path) -> Outcome:
    """Compile ``case`` as it is, else with its later inputs frozen; run it and compare."""
    try:
        bundle = _compile(case.model, folder / "as-is")
        frozen = False
    except UnsupportedError:
        if len(case.inputs) < 2:
            raise
        bundle = _compile(freeze(case.model, case.inputs), folder / "frozen")
        frozen = True
    with es.open(bundle, runtime="local") as session:
        names = [port.name for port in session.manifest.inputs]
        outputs = session.run({name: case.inputs[name] for name in names})
    reason = difference(case, outputs)
    return Outcome(case.name, case.operator, FAILED if reason else PASSED, reason, frozen)


def _compile(model: onnx.ModelProto, folder: Path) -> Path:
    folder.mkdir()
    onnx.save(model, folder / "m.onnx")
    return es.compile(es.load(folder / "m.onnx"), device="host", out=folder / "m.edge")


def judged(case: NodeCase) -> Outcome:
    """`outcome`, with errors: a refusal is unsupported, anything else a failure."""
    with tempfile.TemporaryDirectory(prefix="edgesparse-node-") as folder:
        try:
            return outcome(case, Path(folder))
        except UnsupportedError as error:
            return Outcome(case.name, case.operator, UNSUPPORTED, error.problems[0].what)
        except BuildError as error:
            return Outcome(case.name, case.operator, FAILED, str(error))
        except EdgeSparseError as error:
            return Outcome(case.name, case.operator, UNSUPPORTED, error.what)
        except Exception as error:  # noqa: BLE001 (whatever it is, this case failed)
            return Outcome(case.name, case.operator, FAILED, f"{type(error).__name__}: {error}")


def main(names: list[str]) -> None:
    cases = node_cases()
    for name in names:
        print(name, flush=True)
        if name == os.environ.get("EDGESPARSE_TEST_CRASH"):  # the test of the harness itself
            os.kill(os.getpid(), signal.SIGSEGV)
        print(json.dumps(dataclasses.asdict(judged(cases[name]))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
