"""Bootstrap intervals: what they cover, and that the same seed gives the same bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvdm.evaluation.frechet import frechet_distance
from lvdm.evaluation.kernel_distance import kernel_distance
from lvdm.evaluation.resampled_distances import resampled_frechet_distances, resampled_kernel_distances
from lvdm.evaluation.resampling import (
    Interval,
    bootstrap_mean,
    distances_by_count,
    paired_difference,
    percentile_interval,
    resampled_indices,
    separated,
    subset_indices,
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_draws_never_change() -> None:
    """Intervals of old results can be made again."""
    draws = [tuple(index.tolist() for index in draw) for draw in resampled_indices([5, 4], seed=7, resamples=2)]
    assert draws == PINNED_DRAWS
    assert subset_indices(10, 4, seed=7, draw=0).tolist() == PINNED_SUBSET


PINNED_DRAWS = [([4, 1, 2, 2, 0], [0, 2, 3, 2]), ([4, 1, 0, 2, 3], [2, 3, 3, 3])]
PINNED_SUBSET = [1, 4, 6, 8]


def test_draws_are_uniform_and_differ() -> None:
    draws = np.array([draw[0] for draw in resampled_indices([10], seed=1, resamples=2000)])
    counts = np.bincount(draws.ravel(), minlength=10)
    assert len(counts) == 10
    assert abs(counts - 2000).max() < 4 * math.sqrt(20_000 * 0.1 * 0.9)
    assert not np.array_equal(draws[0], draws[1])
    places = next(resampled_indices([10, 10], seed=1, resamples=1))
    assert not np.array_equal(*places), "two sets are drawn independently"
    other = next(resampled_indices([10], seed=2, resamples=1))
    assert not np.array_equal(draws[0], other[0])


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = normal(400)
    interval = bootstrap_mean(values, seed=0, resamples=2000)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.1 * error)
    assert bootstrap_mean(values, seed=0, resamples=2000) == interval
    assert bootstrap_mean(values, seed=1, resamples=2000) != interval
    narrow = bootstrap_mean(values, seed=0, resamples=2000, confidence=0.5)
    assert interval.low < narrow.low < narrow.high < interval.high


def test_a_constant_has_no_width() -> None:
    assert bootstrap_mean(np.full(10, 0.25), seed=0) == Interval(0.25, 0.25)
    assert bootstrap_mean([3.0], seed=0) == Interval(3.0, 3.0)


def test_pairs_show_what_means_alone_hide() -> None:
    clips = normal(100) * 10
    a, b = clips + 0.5 + 0.1 * normal(100, seed=1), clips
    assert separated(paired_difference(a, b, seed=0)), "the same clips, each a little better"
    alone, other = bootstrap_mean(a, seed=0), bootstrap_mean(b, seed=0)
    assert alone.low < other.high, "the intervals of the means overlap"
    assert not separated(paired_difference(b, b[::-1], seed=0))
    assert paired_difference(b, b, seed=0) == Interval(0, 0)


def test_separated() -> None:
    assert separated(Interval(0.1, 0.2))
    assert separated(Interval(-2, -1))
    assert not separated(Interval(-1, 1))
    assert not separated(Interval(0, 1))
    assert separated(Interval(0, 0.5), from_value=1)


def test_a_centred_interval_surrounds_the_distance() -> None:
    """Resamples of one distribution lie at about twice the floor: their own interval would leave the value out."""
    x, y = normal(100, 8), normal(100, 8, seed=1)
    value = frechet_distance(x, y)
    values = resampled_frechet_distances(x, y, seed=0, resamples=50)
    raw, centred = percentile_interval(values), percentile_interval(values, centre=value)
    assert value < raw.low
    assert centred.low < value < centred.high
    assert centred.high - centred.low == pytest.approx(raw.high - raw.low)


def test_distances_of_subsets_fall_with_their_size() -> None:
    x, y = normal(120, 6), normal(120, 6, seed=1)
    values = distances_by_count(x, y, frechet_distance, [120, 30, 60], seed=0)
    assert list(values) == [30, 60, 120]
    assert values[30] > values[60] > values[120] == frechet_distance(x, y)
    assert distances_by_count(x, y, frechet_distance, [120, 30, 60], seed=0) == values
    with pytest.raises(ValueError, match="subset of 121 rows"):
        distances_by_count(x, y, frechet_distance, [121], seed=0)


@pytest.mark.parametrize("dimensions", [4, 60], ids=["more rows", "fewer rows than dimensions"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_fast_resamples_are_those_of_frechet_distance(dimensions: int, ddof: int) -> None:
    x, y = normal(50, dimensions) + 100, 2 * normal(40, dimensions, seed=1) + 100
    if dimensions == 4:
        x[:, 3] = x[:, 2]  # a covariance that has no inverse
    fast = resampled_frechet_distances(x, y, seed=3, resamples=5, ddof=ddof)
    slow = [frechet_distance(x[i], y[j], ddof) for i, j in resampled_indices([50, 40], seed=3, resamples=5)]
    np.testing.assert_allclose(fast, slow, rtol=1e-6)


def test_fast_resamples_are_those_of_kernel_distance() -> None:
    x, y = normal(50, 6), normal(40, 6, seed=1) + 0.5
    fast = resampled_kernel_distances(x, y, seed=3, resamples=5)
    slow = [kernel_distance(x[i], y[j]) for i, j in resampled_indices([50, 40], seed=3, resamples=5)]
    np.testing.assert_allclose(fast, slow, rtol=1e-10)


def test_two_models_are_resampled_alike() -> None:
    """Their distances to one reference move together, so that the difference has the narrower interval."""
    real, a = normal(100, 5), normal(100, 5, seed=1) + 0.5
    b = a + 0.05 * normal(100, 5, seed=2) + 0.05
    distances = [resampled_frechet_distances(fake, real, seed=0, resamples=60) for fake in (a, b)]
    assert (distances[0] - distances[1]).std() < 0.5 * distances[0].std()


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "one number per clip"), ([[1.0]], "one number per clip"), ([1.0, math.nan], "1 of 2 values are not finite")],
)
def test_bad_values_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_mean(values, seed=0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([1.0, 2.0], [1.0], seed=0)
    with pytest.raises(ValueError, match="a seed lies"):
        bootstrap_mean([1.0, 2.0], seed=-1)
    with pytest.raises(ValueError, match="1 resample or more"):
        bootstrap_mean([1.0, 2.0], seed=0, resamples=0)
    with pytest.raises(ValueError, match="confidence"):
        percentile_interval([1.0, 2.0], confidence=1)
    with pytest.raises(ValueError, match="1 row"):
        list(resampled_indices([3, 0], seed=0, resamples=1))
