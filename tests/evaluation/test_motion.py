"""Motion and flicker of videos whose motion and flicker are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lvdm.evaluation.motion import (
    block_motion,
    flicker,
    frame_difference,
    motion_magnitude,
    temporal_flickering,
)


def moving(dy: float, dx: float, height: int = 64, width: int = 96, frames: int = 4) -> Tensor:
    """A smooth texture, in closed form, that moves by (dy, dx) pixels a frame: (3, t, H, W)."""
    t = torch.arange(frames, dtype=torch.float64)[:, None, None]
    y = torch.arange(height, dtype=torch.float64)[:, None] - t * dy
    x = torch.arange(width, dtype=torch.float64) - t * dx
    waves = [(0.55, 0.31), (0.37, -0.52), (-0.21, 0.66), (0.8, 0.12), (0.13, 0.43)]
    picture = sum(torch.sin(a * y + b * x + i) for i, (a, b) in enumerate(waves)) / 5
    return picture.float().expand(3, -1, -1, -1)


def random_picture(height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(3, 1, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("shift", [(0, 3), (-5, 0), (4, -4), (0, 8)])
def test_a_picture_shifted_by_whole_pixels_moves_by_so_many(shift: tuple[int, int]) -> None:
    video = torch.cat([torch.roll(random_picture(), (i * shift[0], i * shift[1]), (2, 3)) for i in range(4)], dim=1)
    flow, scale = block_motion(video)
    assert scale == 1
    expected = torch.tensor(shift, dtype=flow.dtype).expand_as(flow)
    assert torch.equal(flow, expected), "an exact match has no fraction of a pixel to find"


@pytest.mark.parametrize("shift", [(0.0, 0.5), (0.3, -0.7), (1.6, 2.25), (0.0, 4.0)])
def test_fractions_of_a_pixel_are_found(shift: tuple[float, float]) -> None:
    flow, _ = block_motion(moving(*shift))
    error = (flow - torch.tensor(shift)).norm(dim=-1).median()
    assert error < 0.15, f"the median block is {error:.2f} pixels off"


def test_motion_is_in_diagonals_per_second() -> None:
    video = moving(3.0, 4.0)
    expected = 5.0 * 8 / math.hypot(64, 96)
    assert motion_magnitude(video, fps=8) == pytest.approx(expected, rel=0.03)
    assert motion_magnitude(video, fps=16) == pytest.approx(2 * motion_magnitude(video, fps=8))


def test_motion_does_not_depend_on_the_resolution() -> None:
    small, large = moving(1.0, 2.0), moving(1.0, 2.0).repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    assert motion_magnitude(large, fps=8) == pytest.approx(motion_magnitude(small, fps=8), rel=1e-4)


def test_a_still_and_a_noisy_still_do_not_move() -> None:
    still = moving(0.0, 0.0)
    assert motion_magnitude(still, fps=8) == 0
    noise = torch.randn(still.shape, generator=torch.Generator().manual_seed(1)) / 127.5
    assert motion_magnitude(still + noise, fps=8) < 0.05 * motion_magnitude(moving(0.0, 2.0), fps=8)
    grey = torch.zeros(3, 4, 64, 64)
    assert motion_magnitude(grey + noise[..., :64], fps=8) == 0, "noise on a flat area is no motion"


def test_a_fade_is_no_flicker_and_an_alternation_is() -> None:
    ramp = torch.linspace(-1, 1, 9)[None, :, None, None].expand(3, -1, 4, 4)
    assert flicker(ramp) == pytest.approx(0, abs=1e-4)
    assert frame_difference(ramp) == pytest.approx(255 / 8)
    assert temporal_flickering(ramp) == pytest.approx(7 / 8)
    alternating = torch.zeros(3, 6, 4, 4)
    alternating[:, 1::2] = 10 / 127.5
    assert flicker(alternating) == pytest.approx(10, rel=1e-4)
    assert temporal_flickering(alternating[:, :1]) == 1, "one frame does not flicker"


@pytest.mark.parametrize("video", [torch.zeros(1, 4, 64, 64), torch.zeros(3, 4, 8, 8), torch.zeros(4, 64, 64)])
def test_what_cannot_be_measured_is_refused(video: Tensor) -> None:
    with pytest.raises(ValueError):
        motion_magnitude(video, fps=8)
