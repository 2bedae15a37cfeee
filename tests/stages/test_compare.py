"""The error figures of `compare`, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.compare import output_error
from edgesparse.errors import InputError
from edgesparse.tables import milliseconds
from edgesparse.types import Array


def _f32(*rows: list[float]) -> Array:
    return np.array(rows, np.float32)


def test_relative_to_the_largest_output_of_the_sample() -> None:
    found = output_error("y", [_f32([1, -4]), _f32([100, 0])], [_f32([1.5, -4]), _f32([101, 0])])
    assert (found.max_abs, found.max_rel, found.agree, found.rows) == (1.0, 0.125, 2, 2)


def test_zeros_are_compared_absolutely() -> None:
    assert output_error("y", [_f32([0, 0])], [_f32([0, 0.25])]).max_rel == 0.25


def test_argmax_along_the_last_axis() -> None:
    found = output_error("y", [_f32([1, 2], [2, 1], [3, 4])], [_f32([1, 2], [1, 2], [3, 4])])
    assert (found.agree, found.rows) == (2, 3)


@pytest.mark.parametrize(("a", "b", "off"), [
    (np.nan, np.nan, 0), (np.inf, np.inf, 0), (-np.inf, -np.inf, 0), (np.nan, 1, np.inf), (1, np.nan, np.inf),
    (np.inf, -np.inf, np.inf), (np.inf, 1, np.inf), (1, np.inf, np.inf),
])  # fmt: skip
def test_nan_and_infinity(a: float, b: float, off: float) -> None:
    found = output_error("y", [_f32([a, 1])], [_f32([b, 1])])
    assert found.max_abs == off and found.max_rel == off


def test_integers_scalars_and_nothing() -> None:
    assert output_error("n", [np.array([2**40])], [np.array([2**40 + 1])]).max_abs == 1
    assert output_error("s", [np.float32(2) * np.ones(())], [np.ones(())]).max_rel == 0.5
    assert output_error("e", [np.zeros((0, 3))], [np.zeros((0, 3))]).rows == 0


def test_other_shapes() -> None:
    with pytest.raises(InputError, match="onnxruntime gives shape"):
        output_error("y", [np.ones((1, 2))], [np.ones((2, 1))])


def test_milliseconds() -> None:
    figures = milliseconds([1_000_000 * n for n in (10, 2, 3, 4, 5, 6, 7, 8, 9, 1)])
    assert figures["count"] == 10 and figures["min"] == 1 and figures["max"] == 10
    assert figures["median"] == 5.5 and figures["mean"] == 5.5 and figures["p90"] == 9
    assert figures["std"] == pytest.approx(np.std(range(1, 11), ddof=1))
    assert milliseconds([2_000_000])["p90"] == 2 and milliseconds([2_000_000])["std"] == 0
