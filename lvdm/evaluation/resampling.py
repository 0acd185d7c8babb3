"""How sure a number is: bootstrap intervals, and distances of growing subsets. The same seed gives the same bytes.

Rows are drawn by index, so that results depend on the order of rows: sort them by id first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Indices = NDArray[np.int64]
Values = NDArray[np.float64]
MIN_RANKED_CLIPS = 6
"""Fewer have no interval of 95 %: even from the least to the greatest value, five hold the middle of their distribution
in 1 - 2 / 2^5 = 94 % of cases (a sign test needs as many), and resamples of them stay inside that."""

Statistic = Callable[..., float]
"""Takes as many arrays as are resampled, with their rows drawn anew."""


@dataclass(frozen=True)
class Interval:
    """Where a value lies with 95 % confidence, or with the confidence asked for."""

    low: float
    high: float


def separated(difference: Interval, from_value: float = 0.0) -> bool:
    """Whether the interval of a difference leaves `from_value` out: only then is one better than the other."""
    return not difference.low <= from_value <= difference.high


def resampled_indices(counts: Sequence[int], seed: int, resamples: int) -> Iterator[tuple[Indices, ...]]:
    """`resamples` times, for each count n, n indices below n drawn with replacement.

    The k-th draw for a count at a place depends on seed, k, place and count alone: two models with the same number of
    clips are resampled alike, which is what pairs them. Raises `ValueError` for counts or `resamples` below 1.
    """
    if min(counts, default=0) < 1 or resamples < 1:
        raise ValueError(
            f"resampling needs 1 row and 1 resample or more, not rows {list(counts)}, {resamples} resamples"
        )
    for resample in range(resamples):
        yield tuple(_integers_below(n, n, seed, resample, place) for place, n in enumerate(counts))


def subset_indices(count: int, size: int, seed: int, draw: int, place: int = 0) -> Indices:
    """`size` different indices below `count`, in rising order; raises `ValueError` if there are not so many."""
    if not 1 <= size <= count:
        raise ValueError(f"a subset of {size} rows cannot be drawn from {count}")
    keys = _raw_bits(count, seed, draw, place)
    return np.sort(np.argsort(keys, kind="stable")[:size])


def percentile_interval(values: ArrayLike, confidence: float = 0.95, centre: float | None = None) -> Interval:
    """The middle `confidence` of the values of a statistic on resamples.

    `centre` moves the interval so that the mean of the values lies there. Give the statistic of the data itself for
    distances of sets: a resample has repeated rows, which raises every such distance by about its sample floor.
    """
    found = _checked_values(values)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, it is {confidence}")
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    shift = 0.0 if centre is None else centre - math.fsum(found) / len(found)
    return Interval(float(low) + shift, float(high) + shift)


def bootstrap_mean(values: ArrayLike, seed: int, resamples: int = 1000, confidence: float = 0.95) -> Interval:
    """The percentile interval of the mean of one number per clip.

    Raises `ValueError` for no values and for values that are not finite: leave clips without a value out.
    """
    found = _checked_values(values)
    draws = resampled_indices([len(found)], seed, resamples)
    return percentile_interval([found[index].mean() for (index,) in draws], confidence)


def paired_difference(
    a: ArrayLike, b: ArrayLike, seed: int, resamples: int = 1000, confidence: float = 0.95
) -> Interval:
    """The interval of mean(a) - mean(b), where the i-th values belong to the same clip: the same clips are drawn.

    Raises `ValueError` for different lengths, no values, and values that are not finite.
    """
    first, second = _checked_values(a), _checked_values(b)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values cannot be paired: keep the clips that both have")
    return bootstrap_mean(first - second, seed, resamples, confidence)


def distances_by_count(
    x: ArrayLike, y: ArrayLike, distance: Statistic, counts: Sequence[int], seed: int, repeats: int = 4
) -> dict[int, float]:
    """The mean of `distance` over `repeats` random subsets of n rows of each set, for every n in `counts`.

    Feed it to `frechet.extrapolate`, and draw it to show how a distance falls with n. Where n is all of both sets, they
    are measured once. Raises `ValueError` for a count that one of the sets does not have.
    """
    first, second = np.asarray(x), np.asarray(y)
    values = {}
    for n in sorted(set(counts)):
        times = 1 if n == len(first) == len(second) else repeats
        if times < 1:
            raise ValueError(f"a mean needs 1 subset or more, not {repeats}")
        found = [
            distance(
                first[subset_indices(len(first), n, seed, repeat, 0)],
                second[subset_indices(len(second), n, seed, repeat, 1)],
            )
            for repeat in range(times)
        ]
        values[n] = math.fsum(found) / times
    return values


def _integers_below(limit: int, size: int, seed: int, draw: int, place: int) -> Indices:
    """Uniform integers from the 53 upper bits, whose remainder is even to 1 in 2^53 / limit."""
    fractions = (_raw_bits(size, seed, draw, place) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (fractions * limit).astype(np.int64)


def _raw_bits(size: int, seed: int, draw: int, place: int) -> NDArray[np.uint64]:
    """Bits of Philox, which NumPy promises to keep, unlike what its generators make of them."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"a seed lies between 0 and 2^64 - 1, it is {seed}")
    counter = np.array([0, 0, place, draw], dtype=np.uint64)
    return np.random.Philox(counter=counter, key=seed).random_raw(size)


def _checked_values(values: ArrayLike) -> Values:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) == 0:
        raise ValueError(f"values should be one number per clip, they are of shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(found))} of {len(found)} values are not finite: leave them out"
        )
    return found
