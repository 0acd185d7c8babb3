"""Sets of features as rows of a float64 array: checked, counted, and in an order of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvdm.errors import counted

Rows = NDArray[np.float64]
"""(n, d): one feature vector of length d for each of n clips."""


def checked_rows(features: ArrayLike, name: str = "features", minimum: int = 2) -> Rows:
    """`features` as contiguous float64 (n, d), finite, with at least `minimum` rows; the argument is not changed.

    Raises `ValueError` that starts with `name` for anything else.
    """
    rows = np.ascontiguousarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"{name}: should be (rows, dimensions), it is {rows.shape}")
    if len(rows) < minimum:
        raise ValueError(f"{name}: {counted(len(rows), 'row')}, at least {minimum} are needed: measure more clips")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        which = f"row {bad[0]} ({len(bad)} of {len(rows)} rows)"
        raise ValueError(f"{name}: {which} has NaN or infinite values: extract it again or leave it out")
    return rows


def checked_pair(x: ArrayLike, y: ArrayLike, minimum: int = 2) -> tuple[Rows, Rows]:
    """Two sets of rows of one length; raises `ValueError` as `checked_rows` does, and where the lengths differ."""
    first, second = checked_rows(x, "first set", minimum), checked_rows(y, "second set", minimum)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"features of {first.shape[1]} and of {second.shape[1]} dimensions: use one extractor for both sets"
        )
    return first, second


def sorted_rows(rows: Rows) -> Rows:
    """The same rows in an order that depends on their values alone: sets that are equal become equal arrays.

    The order is that of the bytes, which means nothing else. It costs milliseconds where ordering by value does not.
    """
    rows = rows + 0.0  # -0.0 and 0.0 are equal but differ in their bytes
    return rows[np.argsort(_row_bytes(rows), kind="stable")]


def count_unique_rows(features: ArrayLike) -> int:
    """How many different rows there are: clips that are counted twice add nothing to a distance of sets.

    Raises `ValueError` for features that are not (n, d) and finite.
    """
    return len(np.unique(_row_bytes(checked_rows(features, minimum=0) + 0.0)))


def _row_bytes(rows: Rows) -> NDArray[np.void]:
    """Each row as one item of raw bytes, which numpy sorts and compares as a whole."""
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
