"""What moves in a video, how fast and how well, told from its pixels: nothing here is learned.

Videos are (3, t, H, W) in [-1, 1].
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from motion_classes import candidates
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.procedural import ProceduralConfig, Scene, displacement, render, render_mask

MIN_TRAVEL = 2.0
"""Pixels that a sprite must travel over the clip for its direction to count."""
CANDIDATE_SPEEDS = (0.7, 1.0, 1.4)
"""Each class is tried at these parts of the captioned speed, so that a slow motion is not taken for stillness."""
SPEED_STEP, MAX_SPEED = 0.1, 2.0


def psnr(video: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB; at most 100, which is what equal pixels get."""
    error = (video.float().clamp(-1, 1) - truth.float()).square().mean().clamp(min=4e-10)
    return 10 * math.log10(4 / error.item())


def track_sprite(video: Tensor, mask: Tensor, reach: int = 40) -> Tensor:
    """Where the sprite of frame 0 is found in every frame: (t, 2) shifts (dx, dy) in pixels.

    mask (H, W) is the coverage of the sprite in frame 0. The shift with the least mean squared difference between the
    sprite's pixels and those under them wins; the sums over all shifts are cross-correlations.
    """
    frames = F.pad(video.transpose(0, 1), (reach,) * 4)  # t 3 H W
    inside = F.pad(torch.ones_like(video[:1, :1]), (reach,) * 4)
    first = video[:, 0]
    overlap = F.conv2d(inside, mask[None, None])
    squares = F.conv2d((frames**2).sum(1, keepdim=True), mask[None, None])
    product = F.conv2d(frames, (mask * first)[None])
    own = F.conv2d(inside, (mask * (first**2).sum(0))[None, None])
    cost = (squares - 2 * product + own) / overlap.clamp(min=1e-6)
    cost = torch.where(overlap > 0.4 * mask.sum(), cost, torch.inf)[:, 0]  # t, 2 reach + 1, 2 reach + 1
    best = cost.flatten(1).argmin(dim=1)
    width = cost.shape[-1]
    return torch.stack([best % width - reach, best // width - reach], dim=1).double()


def direction_error(video: Tensor, scene: Scene, space: ProceduralConfig) -> tuple[float, float]:
    """Degrees between where the sprite goes and its caption, infinite if it stays; and its speed over the true one."""
    path = track_sprite(video.float(), render_mask([scene], space)[0, 0])
    time = torch.arange(len(path)).double()
    velocity = (time[:, None] * path).sum(0) / (time**2).sum()  # least squares through the origin
    expected = torch.tensor(displacement(scene, space)).double()
    travel = velocity.norm().item() * (len(path) - 1)
    cosine = (velocity @ expected / (velocity.norm() * expected.norm()).clamp(min=1e-9)).clamp(-1, 1).item()
    error = math.degrees(math.acos(cosine)) if travel >= MIN_TRAVEL else math.inf
    return error, (velocity.norm() / expected.norm()).item()


def nearest_motions(videos: Sequence[Tensor], scene: Scene, space: ProceduralConfig) -> list[str]:
    """For each video of `scene`, the class of motion whose rendering is nearest in mean squared error."""
    tried = [at_speed(other, factor) for other in candidates(scene) for factor in CANDIDATE_SPEEDS]
    errors: list[list[float]] = [[] for _ in videos]
    for start in range(0, len(tried), 12):
        rendered = render(tried[start : start + 12], space)
        for row, video in zip(errors, videos, strict=True):
            row += (rendered - video.float()).square().mean((1, 2, 3, 4)).tolist()
    return [tried[row.index(min(row))].motion for row in errors]


def speed_ratio(video: Tensor, scene: Scene, space: ProceduralConfig) -> float:
    """The speed, over the captioned one, at which the scene's own motion fits the video best: 0 to `MAX_SPEED`."""
    factors = [SPEED_STEP * i for i in range(round(MAX_SPEED / SPEED_STEP) + 1)]
    rendered = render([at_speed(scene, factor) for factor in factors], space)
    errors = (rendered - video.float()).square().mean((1, 2, 3, 4)).double()
    best = int(errors.argmin())
    if not 0 < best < len(factors) - 1:
        return factors[best]
    before, here, after = errors[best - 1 : best + 2].tolist()  # the vertex of the parabola through three errors
    return factors[best] + SPEED_STEP * (before - after) / (2 * max(before - 2 * here + after, 1e-12))


def at_speed(scene: Scene, factor: float) -> Scene:
    """The same motion, faster: the stride is all that tells, and need not be whole to be drawn."""
    return dataclasses.replace(scene, frame_stride=scene.frame_stride * factor)  # type: ignore[arg-type]
