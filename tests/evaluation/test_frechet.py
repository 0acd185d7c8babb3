"""The Fréchet distance against values known in closed form, the laws it obeys, and another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.image.fid import _compute_fid

from lvdm.evaluation.frechet import (
    Extrapolation,
    extrapolate,
    frechet_distance,
    sample_floor,
)
from lvdm.evaluation.resampling import distances_by_count

Array = NDArray[np.float64]


def random_rows(n: int, d: int, seed: int = 0) -> Array:
    """Rows whose dimensions depend on each other, with a mean of their own."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)


def rotation(d: int) -> Array:
    return np.linalg.qr(np.random.default_rng(9).standard_normal((d, d)))[0]


def rows_with(mean: Array, variances: Array, n: int, axes: Array) -> Array:
    """n rows whose mean and covariance (divided by n - 1) are exactly these: variances along orthogonal `axes`."""
    noise = np.random.default_rng(5).standard_normal((n, len(mean)))
    directions = np.linalg.qr(noise - noise.mean(axis=0))[0]  # orthonormal columns, each of mean 0
    return mean + math.sqrt(n - 1) * directions * np.sqrt(variances) @ axes.T


@pytest.mark.parametrize("ddof", [0, 1])
def test_gaussians_whose_covariances_commute(ddof: int) -> None:
    """|m1 - m2|^2 + sum (sqrt(l1) - sqrt(l2))^2, in 400 dimensions."""
    d, n = 400, 1000
    i = np.arange(d)
    l1, l2 = 1 + (i % 7) / 3, 0.2 + (i % 5) / 2
    shift = np.sin(i)
    x = rows_with(np.zeros(d), l1, n, rotation(d))
    y = rows_with(shift, l2, n, rotation(d))
    factor = 1 if ddof else (n - 1) / n
    expected = np.square(shift).sum() + factor * np.square(np.sqrt(l1) - np.sqrt(l2)).sum()
    assert frechet_distance(x, y, ddof) == pytest.approx(expected, rel=1e-11)


def test_two_means_without_variance() -> None:
    x, y = np.full((3, 2), 1.0), np.array([[4.0, 5.0], [4.0, 5.0]])
    assert frechet_distance(x, y) == 25


@pytest.mark.parametrize("n", [7, 40, 200])
def test_one_set_is_at_exactly_no_distance_from_itself(n: int) -> None:
    x = random_rows(n, 40)
    assert frechet_distance(x, np.random.default_rng(1).permutation(x)) == 0.0
    assert frechet_distance(x.astype(np.float32), x.astype(np.float32)) == 0.0


@pytest.mark.parametrize(("n", "m"), [(200, 300), (200, 12), (12, 200), (9, 11)])
def test_laws(n: int, m: int) -> None:
    d = 30
    x, y = random_rows(n, d, 1), random_rows(m, d, 2) * 1.3
    distance = frechet_distance(x, y)
    assert distance > 0
    assert frechet_distance(y, x) == pytest.approx(distance, rel=1e-12), "symmetry"
    assert frechet_distance(-3 * x, -3 * y) == pytest.approx(9 * distance, rel=1e-12), "scaling by c is by c^2"
    assert frechet_distance(x @ rotation(d), y @ rotation(d)) == pytest.approx(distance, rel=1e-10), "rotation"
    assert frechet_distance(x + 5, y + 5) == pytest.approx(distance, rel=1e-10), "translation"
    shift = np.linspace(-1, 1, d)
    moved = 2 * (x.mean(axis=0) - y.mean(axis=0)) @ shift + shift @ shift
    assert frechet_distance(x + shift, y) == pytest.approx(distance + moved, rel=1e-10), "only means move"
    shuffled = np.random.default_rng(3).permutation(x), np.random.default_rng(4).permutation(y)
    assert frechet_distance(*shuffled) == distance, "the order of rows changes no digit"


@pytest.mark.parametrize(("n", "m", "tolerance"), [(200, 150, 1e-6), (400, 400, 1e-6), (20, 50, 1e-6)])
def test_agreement_with_torchmetrics(n: int, m: int, tolerance: float) -> None:
    x, y = random_rows(n, 30, 1), random_rows(m, 30, 2)
    moments = [torch.from_numpy(a) for r in (x, y) for a in (r.mean(axis=0), np.cov(r, rowvar=False))]
    expected = _compute_fid(*moments).item()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("spectrum", [np.ones(10), 1 / np.arange(1, 11.0)], ids=["white", "power law"])
def test_the_floor_is_what_simulation_finds(spectrum: Array) -> None:
    n, repeats = 200, 100
    rng = np.random.default_rng(0)

    def sample(count: int) -> Array:
        return rng.standard_normal((count, 10)) * np.sqrt(spectrum)

    found = [frechet_distance(sample(n), sample(n)) for _ in range(repeats)]
    floor = sample_floor(sample(20_000), n)
    assert floor == pytest.approx(np.mean(found), abs=4 * np.std(found) / math.sqrt(repeats)), "4 standard errors"
    uneven = np.mean([frechet_distance(sample(n), sample(4 * n)) for _ in range(repeats)])
    assert sample_floor(sample(20_000), n, 4 * n) == pytest.approx(uneven, rel=0.1)


def test_the_floor_of_white_features() -> None:
    """2 tr S + sum = 2 d + d (d - 1) / 2 + d for S = 1; 39.55 in the setting of most papers (d 400, n 2048)."""
    d = 40
    x = rows_with(np.zeros(d), np.ones(d), 100, np.eye(d))
    assert sample_floor(x, 2048) == pytest.approx((2 * d + d * (d - 1) / 2 + d) / 2048)
    assert sample_floor(x) == pytest.approx(2048 / 100 * sample_floor(x, 2048))
    assert sample_floor(np.ones((4, 3))) == 0


def test_extrapolation_of_a_line_is_exact() -> None:
    line = extrapolate({n: 7.5 + 300 / n for n in (10, 20, 50)})
    assert line.value == pytest.approx(7.5)
    assert line.slope == pytest.approx(300)
    assert line.residual == pytest.approx(0, abs=1e-12)
    assert Extrapolation(7.5, 300, 0).at(100) == 10.5


def test_extrapolation_recovers_the_true_distance() -> None:
    rng = np.random.default_rng(0)
    d, n = 20, 400
    x, y = rng.standard_normal((n, d)), rng.standard_normal((n, d)) + 0.5
    values = distances_by_count(x, y, frechet_distance, [100, 133, 200, 400], seed=0, repeats=8)
    true, raw = 0.25 * d, values[400]
    assert abs(extrapolate(values).value - true) < 0.5 * abs(raw - true), "half the bias at least is gone"


@pytest.mark.parametrize(
    ("values", "message"), [({10: 1.0}, "two or more"), ({}, "two or more"), ({10: 1.0, 20: math.nan}, "finite")]
)
def test_what_cannot_be_extrapolated_is_refused(values: dict[int, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extrapolate(values)


def test_bad_input_is_refused() -> None:
    x = random_rows(5, 3)
    with pytest.raises(ValueError, match="second set: row 2"):
        frechet_distance(x, np.where(np.arange(5)[:, None] == 2, np.nan, x))
    with pytest.raises(ValueError, match="first set: 1 row,"):
        frechet_distance(x[:1], x)
    with pytest.raises(ValueError, match="one extractor"):
        frechet_distance(x, random_rows(5, 4))
    with pytest.raises(ValueError, match="ddof"):
        frechet_distance(x, x, ddof=2)
    with pytest.raises(ValueError, match="2 rows or more"):
        sample_floor(x, 1)
