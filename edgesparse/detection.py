"""Mean average precision of a detector, IoU 0.5, from boxes and scores as a network gives them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgesparse.errors import InputError
from edgesparse.types import Array

IOU = 0.5
CANDIDATES = 1000  # boxes of the largest scores that are looked at, per image and class
DETECTIONS = 100  # of them, what may remain

Boxes = NDArray[np.float64]
FORMAT = "boxes: [n, m, 4] as x0, y0, x1, y1, NaN where an image has fewer; box_labels: [n, m], integers"


def mean_average_precision(outputs: Mapping[str, Array], data: Mapping[str, Array]) -> float:
    """The mean, over all classes that occur in ``data["box_labels"]``, of the average precision at IoU 0.5.

    Outputs: boxes ``[n, k, 4]`` (corners x0, y0, x1, y1 in the unit of the data) and scores ``[n, k, classes]``, found
    by the names "boxes" and "scores", else by their shapes. A background class is one that no box of the data has.
    Data: ``boxes`` [n, m, 4], NaN where an image has fewer than m, and ``box_labels`` [n, m] (-1 there).

    For each class and image, of the 1000 boxes with the largest scores those that overlap a better one by more than
    0.5 are dropped (greedy non-maximum suppression; what was suppressed already stays as it is), and 100 are kept.
    All boxes of a class, by falling score, are each right if they overlap the best matching box that is still free by
    at least 0.5, else wrong. The average precision is the area under precision over recall, precision made
    non-increasing: all points, as in PASCAL VOC since 2010, not its 11 points.

    Raises:
        InputError: outputs or data of another form.
    """
    truth, labels = _truth(data)
    boxes, scores = _predictions(outputs)
    if len(truth) != len(boxes):
        raise InputError(f"boxes for {len(truth)} images, outputs for {len(boxes)}", where="array 'boxes'")
    present = np.unique(labels[~np.isnan(truth[..., 0])])
    if len(present) == 0:
        raise InputError("no image has a box", where="array 'boxes'", hint=FORMAT)
    if present[0] < 0 or present[-1] >= scores.shape[2]:
        wrong = int(present[0] if present[0] < 0 else present[-1])
        raise InputError(
            f"class {wrong}, but the model has classes 0 to {scores.shape[2] - 1}", where="array 'box_labels'"
        )
    return float(np.mean([_average_precision(boxes, scores[..., c], truth, labels == c) for c in present]))


def overlap(box: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of ``box`` (4,) with each of ``others`` (n, 4); 0 where both are empty."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=1)
    either = _area(box[None])[0] + _area(others) - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def suppress(boxes: Boxes, scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: the indices that stay, best first."""
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    kept: list[int] = []
    while len(order) and len(kept) < DETECTIONS:
        kept.append(int(order[0]))
        order = order[1:][overlap(boxes[order[0]], boxes[order[1:]]) <= IOU]
    return np.asarray(kept, np.int64)


def _average_precision(boxes: Boxes, scores: Boxes, truth: Boxes, own: NDArray[np.bool_]) -> float:
    """Of one class: ``scores`` (n, k); ``own`` (n, m) marks the boxes of ``truth`` (n, m, 4) that are of it."""
    own = own & ~np.isnan(truth[..., 0])
    found: list[tuple[float, bool]] = []
    for image in range(len(boxes)):
        targets = truth[image][own[image]]
        free = np.ones(len(targets), bool)
        for k in suppress(boxes[image], scores[image]):
            overlaps = overlap(boxes[image, k], targets) * free
            right = len(targets) > 0 and bool(overlaps.max() >= IOU)
            if right:
                free[overlaps.argmax()] = False
            found.append((float(scores[image, k]), right))
    found.sort(key=lambda each: -each[0])
    hits = np.cumsum([right for _, right in found])
    precision = hits / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = hits / own.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _area(boxes: Boxes) -> NDArray[np.float64]:
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1))


def _truth(data: Mapping[str, Array]) -> tuple[Boxes, NDArray[np.int64]]:
    for key in ("boxes", "box_labels"):
        if key not in data:
            raise InputError(f"metric 'map' needs an array '{key}'", where="data", hint=FORMAT)
    boxes, labels = np.asarray(data["boxes"], np.float64), np.asarray(data["box_labels"])
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise InputError(f"expected [n, m, 4], got {list(boxes.shape)}", where="array 'boxes'", hint=FORMAT)
    if labels.shape != boxes.shape[:2] or labels.dtype.kind not in "iu":
        what = f"expected integers {list(boxes.shape[:2])}, got {labels.dtype} {list(labels.shape)}"
        raise InputError(what, where="array 'box_labels'", hint=FORMAT)
    missing = np.isnan(boxes)
    if (missing.any(axis=2) != missing.all(axis=2)).any():
        raise InputError("a box has some coordinates that are NaN, and some that are not", where="array 'boxes'")
    return boxes, labels


def _predictions(outputs: Mapping[str, Array]) -> tuple[Boxes, Boxes]:
    """(n, k, 4) and (n, k, classes). A NaN score counts as the smallest one."""
    solid = {name: np.asarray(a) for name, a in outputs.items() if np.asarray(a).ndim == 3}
    fours = [name for name, a in solid.items() if a.shape[2] == 4]
    at = "boxes" if "boxes" in solid else fours[0] if len(fours) == 1 else None
    rest = [name for name in solid if name != at]
    scored = "scores" if "scores" in rest else rest[0] if len(rest) == 1 else None
    if at is None or scored is None or solid[at].shape != (*solid[scored].shape[:2], 4):
        shapes = ", ".join(f"'{name}' {list(np.asarray(a).shape)}" for name, a in outputs.items())
        raise InputError(
            f"outputs {shapes}: metric 'map' needs 'boxes' [n, k, 4] and 'scores' [n, k, classes]", where="model",
            hint="give a Python function as metric: --metric FILE.py:FUNCTION",
        )  # fmt: skip
    boxes, scores = solid[at].astype(np.float64), solid[scored].astype(np.float64)
    return np.nan_to_num(boxes), np.where(np.isnan(scores), -np.inf, scores)
