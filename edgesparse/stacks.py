"""Many samples through a model: an ONNX file or graph by onnxruntime, in batches if it can; a bundle by a session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgesparse.compare import FATAL, first_line
from edgesparse.errors import InputError
from edgesparse.report import note
from edgesparse.runtimes.arrays import check_inputs, stack_outputs
from edgesparse.runtimes.session import Session
from edgesparse.types import Array

if TYPE_CHECKING:
    import onnx_ir as ir

BATCH = 64
Progress = Callable[[int, int], None]
AnyModel: TypeAlias = "str | Path | ir.Model | Session | Engine"


class Engine(ABC):
    """What `run` needs of a model: the names of its inputs, and outputs for a stack of samples."""

    name: str
    inputs: tuple[str, ...]

    @abstractmethod
    def run(self, stacks: Mapping[str, Array], on_progress: Progress | None = None) -> dict[str, Array]:
        """Outputs by name, samples along axis 0. ``stacks``: one array per input, samples along axis 0.

        Raises:
            InputError: an array has another shape or type than the input.
            RuntimeFailure: the engine failed.
        """


@contextmanager
def open_engine(model: AnyModel, runtime: str = "auto") -> Iterator[Engine]:
    """An `Engine` for a bundle (a folder, run by ``runtime``), an open session, an ONNX file, or a graph; or as it is.

    Raises:
        InputError: no such file, or onnxruntime cannot load it.
    """
    if isinstance(model, Engine):
        yield model
    elif isinstance(model, Session):
        yield _Bundle(model)
    elif isinstance(model, str | Path) and Path(model).is_dir():
        from edgesparse import runtimes

        with runtimes.open(Path(model), runtime) as session:
            yield _Bundle(session)
    else:
        yield _Onnx(model)


class Recorded(Engine):
    """A model whose outputs for one stack are known."""

    def __init__(self, engine: Engine, outputs: dict[str, Array]) -> None:
        self.name, self.inputs, self.outputs = engine.name, engine.inputs, outputs

    def run(self, stacks: Mapping[str, Array], on_progress: Progress | None = None) -> dict[str, Array]:
        return self.outputs


class _Bundle(Engine):
    def __init__(self, session: Session) -> None:
        self.session, self.name = session, str(session.bundle)
        self.inputs = tuple(p.name for p in session.manifest.inputs)

    def run(self, stacks: Mapping[str, Array], on_progress: Progress | None = None) -> dict[str, Array]:
        manifest = self.session.manifest
        samples = check_inputs(manifest, stacks, each=True)
        results = []
        for begin in range(0, len(samples), BATCH):
            results += self.session.run_samples(samples[begin : begin + BATCH])
            if on_progress is not None:
                on_progress(len(results), len(samples))
        return stack_outputs(manifest, results, each=True)


class _Onnx(Engine):
    """onnxruntime on one thread. A symbolic first dimension is the batch; a first dimension of 1 is one, too."""

    def __init__(self, model: str | Path | ir.Model) -> None:
        import onnxruntime as ort

        self.options = ort.RunOptions()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = self.options.log_severity_level = FATAL  # its errors are ours to report
        ort.set_default_logger_severity(FATAL)
        self.name, source = _source(model)
        try:
            self.peer = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no other base class
            what = f"onnxruntime cannot load the model: {first_line(error)}"
            raise InputError(what, where=self.name, hint="give an ONNX file, or a bundle") from error
        self.shapes = {i.name: tuple(i.shape) for i in self.peer.get_inputs()}
        self.types = {i.name: _dtype(i.type) for i in self.peer.get_inputs()}
        self.inputs = tuple(self.shapes)
        self.outputs = tuple(o.name for o in self.peer.get_outputs())

    def run(self, stacks: Mapping[str, Array], on_progress: Progress | None = None) -> dict[str, Array]:
        given = {name: self._fitting(name, np.asarray(stacks[name])) for name in self.inputs}
        count = _same_length(given)
        symbolic = bool(given) and all(not isinstance(s[0], int) for s in self.shapes.values() if s)
        size = BATCH if symbolic else 1
        parts: list[list[Array]] = []
        begin = 0
        while begin < count:
            end = min(begin + size, count)
            found = self._run({k: v[begin:end] for k, v in given.items()}, size)
            if found is None:
                note(f"{self.name} cannot run batches, though its batch is symbolic: samples run one by one")
                size = 1
                continue
            parts.append(found)
            begin = end
            if on_progress is not None:
                on_progress(begin, count)
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(self.outputs)}

    def _run(self, batch: Mapping[str, Array], size: int) -> list[Array] | None:
        """Outputs, samples along axis 0; None if only single samples can be run.

        A single sample is given as the input has it: (1, ...), or without the axis of the stack.
        """
        one = size == 1
        feed = {k: v[0] if one and not self._is_batch(k) else v for k, v in batch.items()}
        count = len(next(iter(batch.values())))
        try:
            found: list[Array] = self.peer.run(self.outputs, feed, self.options)
        except Exception as error:
            if not one:
                return None
            what = f"onnxruntime cannot run the model: {first_line(error)}"
            raise InputError(what, where=self.name) from error
        if one:
            return [a if np.shape(a)[:1] == (1,) else np.asarray(a)[None] for a in found]
        return found if all(np.shape(a)[:1] == (count,) for a in found) else None

    def _is_batch(self, name: str) -> bool:
        """Whether the first dimension of input ``name`` counts samples."""
        shape = self.shapes[name]
        return bool(shape) and (not isinstance(shape[0], int) or shape[0] == 1)

    def _fitting(self, name: str, stack: Array) -> Array:
        """``stack`` as (n, *the sample); a sample is what follows the batch, or the whole input where it has none."""
        shape, dtype = self.shapes[name], self.types[name]
        rest = shape[1:] if self._is_batch(name) else shape
        also = self._is_batch(name) and stack.ndim == len(shape) + 1 and stack.shape[1:2] == (1,)
        if also:  # (n, 1, ...): a batch of 1 in each sample
            stack = stack[:, 0]
        fits = stack.ndim == len(rest) + 1 and all(
            not isinstance(d, int) or d == s for d, s in zip(rest, stack.shape[1:], strict=True)
        )
        if not fits or (dtype is not None and stack.dtype != dtype):
            wanted = ", ".join(["n", *(str(d) if isinstance(d, int) else "?" for d in rest)])
            raise InputError(
                f"expected {dtype or 'numbers'} [{wanted}], got {stack.dtype} {list(stack.shape)}",
                where=f"input '{name}'",
                hint=f"samples are stacked on axis 0{'' if fits is False else f'; convert: x.astype({str(dtype)!r})'}",
            )  # fmt: skip
        return np.ascontiguousarray(stack)


def _same_length(given: Mapping[str, Array]) -> int:
    if not given:
        raise InputError("the model has no input", hint="there is nothing to evaluate")
    (first, stack), *others = given.items()
    for name, other in others:
        if len(other) != len(stack):
            raise InputError(
                f"{len(other)} samples, but '{first}' has {len(stack)}", where=f"input '{name}'",
                hint="give the same number of samples for every input",
            )  # fmt: skip
    if len(stack) == 0:
        raise InputError("the stack holds no sample", where=f"input '{first}'")
    return len(stack)


def _source(model: str | Path | ir.Model) -> tuple[str, str | bytes]:
    """Name, and what onnxruntime loads."""
    if isinstance(model, str | Path):
        path = Path(model)
        try:
            there = path.is_file()
        except OSError as error:
            raise InputError((error.strerror or str(error)).lower(), where=str(path)) from error
        if not there:
            raise InputError("no such file", where=str(path), hint="give an ONNX file, or a bundle")
        return str(path), str(path)
    import onnx_ir as ir

    if not isinstance(model, ir.Model):
        raise InputError(f"not a model but {type(model).__name__}", hint="give a path, es.load(...) or es.open(...)")
    try:
        return model.graph.name or "model", ir.to_proto(model).SerializeToString()
    except ValueError as error:
        raise InputError("models over 2 GB must be given as a file", where=model.graph.name or "model") from error


def _dtype(text: str) -> np.dtype[Any] | None:
    """``tensor(float)`` -> float32; None for what NumPy has no name for."""
    names = {"float": "float32", "double": "float64"}
    word = text.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype(names.get(word, word))
    except TypeError:
        return None
