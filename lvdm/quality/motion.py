"""How far things go in a video, by optical flow: the one motion estimator, in frame diagonals per second.

The training log, the report of a video, the evaluation and the benchmarks measure by it, and take `ClassicalFlow` where
nothing else is given. Videos are (3, t, H, W) in [-1, 1], flows (pairs, 2, H, W) as (x, y) in pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.quality.flow import ClassicalFlow, Flow, following_pairs
from lvdm.quality.warping import lengths, look_up, visible

MEASURED_SIDE = 128
"""Frames are averaged down to about this many pixels on the shorter side, or up to twice as many."""

_FASTEST_SHARE = 0.05


def motion(video: Tensor, fps: float, flow: Flow | None = None) -> float:
    """Mean length of the flow of `reduced` frames over pixels and pairs, in frame diagonals per second at `fps`.

    Pans, zooms and turns in closed form are found to 3 %, those of less than a quarter of a reduced pixel to 15 %; a
    still is exactly 0. 0 for one frame. Raises `ValueError` for an fps of 0 or less and for what is no video.
    """
    if video.ndim != 4 or video.shape[0] != 3:
        raise ValueError(f"a video should be (3, t, H, W), it is {tuple(video.shape)}")
    found = flow or ClassicalFlow()
    return flow_magnitude(found(*following_pairs(reduced(video).transpose(0, 1))), fps)


def reduced(video: Tensor) -> Tensor:
    """The video with its frames averaged down by a whole number, see `MEASURED_SIDE`; float32."""
    factor = max(1, min(video.shape[-2:]) // MEASURED_SIDE)
    return F.avg_pool2d(video.float().transpose(0, 1), factor).transpose(0, 1)


def flow_magnitude(flows: Tensor, fps: float) -> float:
    """Mean length of the flow over pixels and pairs, in frame diagonals per second; pairs follow each other at `fps`.

    0 without pairs. Raises `ValueError` for an fps of 0 or less.
    """
    if fps <= 0:
        raise ValueError(f"fps must be more than 0, it is {fps}")
    if len(flows) == 0:
        return 0.0
    diagonal = math.hypot(*flows.shape[-2:])
    return lengths(flows).double().mean().item() * fps / diagonal


def fastest_motion(flows: Tensor) -> Tensor:
    """(pairs,): mean length, in pixels, of the 5 % of each pair's flow that are longest."""
    pixels = lengths(flows).flatten(1)
    count = max(1, int(_FASTEST_SHARE * pixels.shape[1]))
    return pixels.topk(count, dim=1).values.double().mean(dim=1)


def reach(video: Tensor, flow: Flow) -> float:
    """How far the twentieth that goes farthest is from its place in frame 0, as a share of the frame's diagonal.

    The median of a third, two thirds and the end of the video (3, t, H, W), so that a loop and a shimmer do not count.
    """
    frames = video.transpose(0, 1)  # t 3 H W
    later = frames[[len(frames) // 3, 2 * len(frames) // 3, len(frames) - 1]]
    moved = fastest_motion(flow(frames[:1].expand_as(later), later))
    return moved.median().item() / math.hypot(*video.shape[-2:])


def warping_error(video: Tensor, forward: Tensor, backward: Tensor) -> float:
    """Mean squared difference, of pixels in [0, 1], between each frame and the next one looked up along the flow.

    Only pixels that are seen in both count (Lai et al. 2018), and each pair counts alike: 0 where all change is
    motion. forward, backward: the flows of following frames in both directions. NaN where nothing is seen twice.
    """
    errors = warping_errors(video, forward, backward)
    return errors.mean().item() if len(errors) else math.nan


def warping_errors(video: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """`warping_error` of each pair in which something is seen twice, (pairs,) float64."""
    frames = ((video.float().clamp(-1, 1) + 1) / 2).transpose(0, 1)  # t 3 H W
    if len(frames) < 2:
        return torch.empty(0, dtype=torch.float64)
    seen = visible(forward, backward)
    warped, _ = look_up(frames[1:], forward)
    squares = ((frames[:-1] - warped).square().mean(dim=1, keepdim=True) * seen).double().flatten(1).sum(dim=1)
    counts = seen.double().flatten(1).sum(dim=1)
    return (squares / counts)[counts > 0]
