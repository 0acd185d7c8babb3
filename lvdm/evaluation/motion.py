"""How much a video moves and how much it flickers: pure functions of pixels, without a network.

A video that does not move keeps its first frame perfectly, so that fidelity says little without these.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

WORKING_SIDE = 64
"""Frames are averaged down to about this many pixels on the shorter side before blocks are matched."""

BLOCK = 8
_NOISE = 2.0 / 255
"""Differences of this size, on average over a block, are taken for noise."""


def frame_difference(video: Tensor) -> float:
    """Mean absolute difference of neighbouring frames in grey levels (0 to 255); video (3, t, H, W) in [-1, 1]."""
    levels = _levels(video)
    if levels.shape[1] < 2:
        return 0.0
    return levels.diff(dim=1).abs().mean().item()


def temporal_flickering(video: Tensor) -> float:
    """VBench's temporal flickering (arXiv:2311.17982): (255 - mean |f_i - f_i+1|) / 255, 1 for a still video.

    It cannot tell motion from flicker: read it together with `motion_magnitude`, or see `flicker`.
    """
    return (255.0 - frame_difference(video)) / 255.0


def flicker(video: Tensor) -> float:
    """Mean absolute second difference in time, |f_i-1 - 2 f_i + f_i+1| / 2, in grey levels; video (3, t, H, W).

    0 for stills and for brightness that changes evenly; a for grey levels that alternate by a from frame to frame.
    """
    differences = second_differences(video)
    return differences.mean().item() if differences.numel() else 0.0


def second_differences(video: Tensor) -> Tensor:
    """|f_i-1 - 2 f_i + f_i+1| / 2 of all pixels, in grey levels: (3, t, H, W) -> (3, max(t - 2, 0), H, W)."""
    levels = _levels(video)
    return levels.diff(n=2, dim=1).abs() / 2 if levels.shape[1] > 2 else levels[:, :0]


def motion_magnitude(video: Tensor, fps: float) -> float:
    """Mean length of the displacement of all blocks from frame to frame, in frame diagonals per second.

    video (3, t, H, W) in [-1, 1], played at `fps`. Motion beyond an eighth of the shorter side per frame is not found.
    """
    if fps <= 0:
        raise ValueError(f"fps must be more than 0, it is {fps}")
    flow, scale = block_motion(video)
    if flow.numel() == 0:
        return 0.0
    diagonal = math.hypot(*video.shape[-2:])
    return flow.norm(dim=-1).mean().item() * scale * fps / diagonal


def block_motion(video: Tensor) -> tuple[Tensor, int]:
    """Displacements (t - 1, rows, columns, 2) as (y, x) from each frame to the next, and the pixels of their unit.

    Blocks of `BLOCK` pixels of the reduced grey video are searched in the next frame for the least squared difference
    and then refined to fractions of a pixel by a parabola. Where staying is as good but for noise, a block stays.
    Blocks whose search would leave the frame are left out. Raises `ValueError` for frames that are too small.
    """
    grey, scale = _reduced(video)  # t H W
    radius = max(1, min(grey.shape[-2:]) // 8)
    if min(grey.shape[-2:]) < 2 * radius + BLOCK:
        raise ValueError(f"motion is measured in frames of {2 * radius + BLOCK} pixels or more, not {video.shape[-2:]}")
    if len(grey) < 2:
        return grey.new_zeros(0, 1, 1, 2), scale
    costs = _matching_costs(grey, radius)  # (2r + 1) (2r + 1) t-1 rows columns
    return _best_displacements(costs, radius), scale


def _matching_costs(grey: Tensor, radius: int) -> Tensor:
    """grey (t, H, W) -> (2r + 1, 2r + 1, t - 1, rows, columns): mean squared difference of each block, displaced."""
    inner = grey[:-1, radius:-radius, radius:-radius]  # the blocks whose search stays inside
    height, width = inner.shape[-2:]
    rows = []
    for dy in range(2 * radius + 1):
        row = []
        for dx in range(2 * radius + 1):
            moved = grey[1:, dy : dy + height, dx : dx + width]
            row.append(F.avg_pool2d((inner - moved).square()[:, None], BLOCK)[:, 0])
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _best_displacements(costs: Tensor, radius: int) -> Tensor:
    """costs (2r + 1, 2r + 1, t - 1, rows, columns) -> (t - 1, rows, columns, 2) as (y, x), in pixels."""
    side, stay = 2 * radius + 1, costs[radius, radius]
    flat = rearrange(costs, "y x t r c -> (y x) t r c")
    least, index = flat.min(dim=0)
    centre = radius * side + radius
    index = torch.where(stay <= least + _NOISE**2, torch.full_like(index, centre), index)
    y, x = index // side, index % side

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        places = rows.clamp(0, side - 1) * side + columns.clamp(0, side - 1)
        return flat.gather(0, places[None])[0]

    here = at(y, x)
    dy = _vertex(at(y - 1, x), here, at(y + 1, x)) * ((y > 0) & (y < side - 1))
    dx = _vertex(at(y, x - 1), here, at(y, x + 1)) * ((x > 0) & (x < side - 1))
    return torch.stack([y - radius + dy, x - radius + dx], dim=-1)


def _vertex(before: Tensor, here: Tensor, after: Tensor) -> Tensor:
    """Where the parabola through three neighbouring costs is least, from -1/2 to 1/2; 0 where they differ by noise."""
    curvature = before - 2 * here + after
    offset = (before - after) / (2 * curvature.clamp(min=_NOISE**2))
    return torch.where((curvature > _NOISE**2) & (here > 0), offset, torch.zeros_like(offset)).clamp(-0.5, 0.5)


def _reduced(video: Tensor) -> tuple[Tensor, int]:
    """video (3, t, H, W) -> grey (t, H', W') in [0, 1] and the factor of the reduction."""
    grey = _levels(video).mean(dim=0) / 255  # t H W
    factor = max(1, min(grey.shape[-2:]) // WORKING_SIDE)
    return F.avg_pool2d(grey[:, None], factor)[:, 0], factor


def _levels(video: Tensor) -> Tensor:
    """(3, t, H, W) in [-1, 1] as grey levels from 0 to 255, in float32."""
    if video.ndim != 4 or video.shape[0] != 3:
        raise ValueError(f"a video should be (3, t, H, W), it is {tuple(video.shape)}")
    return (video.float().clamp(-1, 1) + 1) * 127.5
