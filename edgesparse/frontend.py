"""torch.nn.Module -> ir.Model. Imports torch only when it is called."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgesparse.errors import InputError
from edgesparse.user_code import load_function

_log = logging.getLogger(__name__)
USAGE = "edgesparse export FILE.py:FUNCTION -o model.onnx"


def export(module: Any, example_inputs: Any, *, opset: int = 18, dynamic_shapes: Any = None) -> ir.Model:
    """Capture ``module`` (put into eval mode) as it runs on ``example_inputs``, a tensor or a tuple of them.

    Shapes are those of the example, except for the axes that ``dynamic_shapes`` names, by argument of ``forward``, as
    in ``{"x": {0: "batch"}}`` (see torch.export). The result shares no memory with the module.

    Raises:
        InputError: torch is not installed, these are no module and no tensors, or torch cannot export the module.
    """
    torch = require_torch()
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"not a torch.nn.Module but {type(module).__name__}", hint="es.export(module, example_inputs)")
    wrong = [type(x).__name__ for x in inputs if not isinstance(x, torch.Tensor)]
    if wrong:
        raise InputError(
            f"example inputs must be tensors, not {', '.join(wrong)}", where=type(module).__name__,
            hint="give one tensor, or a tuple of them in the order of forward's arguments",
        )  # fmt: skip
    try:
        with _quiet(), torch.no_grad():
            module.eval()(*inputs)
    except Exception as error:  # the user's own code
        raise InputError(
            f"does not run on the example inputs: {_reason(error)}", where=type(module).__name__
        ) from error
    try:
        with _quiet():
            program = torch.onnx.export(
                module, inputs, dynamo=True, opset_version=opset, verbose=False, dynamic_shapes=dynamic_shapes
            )
    except Exception as error:  # torch's export raises errors of a dozen unrelated types
        raise InputError(
            f"torch cannot export it: {_reason(error)}", where=type(module).__name__,
            hint="branches and loops on the values of tensors cannot be captured; see torch.export's documentation",
        ) from error  # fmt: skip
    model: ir.Model = ir.from_proto(program.model_proto)
    _forget_origin(model)
    return model


def export_factory(reference: str, *, opset: int = 18) -> ir.Model:
    """Export what ``FILE.py:FUNCTION`` returns: (module, example inputs), and names of axes that vary as a third.

    This runs the code of the file.

    The folder of the file can be imported from, as under ``python FILE.py``. What the code prints goes to stderr.

    Raises:
        InputError: as `export`; no such file or function, it fails, or it returns something else.
    """
    file, _, name = reference.rpartition(":")
    if Path(file).is_file():
        require_torch()  # before the code of the file imports it
    result = load_function(reference, USAGE)()
    if not (isinstance(result, tuple) and len(result) in (2, 3)):
        raise InputError(
            f"{name}() returns {type(result).__name__}", where=file,
            hint="it should return two things: a torch.nn.Module and its example inputs; a third names axes that vary",
        )  # fmt: skip
    return export(result[0], result[1], opset=opset, dynamic_shapes=result[2] if len(result) == 3 else None)


def require_torch() -> Any:
    """The module torch. Raises InputError, with a hint how to install it, where it is missing."""
    try:
        import torch
        import torch.onnx
    except ImportError as error:
        raise InputError(
            "PyTorch is not installed", hint="pip install torch==2.13.0 (in a checkout: '.[torch]')"
        ) from error
    return torch


@contextmanager
def _quiet() -> Iterator[None]:
    """torch tells its progress, and of packages that nobody asked for: to our log at most, or not at all."""
    chatter = io.StringIO()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # its loggers have handlers of their own
    try:
        with warnings.catch_warnings(), redirect_stdout(chatter), redirect_stderr(chatter):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        _log.info("%s", chatter.getvalue())


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause: torch wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _forget_origin(model: ir.Model) -> None:
    """torch records the stack of every node: private paths, and in small models more bytes than the weights."""
    model.doc_string = None
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.doc_string = None
            node.metadata_props.clear()
        made = [value for node in graph.all_nodes() for value in node.outputs]
        for value in (*graph.inputs, *graph.initializers.values(), *made):
            value.metadata_props.clear()
