"""torch.nn.Module -> ir.Model. The only file that imports torch, and only when it is called."""

from __future__ import annotations

import difflib
import importlib.util
import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgesparse.errors import EdgeSparseError, InputError

_log = logging.getLogger(__name__)


def export(module: Any, example_inputs: Any, *, opset: int = 18) -> ir.Model:
    """Capture ``module`` (put into eval mode) as it runs on ``example_inputs``, a tensor or a tuple.

    Raises:
        InputError: torch is not installed, or torch cannot export the module.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError(
            "PyTorch is not installed", hint="pip install 'edgesparse[torch]' -c constraints.txt"
        ) from error
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    chatter = io.StringIO()
    try:
        with redirect_stdout(chatter), redirect_stderr(chatter):
            program = torch.onnx.export(module.eval(), inputs, dynamo=True, opset_version=opset, verbose=False)
    except Exception as error:  # torch's export raises errors of a dozen unrelated types
        last = (str(error).strip().splitlines() or [repr(error)])[-1]
        raise InputError(f"torch could not export {type(module).__name__}: {last}", hint="see the log") from error
    finally:
        _log.info("%s", chatter.getvalue())
    if program is None:
        raise InputError(f"torch exported nothing for {type(module).__name__}")
    return ir.from_proto(program.model_proto)


def export_factory(reference: str, *, opset: int = 18) -> ir.Model:
    """Export what ``FILE.py:FUNCTION`` returns: (module, example inputs).

    Raises:
        InputError: no such file or function, or it returns something else.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise InputError("no such Python file", where=reference, hint="edgesparse export FILE.py:FUNCTION -o m.onnx")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError("not a Python file", where=reference)
    loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except EdgeSparseError:
        raise
    except Exception as error:  # the user's own code
        raise InputError(f"importing it failed: {error}", where=str(path)) from error
    factory = getattr(loaded, name, None)
    if not callable(factory):
        near = difflib.get_close_matches(name, dir(loaded), n=3)
        raise InputError(
            f"no function '{name}'", where=str(path), hint=f"did you mean {', '.join(near)}?" if near else ""
        )
    result = factory()
    if not (isinstance(result, tuple) and len(result) == 2):
        raise InputError(f"{name}() must return (module, example_inputs)", where=str(path))
    return export(result[0], result[1], opset=opset)
