"""The seam of loops that close, of loops that do not, and of those that go back."""

from __future__ import annotations

import math

import pytest
import torch
from moving_pictures import grid, picture
from torch import Tensor

from lvdm.evaluation.metrics.loops import flow_continuity, seam_ratio
from lvdm.quality.flow import ClassicalFlow, following_pairs

flow = ClassicalFlow()


def circling(frames: int = 12, turns: float = 1.0, radius: float = 3.0) -> Tensor:
    """A texture whose places go around a circle `turns` times: (3, t, H, W)."""
    x, y = grid(64, 64)
    angles = [2 * math.pi * turns * i / frames for i in range(frames)]
    return torch.stack([picture(x - radius * math.cos(a), y - radius * math.sin(a)) for a in angles], dim=1)


def continuity(video: Tensor) -> float:
    frames = video.transpose(0, 1)
    return flow_continuity(flow(*following_pairs(frames)), flow(frames[-1:], frames[:1]))


def test_a_loop_that_closes_has_no_seam() -> None:
    assert seam_ratio(circling()) == pytest.approx(1, abs=0.15)
    assert continuity(circling()) == pytest.approx(1, abs=0.1)


def test_a_loop_that_does_not_close_has_one() -> None:
    open_end = circling(turns=0.5)
    assert seam_ratio(open_end) > 2
    assert continuity(open_end) < 0.7


def test_motion_that_turns_round_at_the_seam_is_seen_by_the_flow_alone() -> None:
    half = circling(frames=16, turns=0.5)
    there_and_back = torch.cat([half, half[:, 1:-1].flip(1)], dim=1)
    assert seam_ratio(there_and_back) == pytest.approx(1, abs=0.2), "its frames are near each other"
    assert continuity(there_and_back) < 0.7, "but the motion turns round"


def test_the_ratio_in_closed_form() -> None:
    ramp = torch.linspace(0, 1, 5)[None, :, None, None].expand(3, -1, 2, 2)
    assert seam_ratio(ramp) == pytest.approx(4), "1 across the seam over steps of 1/4"
    assert seam_ratio(torch.zeros(3, 4, 8, 8)) == 0, "a still has no seam"


def test_a_clip_of_equal_frames_has_no_step_to_compare_with() -> None:
    stopped = torch.zeros(3, 6, 8, 8)
    stopped[:, -1] = 0.5
    assert math.isnan(seam_ratio(stopped)), "it divides by the step between equal frames"
    resting = torch.zeros(4, 2, 4, 4)
    resting[::2, 0] = 2
    resting[1::2, 0] = 0.04
    assert math.isnan(flow_continuity(resting, resting[:1])), "the flow of every other frame is nearly at rest"


def test_continuity_in_closed_form() -> None:
    right = torch.zeros(1, 2, 4, 4)
    right[:, 0] = 2
    flows = right.repeat(3, 1, 1, 1)
    assert flow_continuity(flows, right) == pytest.approx(1)
    assert flow_continuity(flows, -right) == pytest.approx(0)
    assert flow_continuity(flows, 0 * right) == pytest.approx(0)
    assert flow_continuity(flows, 3 * right) == pytest.approx(0.5), "1 - |2 - 6| / (2 + 6)"
    assert flow_continuity(0 * flows, 0 * right) == 1, "a still goes on as it was"
    assert math.isnan(flow_continuity(flows[:1], right))
    assert math.isnan(flow_continuity(torch.cat([right, -right]), right)), "nothing goes on inside"
