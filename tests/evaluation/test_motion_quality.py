"""Motion and its quality: known motions, and distortions that a measure must see."""

from __future__ import annotations

import math

import pytest
import torch
from moving_pictures import flickering, jittering, shuffled, translating
from torch import Tensor

from lvdm.evaluation.flow import ClassicalFlow, following_pairs
from lvdm.evaluation.motion_quality import (
    dynamic_step,
    fastest_motion,
    flow_magnitude,
    is_dynamic,
    smoothness,
    warping_error,
)

flow = ClassicalFlow()
MOVING = translating(1.5, 0.8, frames=9)
STILL = translating(0, 0, frames=9)


def warping(video: Tensor) -> float:
    first, second = following_pairs(video.transpose(0, 1))
    return warping_error(video, flow(first, second), flow(second, first))


def test_magnitude_is_in_diagonals_per_second() -> None:
    flows = torch.zeros(4, 2, 30, 40)
    flows[:, 0], flows[:, 1] = 3, 4
    assert flow_magnitude(flows, fps=8) == pytest.approx(5 * 8 / 50)
    assert flow_magnitude(flows[:0], fps=8) == 0
    with pytest.raises(ValueError, match="fps"):
        flow_magnitude(flows, fps=0)


def test_magnitude_of_a_translation_at_two_sizes() -> None:
    for shift, side in (((1.5, 0.8), 64), ((3.0, 1.6), 128)):
        video = translating(*shift, frames=3, height=side, width=side)
        found = flow_magnitude(flow(*following_pairs(video.transpose(0, 1))), fps=8)
        assert found == pytest.approx(math.hypot(1.5, 0.8) * 8 / math.hypot(64, 64), rel=0.05)


def test_the_fastest_twentieth() -> None:
    flows = torch.zeros(1, 2, 10, 10)
    flows[0, 0, 0, :5] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert fastest_motion(flows).tolist() == [3.0]


def test_dynamic_degree_follows_the_published_rule() -> None:
    """16 frames of 128 pixels: 4 pairs must move faster than 3 pixels."""
    flows = torch.zeros(15, 2, 128, 128)
    assert not is_dynamic(flows)
    flows[:3, 0] = 3.1
    assert not is_dynamic(flows), "three pairs are not enough"
    flows[3, 0] = 3.1
    assert is_dynamic(flows)
    assert not is_dynamic(flows * 2.9 / 3.1)
    assert not is_dynamic(flows[:0])
    assert [dynamic_step(fps) for fps in (1, 8, 11, 13, 24, 30)] == [1, 1, 1, 2, 3, 4]


def test_even_motion_and_stills_are_smooth() -> None:
    assert smoothness(STILL, flow) == 1
    assert smoothness(MOVING, flow) > 0.97
    assert math.isnan(smoothness(STILL[:, :2], flow))


@pytest.mark.parametrize(
    "distorted",
    [jittering(MOVING, 2), flickering(MOVING, 0.1), shuffled(MOVING)],
    ids=["jitter", "flicker", "shuffle"],
)
def test_smoothness_sees(distorted: Tensor) -> None:
    assert 1 - smoothness(distorted, flow) > 1.5 * (1 - smoothness(MOVING, flow))


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


def test_a_frozen_video_does_not_move() -> None:
    frozen = MOVING[:, :1].expand_as(MOVING)
    flows = flow(*following_pairs(frozen.transpose(0, 1)))
    assert flow_magnitude(flows, fps=8) == 0
    assert not is_dynamic(flows)
