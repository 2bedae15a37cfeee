"""What goes into a model and comes out of it: arrays checked against the manifest, samples stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesparse.errors import InputError
from edgesparse.manifest import Manifest, Port
from edgesparse.types import DTYPES, Array, Shape

# Values by input name, as the user gives them: arrays, or numbers in lists.
Inputs = Mapping[str, Any]
# One run of the model: contiguous arrays in the order of the manifest's inputs (or outputs).
Sample = tuple[Array, ...]


def check_inputs(manifest: Manifest, inputs: Inputs, each: bool) -> list[Sample]:
    """The samples in ``inputs``: one, or with ``each`` one for every index of axis 0.

    Without ``each`` an input has exactly the shape of its port. With ``each`` it is ``(n, *shape)``
    or, for a port whose first dimension is 1, also ``(n, *shape[1:])``; n is at least 1 and the same
    for all inputs.

    Arrays (NumPy, or anything with ``__array__``) must have the dtype of the port: nothing is cast
    silently. Python numbers and lists have no dtype of their own: integers and floats become the
    float type of the port; for an integer port only integers that it can hold are accepted.

    Raises:
        InputError: (a ValueError) names the input, the shape and dtype expected and those given.
    """
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"inputs are given by name, not as {type(inputs).__name__}", where=manifest.name,
            hint=f"run({{{', '.join(f'{port.name!r}: ...' for port in manifest.inputs)}}})",
        )  # fmt: skip
    ports = manifest.inputs
    known = ", ".join(f"'{port.name}'" for port in ports) or "none"
    missing = [port for port in ports if port.name not in inputs]
    if missing:
        raise InputError(
            f"missing; expected {describe(missing[0].shape, missing[0].dtype)}",
            where=f"input '{missing[0].name}'", hint=f"the inputs of {manifest.name} are: {known}",
        )  # fmt: skip
    unknown = [name for name in inputs if name not in {port.name for port in ports}]
    if unknown:
        raise InputError(
            "the model has no such input", where=f"input '{unknown[0]}'",
            hint=f"the inputs of {manifest.name} are: {known}",
        )  # fmt: skip
    arrays = [_array(port, inputs[port.name]) for port in ports]
    if not each:
        return [tuple(_shaped(port, array) for port, array in zip(ports, arrays, strict=True))]
    stacks = [_stack(port, array) for port, array in zip(ports, arrays, strict=True)]
    if not stacks:
        raise InputError(
            "there is no input to iterate over", where=manifest.name, hint="run without each=True (--each)"
        )
    for port, stack in zip(ports, stacks, strict=True):
        if len(stack) != len(stacks[0]):
            raise InputError(
                f"{len(stack)} samples, but '{ports[0].name}' has {len(stacks[0])}",
                where=f"input '{port.name}'", hint="give the same number of samples for every input",
            )  # fmt: skip
    # [i, ...] and not [i], which would make numbers of scalars
    return [tuple(stack[i, ...] for stack in stacks) for i in range(len(stacks[0]))]


def stack_outputs(manifest: Manifest, results: Sequence[Sample], each: bool) -> dict[str, Array]:
    """Outputs by name. With ``each`` the samples are joined along axis 0: ``(n, *shape[1:])`` for an
    output whose first dimension is 1 (the batch), else ``(n, *shape)``."""
    if not each:
        (outputs,) = results
        return {port.name: array for port, array in zip(manifest.outputs, outputs, strict=True)}
    stacked: dict[str, Array] = {}
    for i, port in enumerate(manifest.outputs):
        column = [outputs[i] for outputs in results]
        stacked[port.name] = np.concatenate(column) if port.shape[:1] == (1,) else np.stack(column)
    return stacked


def describe(shape: Shape, dtype: str) -> str:
    """``float32 [1, 3, 224, 224]``"""
    return f"{DTYPES[dtype]} {list(shape)}"


def empty_outputs(manifest: Manifest) -> Sample:
    return tuple(np.empty(port.shape, DTYPES[port.dtype]) for port in manifest.outputs)


def _array(port: Port, value: Any) -> Array:
    """``value`` as an array of the port's dtype, or InputError."""
    dtype = DTYPES[port.dtype]
    if hasattr(value, "__array__"):
        array: Array = np.asarray(value)
        if array.dtype == dtype:
            return array
        hint = f"convert it: '{port.name}': x.astype('{dtype}')"
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise InputError(
                f"not a rectangular list of numbers; expected {describe(port.shape, port.dtype)}",
                where=f"input '{port.name}'",
            ) from error  # fmt: skip
        if array.dtype == dtype:
            return array
        if array.dtype.kind in "iuf" and dtype.kind == "f":
            return array.astype(dtype)
        if array.dtype.kind in "iu" and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if array.size == 0 or (array.min() >= limits.min and array.max() <= limits.max):
                return array.astype(dtype)
        hint = f"give values that {dtype} can hold exactly"
    raise InputError(
        f"expected {describe(port.shape, port.dtype)}, got {array.dtype} {list(array.shape)}",
        where=f"input '{port.name}'", hint=hint,
    )  # fmt: skip


def _shaped(port: Port, array: Array) -> Array:
    if array.shape == port.shape:
        return np.ascontiguousarray(array).reshape(port.shape)
    stack_of_one = array.shape[1:] == port.shape or (port.shape[:1] == (1,) and array.shape[1:] == port.shape[1:])
    hint = ""
    if stack_of_one:
        hint = "to run a stack of samples one by one: run(inputs, each=True), or --each"
    elif port.shape[:1] == (1,) and array.shape == port.shape[1:]:
        hint = f"the batch axis is missing: '{port.name}': x[None]"
    raise InputError(
        f"expected {describe(port.shape, port.dtype)}, got {array.dtype} {list(array.shape)}",
        where=f"input '{port.name}'", hint=hint,
    )  # fmt: skip


def _stack(port: Port, array: Array) -> Array:
    """``array`` as ``(n, *port.shape)``."""
    batch_is_one = port.shape[:1] == (1,)
    fits = array.ndim == len(port.shape) + 1 and array.shape[1:] == port.shape
    fits_batch = batch_is_one and array.ndim == len(port.shape) and array.shape[1:] == port.shape[1:]
    if not (fits or fits_batch):
        forms = f"[n, {', '.join(map(str, port.shape[1:] if batch_is_one else port.shape))}]"
        raise InputError(
            f"expected a stack {DTYPES[port.dtype]} {forms}, got {array.dtype} {list(array.shape)}",
            where=f"input '{port.name}'", hint="without each=True (--each) one sample is run",
        )  # fmt: skip
    if len(array) == 0:
        raise InputError("the stack holds no sample", where=f"input '{port.name}'")
    return np.ascontiguousarray(array).reshape(len(array), *port.shape)
