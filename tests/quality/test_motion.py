"""The motion estimator on motion that is known in closed form, and distortions that the warping error must see."""

from __future__ import annotations

import math

import pytest
import torch
from moving_pictures import flickering, jittering, shuffled, translating, turning, turning_flow
from torch import Tensor

from lvdm.quality.flow import ClassicalFlow, following_pairs
from lvdm.quality.motion import fastest_motion, flow_magnitude, motion, reduced, warping_error
from lvdm.quality.report import assess

flow = ClassicalFlow()
MOVING = translating(1.5, 0.8, frames=9)
STILL = translating(0, 0, frames=9)


def warping(video: Tensor) -> float:
    first, second = following_pairs(video.transpose(0, 1))
    return warping_error(video, flow(first, second), flow(second, first))


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("shift", [(0.5, 0.3), (1.0, 2.0), (-3.0, 2.0), (6.0, -5.0)])
def test_pans_are_found_in_diagonals_per_second(shift: tuple[float, float], side: int) -> None:
    video = translating(*shift, frames=3, height=side, width=side)
    expected = math.hypot(*shift) * 8 / math.hypot(side, side)
    assert motion(video, fps=8) == pytest.approx(expected, rel=0.03)
    assert motion(video, fps=16) == 2 * motion(video, fps=8)


def test_a_very_slow_pan_is_found() -> None:
    assert motion(translating(0.2, 0.1), fps=8) == pytest.approx(
        math.hypot(0.2, 0.1) * 8 / math.hypot(64, 64), rel=0.06
    )


@pytest.mark.parametrize(("degrees", "growth"), [(0, 1.03), (0, 1 / 1.03), (0, 1.06), (3, 1.0), (-2, 1.02)])
def test_zooms_and_turns_are_found(degrees: float, growth: float) -> None:
    expected = turning_flow(degrees, growth).norm(dim=0).mean().item() * 8 / math.hypot(96, 96)
    assert motion(turning(degrees, growth, frames=2), fps=8) == pytest.approx(expected, rel=0.03)


def test_a_still_is_exactly_still_and_noise_is_next_to_nothing() -> None:
    assert motion(STILL, fps=8) == 0
    assert motion(STILL[:, :1], fps=8) == 0, "one frame goes nowhere"
    noise = torch.randn(STILL.shape, generator=torch.Generator().manual_seed(1)) / 127.5
    assert motion(STILL + noise, fps=8) < 0.01 * motion(MOVING, fps=8)
    assert motion(noise, fps=8) < 0.01 * motion(MOVING, fps=8), "noise on a flat area is no motion"


def test_large_frames_are_averaged_down_and_give_the_same() -> None:
    large = MOVING.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)  # 256 pixels
    assert reduced(large).shape[-2:] == (128, 128)
    assert torch.equal(reduced(MOVING), MOVING)
    assert motion(large, fps=8) == pytest.approx(motion(MOVING, fps=8), rel=0.05)


def test_the_report_of_a_video_has_the_same_number() -> None:
    assert assess(MOVING, None, fps=8).motion == pytest.approx(motion(MOVING, fps=8), abs=1e-5)


@pytest.mark.parametrize("video", [torch.zeros(1, 4, 64, 64), torch.zeros(4, 64, 64)])
def test_what_is_no_video_is_refused(video: Tensor) -> None:
    with pytest.raises(ValueError, match="should be"):
        motion(video, fps=8)


def test_magnitude_is_in_diagonals_per_second() -> None:
    flows = torch.zeros(4, 2, 30, 40)
    flows[:, 0], flows[:, 1] = 3, 4
    assert flow_magnitude(flows, fps=8) == pytest.approx(5 * 8 / 50)
    assert flow_magnitude(flows[:0], fps=8) == 0
    with pytest.raises(ValueError, match="fps"):
        flow_magnitude(flows, fps=0)


def test_the_fastest_twentieth() -> None:
    flows = torch.zeros(1, 2, 10, 10)
    flows[0, 0, 0, :5] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert fastest_motion(flows).tolist() == [3.0]


def test_warping_error_in_closed_form() -> None:
    """Where nothing moves, brightness that alternates by +-a of [0, 1] has a mean square of (2 a)^2."""
    flat = torch.zeros(3, 6, 16, 16)
    zero = torch.zeros(5, 2, 16, 16)
    assert warping_error(flat, zero, zero) == 0
    assert warping_error(flickering(flat, 0.2), zero, zero) == pytest.approx(0.2**2)
    assert math.isnan(warping_error(flat[:, :1], zero[:0], zero[:0]))
    away = zero + 100
    assert math.isnan(warping_error(flat, away, -away)), "no pixel is seen twice"


def test_warping_error_sees_flicker_jitter_and_shuffling_but_not_motion() -> None:
    assert warping(STILL) == 0
    base = warping(MOVING)
    assert base < 2e-4, "motion is no error"
    assert warping(translating(2.5, -1.2, frames=9)) < 4e-4
    assert warping(flickering(MOVING, 0.1)) > 3 * base, "flicker"
    noise = torch.randn(MOVING.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    assert warping(MOVING + noise) > 3 * base, "noise"
    for name, distorted in (("shuffle", shuffled(MOVING)), ("jitter", jittering(MOVING, 2))):
        assert warping(distorted) > 1.3 * base, f"{name}, though a flow explains most of it"
