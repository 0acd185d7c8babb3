"""The self test passes, and it fails for what it is there to find."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lvdm.evaluation import selftest
from lvdm.evaluation.selftest import BLACK_AGAINST_WHITE, Check, run_selftest, shifted_gaussians


def test_all_checks_pass() -> None:
    checks = run_selftest()
    assert len(checks) >= 15
    assert not [check for check in checks if not check.ok]
    assert len({check.name for check in checks}) == len(checks)


def test_a_check_fails_outside_its_tolerance_and_for_nan() -> None:
    assert Check("", 1.0, 1.01, 0.02).ok
    assert not Check("", 1.0, 1.03, 0.02).ok
    assert not Check("", 1.0, math.nan, 0.02).ok


def test_a_wrong_metric_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = selftest.frechet_distance
    monkeypatch.setattr(selftest, "frechet_distance", lambda x, y: 1.01 * right(x, y))
    failed = [check.name for check in run_selftest() if not check.ok]
    assert "Fréchet distance of Gaussians that commute" in failed


def logits_with(error: float) -> selftest.Logits:
    """An imaginary I3D at exactly the published distances, or off by a factor."""

    def logits(frames: Tensor) -> Tensor:
        assert frames.shape == (8, frames.shape[1], 64, 64, 3)
        assert frames.dtype == torch.uint8
        white = frames.float().mean(dim=(1, 2, 3, 4)) / 255
        distance = math.sqrt(error * BLACK_AGAINST_WHITE[frames.shape[1]])
        return white[:, None] * distance * torch.eye(400)[0]

    return logits


def test_an_i3d_is_held_against_the_published_distances() -> None:
    checks = run_selftest(logits_with(1.01))
    assert [check.ok for check in checks[-3:]] == [True, True, True]
    assert [check.name.split()[-2] for check in checks[-3:]] == ["15", "16", "30"]
    assert len(checks) == len(run_selftest()) + 3
    assert not any(check.ok for check in run_selftest(logits_with(1.03))[-3:])


def test_the_closed_form_of_shifted_gaussians() -> None:
    assert shifted_gaussians(400, 100) == pytest.approx(0.955947, abs=5e-7)
    assert shifted_gaussians(400, 0) == pytest.approx(0), "one distribution"
