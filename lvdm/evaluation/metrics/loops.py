"""How well a video closes to a loop: its last frame against its first, and the motion from the one to the other.

There is no standard for this. Both measures compare the seam with the inside of the same video.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvdm.evaluation.metrics.metric import FrameMetric
from lvdm.quality.warping import lengths

MIN_STEP = 0.1 / 127.5
"""A tenth of a grey level, as distances of frames in [-1, 1]: below it, a frame is taken for the one before."""
MIN_AGREEMENT = 0.05
"""Below this, motion does not go on from one frame to the next."""
MIN_LENGTH = 1e-6


def distance(first: Tensor, second: Tensor) -> float:
    """Mean absolute difference of pixels, from 0 to 2."""
    return (first.float() - second.float()).abs().mean().item()


def seam_ratio(video: Tensor) -> float:
    """Distance from the last frame to the first over the median distance of neighbours: about 1 for a seamless loop.

    video (3, t, H, W) in [-1, 1]. 0 for a still, which has no seam; NaN for other clips of which most frames are equal:
    there is no step to compare with. Of an even number of neighbours, the median is the lower of the two in the middle.
    """
    steps = torch.tensor([distance(video[:, i], video[:, i + 1]) for i in range(video.shape[1] - 1)])
    step, seam = steps.median().item(), distance(video[:, -1], video[:, 0])
    if step < MIN_STEP:
        return 0.0 if max(seam, steps.max().item()) < MIN_STEP else math.nan
    return seam / step


def flow_continuity(flows: Tensor, seam: Tensor) -> float:
    """How well motion goes on across the seam, over how well it goes on inside: about 1 for a seamless loop.

    Two following flows agree by 1 - sum |a - b| / sum (|a| + |b|) over pixels: 1 for the same motion; 0 for opposite
    ones, and where one rests. At the seam it is the mean of two: into it and out of it. Inside it is the median.
    flows: (t - 1, 2, H, W) of following frames; seam: (1, 2, H, W) from the last frame to the first.
    NaN for fewer than three frames, and where motion does not go on inside.
    """
    if len(flows) < 2:
        return math.nan
    inside = _agreement(flows[:-1], flows[1:]).median().item()
    if inside < MIN_AGREEMENT:
        return math.nan
    across = _agreement(torch.cat([flows[-1:], seam]), torch.cat([seam, flows[:1]]))
    return across.mean().item() / inside


def _agreement(first: Tensor, second: Tensor) -> Tensor:
    """(n, 2, H, W) and (n, 2, H, W) -> (n,) from 0 to 1; 1 where both rest everywhere."""
    apart = lengths(first - second).double().flatten(1).sum(dim=1)
    total = (lengths(first) + lengths(second)).double().flatten(1).sum(dim=1)
    return torch.where(total > 0, 1 - apart / total.clamp(min=MIN_LENGTH), torch.ones_like(total))


SEAM_RATIO = FrameMetric(
    name="seam ratio",
    unit="median steps",
    better="neither",
    meaning="Distance from the last frame to the first over that of neighbours: about 1 for a seamless loop.",
    measure=lambda clip: seam_ratio(clip.video),
)
FLOW_CONTINUITY = FrameMetric(
    name="flow continuity",
    better="neither",
    meaning="Whether motion goes on across the seam of a loop.",
    by_flow=True,
    measure=lambda clip: flow_continuity(clip.forward, clip.seam),
)
