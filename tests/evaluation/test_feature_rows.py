"""Sets of features: what is refused, and an order that is theirs."""

from __future__ import annotations

import numpy as np
import pytest

from lvdm.evaluation.feature_rows import checked_pair, checked_rows, count_unique_rows, sorted_rows


def test_an_order_of_their_own() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 3))
    rows[7] = rows[3]
    shuffled = np.random.default_rng(1).permutation(rows)
    assert not np.array_equal(rows, shuffled)
    assert np.array_equal(sorted_rows(rows), sorted_rows(shuffled))
    assert sorted(map(tuple, sorted_rows(rows))) == sorted(map(tuple, rows)), "no row is lost"


def test_both_zeros_are_one_value() -> None:
    assert np.array_equal(sorted_rows(np.array([[0.0], [1.0]])), sorted_rows(np.array([[1.0], [-0.0]])))
    assert count_unique_rows([[0.0], [-0.0], [1.0]]) == 2


def test_unique_rows_are_counted() -> None:
    rows = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    assert count_unique_rows(rows) == 40
    assert count_unique_rows(np.concatenate([rows, rows[:9]])) == 40
    assert count_unique_rows(np.empty((0, 5))) == 0


def test_rows_become_float64_and_the_argument_stays() -> None:
    features = np.ones((3, 2), dtype=np.float32)[:, ::-1]
    rows = checked_rows(features)
    assert rows.dtype == np.float64
    assert rows.flags.c_contiguous
    assert features.dtype == np.float32


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(4), "should be"),
        (np.zeros((3, 0)), "should be"),
        (np.zeros((2, 3, 4)), "should be"),
        (np.zeros((1, 4)), "1 row, at least 2"),
        ([[1.0, 2.0], [3.0, np.nan]], r"row 1 \(1 of 2 rows\)"),
        ([[np.inf, 2.0], [3.0, 4.0]], "row 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(features: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_rows(features, "real")  # type: ignore[arg-type]


def test_two_extractors_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="of 4 and of 5 dimensions"):
        checked_pair(np.zeros((3, 4)), np.zeros((3, 5)))
