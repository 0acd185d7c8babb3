"""The kernel distance against closed forms, published constants, and another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from lvdm.evaluation import kernel_distance as module
from lvdm.evaluation.kernel_distance import biased_kernel_distance, kernel_distance, kernel_distance_subsets
from lvdm.evaluation.selftest import shifted_gaussians


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_shifted_gaussians_are_as_far_apart_as_they_should() -> None:
    assert shifted_gaussians(400, 100) == pytest.approx(0.955947, abs=5e-7)
    expected = shifted_gaussians(20, 5)
    found = [kernel_distance(normal(300, 20, 2 * i), normal(200, 20, 2 * i + 1) + 0.5) for i in range(40)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / math.sqrt(len(found)))
    same = [kernel_distance(normal(200, 20, 2 * i), normal(300, 20, 2 * i + 1)) for i in range(40)]
    assert np.mean(same) == pytest.approx(0, abs=4 * np.std(same) / math.sqrt(len(same))), "unbiased: 0 on average"
    assert min(same) < 0, "and so below 0 half of the time"


def test_published_constants() -> None:
    """Two values of JEDi's tests, of its biased estimate with degree 2 and coef0 0, without and with gamma = 1/d."""
    x = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    y = [[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]]
    assert biased_kernel_distance(x, y, degree=2, gamma=1.0, coef0=0.0) == pytest.approx(2436.5, abs=0.05)
    assert biased_kernel_distance(x, y, degree=2, coef0=0.0) == pytest.approx(270.7, abs=0.05)


def test_degree_1_is_the_distance_of_the_means() -> None:
    x, y = normal(30, 7), normal(20, 7, 1) + 1
    expected = np.square(x.mean(axis=0) - y.mean(axis=0)).sum() / 7
    assert biased_kernel_distance(x, y, degree=1) == pytest.approx(expected, rel=1e-12)
    assert biased_kernel_distance(x, y, degree=1, gamma=1.0, coef0=5.0) == pytest.approx(7 * expected, rel=1e-12)


@pytest.mark.parametrize(("degree", "gamma", "coef0"), [(3, None, 1.0), (2, 0.5, 0.0), (4, None, 2.0)])
def test_agreement_with_torchmetrics(degree: int, gamma: float | None, coef0: float) -> None:
    x, y = normal(60, 12), normal(60, 12, 1) + 0.3
    expected = poly_mmd(torch.from_numpy(x), torch.from_numpy(y), degree, gamma, coef0).item()
    assert kernel_distance(x, y, degree, gamma, coef0) == pytest.approx(expected, rel=1e-9)


def test_sets_of_different_sizes_against_the_definition() -> None:
    x, y = normal(9, 4), normal(6, 4, 1) * 2

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 4 + 1) ** 3)

    within_x = np.mean([k(x[i], x[j]) for i in range(9) for j in range(9) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(6) for j in range(6) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_laws() -> None:
    x, y = normal(40, 8), normal(30, 8, 1) + 0.5
    distance = kernel_distance(x, y)
    turn = np.linalg.qr(normal(8, 8, 2))[0]
    assert kernel_distance(y, x) == pytest.approx(distance, rel=1e-12)
    assert kernel_distance(x @ turn, y @ turn) == pytest.approx(distance, rel=1e-10)
    assert kernel_distance(x[::-1], np.roll(y, 7, axis=0)) == distance, "the order of rows changes no digit"
    assert kernel_distance(3 * x, 3 * y, gamma=1 / 72) == pytest.approx(distance, rel=1e-10)
    assert biased_kernel_distance(x, x) == pytest.approx(0, abs=1e-12)
    assert kernel_distance(x, x) < 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(40, 8), normal(30, 8, 1)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-9)


def test_subsets() -> None:
    x, y = normal(60, 5), normal(50, 5, 1) + 1
    mean, deviation = kernel_distance_subsets(x, y, subsets=50, size=40, seed=0)
    assert mean == pytest.approx(kernel_distance(x, y), rel=0.1)
    assert 0 < deviation < mean
    assert kernel_distance_subsets(x, y, subsets=50, size=40, seed=0) == (mean, deviation)
    assert kernel_distance_subsets(x, y, subsets=50, size=40, seed=1) != (mean, deviation)
    same = kernel_distance_subsets(x[:50], y, subsets=3, size=50, seed=0)
    assert same == pytest.approx((kernel_distance(x[:50], y), 0)), "subsets of all rows are the whole"


def test_bad_input_is_refused() -> None:
    x = normal(5, 3)
    with pytest.raises(ValueError, match="first set: 1 row,"):
        kernel_distance(x[:1], x)
    with pytest.raises(ValueError, match="one extractor"):
        kernel_distance(x, normal(5, 4))
    with pytest.raises(ValueError, match="degree"):
        kernel_distance(x, x, degree=0)
    with pytest.raises(ValueError, match="subset of 6 rows cannot be drawn from 5"):
        kernel_distance_subsets(x, x, subsets=1, size=6)
    with pytest.raises(ValueError, match="1 subset or more"):
        kernel_distance_subsets(x, x, subsets=0, size=3)
