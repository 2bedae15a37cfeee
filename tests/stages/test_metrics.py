"""Calibration, tests of significance, and mean average precision: against hand-computed cases."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesparse.detection import mean_average_precision, overlap, suppress
from edgesparse.errors import InputError
from edgesparse.metrics import answers, expected_calibration_error, mcnemar, paired_standard_error
from edgesparse.types import Array


def test_calibration_error_by_hand() -> None:
    # bins of 1/15: 0.95 and 0.96 share (14/15, 1]: 1 of 2 right, mean 0.955; 0.5 in (7/15, 8/15]: right
    confidence, right = np.array([0.95, 0.96, 0.5]), np.array([True, False, True])
    assert expected_calibration_error(confidence, right) == pytest.approx(2 / 3 * 0.455 + 1 / 3 * 0.5)


def test_calibration_error_of_the_borders() -> None:
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
    assert expected_calibration_error(np.array([1.0, 1.0]), np.array([False, True])) == 0.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_is_that_of_a_plain_loop(samples: list[tuple[float, bool]]) -> None:
    expected = 0.0
    for k in range(15):
        own = [(c, r) for c, r in samples if k < c * 15 <= k + 1]
        expected += abs(sum(r for _, r in own) - sum(c for c, _ in own)) / len(samples)
    confidence, right = np.array([c for c, _ in samples]), np.array([r for _, r in samples])
    assert expected_calibration_error(confidence, right) == pytest.approx(expected, abs=1e-9)


def test_mcnemar_is_the_binomial_tail() -> None:
    assert mcnemar(0, 0) == 1 and mcnemar(5, 5) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 32) == mcnemar(5, 0)
    assert mcnemar(2, 9) == pytest.approx(2 * sum(comb(11, k) for k in range(3)) / 2**11)
    assert mcnemar(400, 1600) < 1e-100


def test_paired_standard_error_is_that_of_the_differences() -> None:
    differences = np.array([1] * 6 + [-1] * 11 + [0] * 83)
    assert paired_standard_error(6, 11, 100) == pytest.approx(differences.std() / 10)


def test_answers_of_infinite_scores() -> None:
    found = answers(np.array([[np.inf, 1, 0], [-np.inf, -np.inf, 2], [np.nan, 1, 2]], np.float32))
    assert list(found.classes) == [0, 2, -1] and found.undefined == 1
    assert np.isfinite(found.confidence).all()


# -- mean average precision -------------------------------------------------------------------------------------------

Box = list[float]
A: Box = [0, 0, 10, 10]
B: Box = [20, 20, 30, 30]
C: Box = [50, 50, 60, 60]
NOTHING = [np.nan] * 4


def case(truth: list[list[tuple[Box, int]]], found: list[list[tuple[Box, list[float]]]]) -> float:
    """``truth``: for each image (box, class); ``found``: for each image (box, score of each class)."""
    most = max(len(each) for each in truth)
    boxes = np.array([[b for b, _ in each] + [NOTHING] * (most - len(each)) for each in truth], float)
    labels = np.array([[c for _, c in each] + [-1] * (most - len(each)) for each in truth])
    outputs = {
        "boxes": np.array([[b for b, _ in each] for each in found], np.float32),
        "scores": np.array([[s for _, s in each] for each in found], np.float32),
    }
    return mean_average_precision(outputs, {"boxes": boxes, "box_labels": labels})


def test_all_found() -> None:
    assert case([[(A, 0), (B, 1)]], [[(A, [0.9, 0.0]), (B, [0.0, 0.8])]]) == 1


def test_one_missed_and_one_wrong() -> None:
    # class 0, by score: A right (P 1, R 1/2), C wrong (P 1/2); B is never found: the area is 1/2
    assert case([[(A, 0), (B, 0)]], [[(A, [0.9]), (C, [0.8])]]) == pytest.approx(0.5)


def test_wrong_one_first() -> None:
    # C wrong, A right (P 1/2, R 1/2), B right (P 2/3, R 1): made non-increasing, precision is 2/3 at both
    assert case([[(A, 0), (B, 0)]], [[(C, [0.9]), (A, [0.8]), (B, [0.7])]]) == pytest.approx(2 / 3)


def test_all_points_and_not_eleven() -> None:
    # A right at R 1/3, C wrong, then B right at R 2/3 with P 2/3: 1/3 + 1/3 * 2/3. Eleven points would give 0.545
    third: Box = [80, 80, 90, 90]
    assert case([[(A, 0), (B, 0), (third, 0)]], [[(A, [0.9]), (C, [0.8]), (B, [0.7])]]) == pytest.approx(5 / 9)


def test_a_duplicate_is_suppressed_and_a_second_hit_is_wrong() -> None:
    near: Box = [0, 0, 10, 9]  # IoU 0.9 with A: dropped before it can count as wrong
    assert case([[(A, 0), (B, 0)]], [[(A, [0.9]), (near, [0.8]), (B, [0.7])]]) == 1
    half: Box = [0, 0, 10, 5]  # IoU 0.5 with A: not more than 0.5, so it stays; A is taken, so it is wrong
    expected = 0.5 + 0.5 * 2 / 3
    assert case([[(A, 0), (B, 0)]], [[(A, [0.9]), (half, [0.8]), (B, [0.7])]]) == pytest.approx(expected)


def test_overlap_of_exactly_one_half_is_right_and_below_is_not() -> None:
    assert case([[(A, 0)]], [[([0, 0, 10, 5], [0.9])]]) == 1
    assert case([[(A, 0)]], [[([0, 0, 10, 4.9], [0.9])]]) == 0


def test_the_mean_is_over_classes_that_occur() -> None:
    # class 0 is a background of which no box is: it does not count
    assert case([[(A, 1), (B, 2)]], [[(A, [0.99, 0.9, 0]), (C, [0.99, 0, 0.9])]]) == pytest.approx(0.5)


def test_scores_are_ranked_over_all_images() -> None:
    truth: list[list[tuple[Box, int]]] = [[(A, 0)], [(B, 0)]]
    # image 1 has a wrong box with a score between the two right ones
    found = case(truth, [[(A, [0.9]), (C, [0.1])], [(C, [0.8]), (B, [0.7])]])
    assert found == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_outputs_are_found_by_their_shapes() -> None:
    outputs = {"out0": np.array([[[0.9]]], np.float32), "out1": np.array([[A]], np.float32)}
    data: dict[str, Array] = {"boxes": np.array([[A]], float), "box_labels": np.array([[0]])}
    assert mean_average_precision(outputs, data) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"boxes": None}, "needs an array 'boxes'"),
        ({"boxes": np.zeros((1, 4))}, "expected \\[n, m, 4\\]"),
        ({"box_labels": np.array([[0.0]])}, "expected integers"),
        ({"box_labels": np.array([[7]])}, "class 7, but the model has classes 0 to 0"),
        ({"boxes": np.full((1, 1, 4), np.nan)}, "no image has a box"),
        ({"boxes": np.array([[[0, 0, 1, np.nan]]])}, "some coordinates that are NaN"),
        ({"boxes": np.array([[A], [A]], float), "box_labels": np.zeros((2, 1), int)}, "boxes for 2 images, outputs"),
    ],
)
def test_boxes_that_cannot_be_used(change: dict[str, Array | None], words: str) -> None:
    outputs = {"boxes": np.array([[A]], np.float32), "scores": np.array([[[0.9]]], np.float32)}
    data: dict[str, Array | None] = {"boxes": np.array([[A]], float), "box_labels": np.array([[0]]), **change}
    with pytest.raises(InputError, match=words):
        mean_average_precision(outputs, {k: v for k, v in data.items() if v is not None})


def test_a_classifier_is_no_detector() -> None:
    with pytest.raises(InputError, match="needs 'boxes'"):
        mean_average_precision(
            {"y": np.zeros((1, 12), np.float32)}, {"boxes": np.array([[A]], float), "box_labels": np.array([[0]])}
        )


def test_suppression_keeps_the_best_of_each_heap() -> None:
    boxes = np.array([A, [1, 0, 11, 10], B, [20, 20, 30, 29], [0, 0, 0, 0]], float)
    assert list(suppress(boxes, np.array([0.5, 0.9, 0.3, 0.4, 0.1]))) == [1, 3, 4]
    assert overlap(np.array([0, 0, 0, 0], float), boxes).max() == 0
