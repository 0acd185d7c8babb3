"""How much and how well a video moves, told from optical flow: pure functions of frames and of flows.

Videos are (3, t, H, W) in [-1, 1], flows (pairs, 2, H, W) as (x, y) in pixels, see `lvdm.evaluation.flow`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvdm.evaluation.flow import Flow
from lvdm.evaluation.warping import lengths, look_up, visible

DYNAMIC_FPS = 8
"""Frames per second at which VBench looks for motion."""
_DYNAMIC_PIXELS, _DYNAMIC_SIDE = 6.0, 256.0
_FASTEST_SHARE = 0.05


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


def dynamic_step(fps: float) -> int:
    """Every how manieth frame VBench looks at: about eight a second."""
    return max(1, round(fps / DYNAMIC_FPS))


def is_dynamic(flows: Tensor) -> bool:
    """VBench's dynamic degree of one video (arXiv:2311.17982), from the flows of frames about 1/8 s apart.

    Of n frames, round(4 n / 16) pairs or more must have a `fastest_motion` above 6 min(H, W) / 256 pixels. VBench
    takes its flow from RAFT.
    """
    threshold = _DYNAMIC_PIXELS * min(flows.shape[-2:]) / _DYNAMIC_SIDE
    needed = max(1, round(4 * (len(flows) + 1) / 16))
    return int((fastest_motion(flows) > threshold).sum()) >= needed if len(flows) else False


def smoothness(video: Tensor, flow: Flow) -> float:
    """How well every second frame can be told from its two neighbours: (255 - mean |difference|) / 255, at most 1.

    VBench's motion smoothness, with the flow in the place of its interpolation network: the neighbours are moved
    half-way to each other, as Super SloMo does (Jiang et al. 2018, equation 4 at t = 1/2), and averaged.
    NaN for fewer than three frames.
    """
    frames = video.float().clamp(-1, 1).transpose(0, 1)  # t 3 H W
    if len(frames) < 3:
        return math.nan
    before, after = frames[:-2:2], frames[2::2]
    forward, backward = flow(torch.cat([before, after]), torch.cat([after, before])).chunk(2)
    to_before = (backward - forward) / 4
    halves = look_up(before, to_before)[0], look_up(after, -to_before)[0]
    error = (frames[1:-1:2] - (halves[0] + halves[1]) / 2).abs().double().mean().item()
    return 1 - error / 2


def warping_error(video: Tensor, forward: Tensor, backward: Tensor) -> float:
    """Mean squared difference, of pixels in [0, 1], between each frame and the next one looked up along the flow.

    Only pixels that are seen in both count (Lai et al. 2018), and each pair counts alike: 0 where all change is
    motion. forward, backward: the flows of following frames there and back. NaN where nothing is seen twice.
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
