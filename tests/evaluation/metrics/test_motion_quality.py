"""VBench's measures of motion: known motions, and distortions that a measure must see."""

from __future__ import annotations

import math

import pytest
import torch
from moving_pictures import flickering, jittering, shuffled, translating
from torch import Tensor

from lvdm.evaluation.metrics.motion import dynamic_step, is_dynamic, smoothness
from lvdm.quality.flow import ClassicalFlow, following_pairs
from lvdm.quality.motion import flow_magnitude

flow = ClassicalFlow()
MOVING = translating(1.5, 0.8, frames=9)
STILL = translating(0, 0, frames=9)


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


def test_a_frozen_video_does_not_move() -> None:
    frozen = MOVING[:, :1].expand_as(MOVING)
    flows = flow(*following_pairs(frozen.transpose(0, 1)))
    assert flow_magnitude(flows, fps=8) == 0
    assert not is_dynamic(flows)
