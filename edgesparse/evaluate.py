"""How often a model is right on labelled samples, alone or beside the one that it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from edgesparse.compare import output_error
from edgesparse.detection import mean_average_precision
from edgesparse.errors import InputError
from edgesparse.metrics import (
    Answers,
    answers,
    expected_calibration_error,
    mcnemar,
    paired_standard_error,
    standard_error,
)
from edgesparse.samples import read_arrays
from edgesparse.stacks import AnyModel, Engine, Progress, open_engine
from edgesparse.types import Array

Outputs = Mapping[str, Array]
Metric = Callable[[Outputs, Mapping[str, Array]], float]
METRICS = ("top1", "agreement", "map")


@dataclass(frozen=True, slots=True)
class Score:
    """What one model reaches: ``value`` of the metric; the others are None where the metric is not top1.

    ``standard_error`` is that of the binomial distribution; ``ece`` the expected calibration error over 15 bins, of
    ``scores`` that are "probabilities", or "logits" to which softmax was applied. ``undefined`` samples have NaN
    among their scores: they count as wrong.
    """

    model: str
    value: float
    right: int | None = None
    standard_error: float | None = None
    ece: float | None = None
    scores: str = ""
    undefined: int = 0


@dataclass(frozen=True, slots=True)
class Beside:
    """The model beside another: ``difference`` is its value minus the other's, with the standard error for pairs.

    ``gained`` samples only this model has right, ``lost`` only the other; ``p_value`` is McNemar's, exact: how likely
    so uneven a split is if neither is better. ``agree``: on how many samples the answers are the same. The errors are
    the largest over all outputs and samples, absolute and relative to the largest output of the other model for that
    sample; ``relative`` is the norm of all errors over that of all outputs. None where it does not apply.
    """

    other: Score
    difference: float | None
    standard_error: float | None
    gained: int | None
    lost: int | None
    p_value: float | None
    agree: int | None
    max_abs: float | None
    max_rel: float | None
    relative: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    metric: str
    samples: int
    score: Score
    against: Beside | None = None

    @property
    def value(self) -> float:
        return self.score.value


def evaluate(
    model: AnyModel, data: str | Path | Mapping[str, Array], metric: str | Metric = "top1",
    against: AnyModel | None = None, *,
    output: str | None = None, runtime: str = "auto", on_progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Run all samples of ``data`` and compare the answers with its labels.

    Args:
        model: an ONNX file or graph (run by onnxruntime, in batches if its batch is symbolic), a bundle or a session.
        data: an .npz or arrays by name: one per input of the model, samples stacked on axis 0, and what the metric
            needs: ``labels`` [n], integers, for "top1"; ``boxes`` and ``box_labels`` for "map".
        metric: "top1", "agreement" (how often the answer is that of ``against``; needs no labels), "map" (see
            `detection`), or a function of (outputs, data), both arrays by name, that gives a number.
        against: the model to stand beside, the dense one mostly.
        output: which output holds the scores of classes, where there are several.
        runtime: what runs a bundle.
        on_progress: called with (samples done, samples in all).

    Raises:
        InputError: a file, metric or array that cannot be used: arrays that do not fit the inputs, NaN, labels that are
            missing, of another number, or outside of the classes.
        RuntimeFailure: the engine failed.
    """
    _check_metric(metric, against)
    arrays = {k: np.asarray(v) for k, v in (read_arrays(Path(data)) if isinstance(data, str | Path) else data).items()}
    models = [model] if against is None else [against, model]
    found: list[tuple[Engine, Outputs]] = []
    for k, each in enumerate(models):
        with open_engine(each, runtime) as engine:
            stacks = stacks_of(engine, arrays, metric)

            def report(done: int, total: int, before: int = k) -> None:
                if on_progress is not None:
                    on_progress(before * total + done, len(models) * total)

            found.append((engine, engine.run(stacks, report)))
    engine, outputs = found[-1]
    samples = len(next(iter(outputs.values())))
    rest = {k: v for k, v in arrays.items() if k not in engine.inputs or callable(metric)}
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    if against is None:
        return Evaluation(name, samples, _score(engine.name, outputs, rest, metric, output)[0])
    other_engine, other_outputs = found[0]
    score, own = _score(engine.name, outputs, rest, metric, output, other_outputs)
    other, others = _score(other_engine.name, other_outputs, rest, metric, output, other_outputs)
    beside = _beside(score, other, own, others, rest.get("labels") if metric == "top1" else None)
    worst = _errors(other_outputs, outputs)
    return Evaluation(name, samples, score, Beside(other, *beside, *worst))


def _check_metric(metric: str | Metric, against: object) -> None:
    if not callable(metric) and metric not in METRICS:
        raise InputError(
            f"unknown metric '{metric}'", hint=f"known: {', '.join(METRICS)}, or a function (FILE.py:FUNCTION)"
        )
    if metric == "agreement" and against is None:
        raise InputError("metric 'agreement' compares with another model", hint="name it: against= (--against)")


