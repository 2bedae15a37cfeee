"""Accuracy over sparsity, one shot and without retraining, beside random masks.

"The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that Matter": sparsities 0, 5, ... 90%,
and the point up to which nothing is lost. Random masks are the baseline, as in "The Unreasonable Effectiveness of
Random Pruning: Return of the Most Naive Baseline for Sparse Training".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesparse.errors import InputError
from edgesparse.evaluate import Evaluation, Metric, evaluate, stacks_of
from edgesparse.patterns import parse_pattern
from edgesparse.sparsify import sparsify
from edgesparse.sparsity.knee import knee, within_loss
from edgesparse.stacks import Recorded, open_engine
from edgesparse.types import Array

if TYPE_CHECKING:
    import onnx_ir as ir

SPARSITIES = tuple(round(0.05 * k, 2) for k in range(19))
NM = ("nm:4:8", "nm:2:8", "nm:1:8", "nm:2:4", "nm:1:4")
RANDOM = "random"
CALIBRATED = ("wanda", "sparsegpt", "obc")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """``sparsity`` was asked for, ``zeros`` is the share in the pruned weights; ``agreement`` and ``relative_error``
    compare with the dense model: the share of same answers, and the norm of errors over that of outputs."""

    sparsity: float
    zeros: float
    value: float
    ece: float | None
    agreement: float | None
    relative_error: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """``s_1pct``: the largest sparsity that loses at most 1% of the dense value; ``s_knee``: where the drop begins.

    None for patterns whose sparsity is fixed, which have one point.
    """

    pattern: str
    method: str
    points: tuple[Point, ...]
    s_1pct: float | None
    s_knee: float | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """``dense`` is the value at sparsity 0. ``metric`` is "agreement" where the data has no labels."""

    metric: str
    samples: int
    dense: float
    standard_error: float | None
    dense_ece: float | None
    curves: tuple[Curve, ...]


def sweep(
    model: ir.Model, data: str | Path | Mapping[str, Array], patterns: Sequence[str] = ("unstructured",),
    methods: Sequence[str] = ("magnitude",), *, calibration: Mapping[str, Array] | None = None,
    sparsities: Sequence[float] = SPARSITIES, metric: str | Metric | None = None, output: str | None = None,
    rearrange: bool = False, keep: Sequence[str] = (), include: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> Sweep:  # fmt: skip
    """Sparsify copies of ``model`` at each of ``sparsities`` and evaluate them; for each pattern random masks as well.

    ``model`` is not changed. ``data`` and ``metric`` as for `evaluate`; without a metric it is top1 where there are
    labels, else agreement with the dense model. ``calibration`` goes to the methods that need it.
    ``rearrange`` searches an order of channels at every sparsity, which may take much longer than all else; never for
    random masks, for which no order is better.

    Raises:
        InputError: as `evaluate` and `sparsify`, or sparsities that are not in [0, 1).
    """
    wanted = sorted({float(s) for s in sparsities} - {0.0})
    if not wanted or wanted[0] < 0 or wanted[-1] >= 1:
        raise InputError(f"sparsities {list(sparsities)} are not in [0, 1)", hint="0.05 to 0.9 in steps of 0.05")
    fixed: dict[str, float | None] = {p: getattr(parse_pattern(p), "fixed_sparsity", None) for p in patterns}
    missing = [m for m in methods if m in CALIBRATED and calibration is None]
    if missing:  # before anything runs
        raise InputError(f"method '{missing[0]}' needs calibration samples", hint="--calibration x.npz, or magnitude")
    arrays = _arrays(data)
    chosen = metric or ("top1" if "labels" in arrays else "agreement")
    with open_engine(model) as engine:
        known = Recorded(engine, engine.run(stacks_of(engine, arrays, chosen)))
    dense = evaluate(known, arrays, chosen, known, output=output)
    curves, names = [], [*dict.fromkeys([*methods, RANDOM])]
    plan = [(p, m, wanted if f is None else [f]) for p, f in fixed.items() for m in names]
    total, done = sum(len(each) for _, _, each in plan), 0
    for pattern, method, each in plan:
        points = [] if fixed[pattern] is not None else [_point(0.0, 0.0, dense)]
        for s in each:
            if on_progress is not None:
                on_progress(done, total, f"{pattern} {method} {s:g}")
            copy = model.clone()
            report = sparsify(
                copy, pattern, s, method, keep=keep, include=include, rearrange=rearrange and method != RANDOM,
                calibration=calibration if method in CALIBRATED else None,
            )  # fmt: skip
            points.append(_point(s, report.zeros, evaluate(copy, arrays, chosen, known, output=output)))
            done += 1
        curves.append(_curve(pattern, method, points))
    if on_progress is not None:
        on_progress(total, total, "")
    score = dense.score
    return Sweep(dense.metric, dense.samples, score.value, score.standard_error, score.ece, tuple(curves))


def _curve(pattern: str, method: str, points: Sequence[Point]) -> Curve:
    s, values = [p.sparsity for p in points], [p.value for p in points]
    many = len(points) > 1
    return Curve(
        pattern, method, tuple(points), within_loss(s, values) if many else None, knee(s, values) if many else None
    )


def _point(sparsity: float, zeros: float, found: Evaluation) -> Point:
    b = found.against
    assert b is not None
    agreement = None if b.agree is None else b.agree / found.samples
    return Point(sparsity, zeros, found.value, found.score.ece, agreement, b.relative)


def _arrays(data: str | Path | Mapping[str, Array]) -> dict[str, Array]:
    from edgesparse.samples import read_arrays

    return read_arrays(Path(data)) if isinstance(data, str | Path) else {k: np.asarray(v) for k, v in data.items()}