def stacks_of(engine: Engine, arrays: Mapping[str, Array], metric: str | Metric) -> dict[str, Array]:
    """The arrays of ``engine``'s inputs. Raises InputError where one is missing or has NaN, or labels do not fit."""
    missing = [name for name in engine.inputs if name not in arrays]
    if missing:
        raise InputError(
            f"no array for input '{missing[0]}'; there are {', '.join(arrays) or 'none'}", where="data",
            hint="one array per input of the model, samples stacked on axis 0, and labels",
        )  # fmt: skip
    for name in engine.inputs:
        array = arrays[name]
        count = int(np.count_nonzero(np.isnan(array))) if array.dtype.kind == "f" else 0
        if count:
            raise InputError(
                f"holds {count} NaN value{'s' if count > 1 else ''}",
                where=f"input '{name}'",
                hint="remove those samples",
            )
    if metric == "top1" and engine.inputs:
        _check_labels(arrays, len(arrays[engine.inputs[0]]))  # before minutes of work
    return {name: arrays[name] for name in engine.inputs}


def _check_labels(arrays: Mapping[str, Array], samples: int) -> None:
    hint = "labels: [n], integers, one for each sample"
    if "labels" not in arrays:
        raise InputError("metric 'top1' needs an array 'labels'", where="data", hint=hint)
    labels = arrays["labels"]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise InputError(f"expected integers [n], got {labels.dtype} {list(labels.shape)}", where="labels", hint=hint)
    if len(labels) != samples:
        raise InputError(f"{len(labels)} labels for {samples} samples", where="labels", hint=hint)


def _score(
    name: str, outputs: Outputs, data: Mapping[str, Array], metric: str | Metric, output: str | None,
    others: Outputs | None = None,
) -> tuple[Score, Answers | None]:  # fmt: skip
    """``others``: the outputs that "agreement" compares with."""
    if callable(metric) or metric == "map":
        function = metric if callable(metric) else mean_average_precision
        return Score(name, _number(function(outputs, data), metric)), None
    scores = _class_scores(outputs, output, name)
    own = answers(scores)
    if metric == "top1":
        labels = data["labels"].astype(np.int64)
        outside = labels[(labels < 0) | (labels >= scores.shape[1])]
        if outside.size:
            what = f"class {outside[0]}, but the model has classes 0 to {scores.shape[1] - 1}"
            raise InputError(what, where="labels", hint="classes are counted from 0")
    else:
        assert others is not None
        labels = answers(_class_scores(others, output, name)).classes
    right = (own.classes == labels) & (own.classes >= 0)
    share, count = float(right.mean()), len(labels)
    ece = expected_calibration_error(own.confidence, right) if metric == "top1" else None
    score = Score(
        name, share, int(right.sum()), standard_error(share, count), ece, own.scores, own.undefined
    )  # fmt: skip
    return score, own


def _number(value: object, metric: str | Metric) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
        raise InputError(
            f"{name} gave {type(value).__name__}, not a number", where="metric", hint="return one float"
        ) from error
    return number


def _class_scores(outputs: Outputs, output: str | None, model: str) -> Array:
    """(n, classes) of the one output, or the one that is named; dimensions of 1 are left out."""
    known = ", ".join(f"'{k}' {list(v.shape)}" for k, v in outputs.items())
    if output is not None and output not in outputs:
        raise InputError(f"no output '{output}'", where=model, hint=f"outputs: {known}")
    if output is None and len(outputs) != 1:
        raise InputError(
            f"several outputs: {known}", where=model, hint="which has the classes? output= (--output NAME)"
        )
    array = outputs[output] if output is not None else next(iter(outputs.values()))
    dims = [d for d in array.shape[1:] if d != 1]
    if len(dims) > 1 or array.size == 0 or array.dtype.kind not in "fiu":
        raise InputError(
            f"output {array.dtype} {list(array.shape)} has no score for each class", where=model,
            hint="give a Python function as metric: --metric FILE.py:FUNCTION",
        )  # fmt: skip
    return array.reshape(len(array), -1)


def _beside(
    score: Score, other: Score, own: Answers | None, others: Answers | None, labels: Array | None
) -> tuple[float | None, float | None, int | None, int | None, float | None, int | None]:
    """(difference, its standard error, gained, lost, p-value, agree)."""
    difference = score.value - other.value if isfinite(score.value) and isfinite(other.value) else None
    if own is None or others is None:
        return difference, None, None, None, None, None
    agree = int(((own.classes == others.classes) & (own.classes >= 0)).sum())
    if labels is None:
        return None, None, None, None, None, agree
    right, before = own.classes == labels, others.classes == labels
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    error = paired_standard_error(gained, lost, len(labels))
    return difference, error, gained, lost, mcnemar(gained, lost), agree


def _errors(reference: Outputs, given: Outputs) -> tuple[float | None, float | None, float | None]:
    """(largest absolute, largest relative, relative norm) over the outputs that both have, in the same shape."""
    both = [k for k, v in reference.items() if k in given and _flat(given[k]) == _flat(v) and v.dtype.kind in "fiu"]
    pairs = [(k, reference[k], given[k].reshape(reference[k].shape)) for k in both]
    errors = [output_error(k, list(a), list(b)) for k, a, b in pairs]
    if not errors:
        return None, None, None
    off = sum(float(np.sum(np.square(a.astype(np.float64) - b))) for _, a, b in pairs)
    all_of_it = sum(float(np.sum(np.square(a.astype(np.float64)))) for _, a, _ in pairs)
    relative = (off / all_of_it) ** 0.5 if all_of_it else None
    return max(e.max_abs for e in errors), max(e.max_rel for e in errors), relative


def _flat(array: Array) -> list[int]:
    return [d for d in array.shape if d != 1]
