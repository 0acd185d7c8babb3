"""Motion and its quality by any optical flow, flicker, and VBench's dynamic degree, smoothness and flickering.

Videos are (3, t, H, W) in [-1, 1], flows (pairs, 2, H, W) as (x, y) in pixels, see `lvdm.quality.flow`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvdm.evaluation.metrics.metric import NOT_DEFINED, FrameMetric
from lvdm.quality.flicker import flicker, temporal_flickering
from lvdm.quality.flow import Flow
from lvdm.quality.motion import fastest_motion, flow_magnitude, warping_error
from lvdm.quality.warping import look_up

DYNAMIC_FPS = 8
"""Frames per second at which VBench looks for motion."""
_DYNAMIC_PIXELS, _DYNAMIC_SIDE = 6.0, 256.0


def dynamic_step(fps: float) -> int:
    """The frame interval at which VBench looks: about eight frames a second."""
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
    """How well every second frame is predicted by its two neighbours: (255 - mean |difference|) / 255, at most 1.

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


MOTION = FrameMetric(
    name="motion",
    unit="diagonals/s",
    better="neither",
    meaning="Mean length of the optical flow, in frame diagonals per second. More is neither better nor worse.",
    by_flow=True,
    measure=lambda clip: flow_magnitude(clip.forward, clip.fps),
)
DYNAMIC_DEGREE = FrameMetric(
    name="dynamic degree",
    better="neither",
    meaning="Share of clips that move clearly, by VBench's rule.",
    by_flow=True,
    measure=lambda clip: float(is_dynamic(clip.flows_apart(dynamic_step(clip.fps)))),
)
SMOOTHNESS = FrameMetric(
    name="motion smoothness",
    better="higher",
    meaning="How well frames are predicted by their neighbours. A still image has the best value.",
    by_flow=True,
    measure=lambda clip: smoothness(clip.video, clip.flow),
)
WARPING_ERROR = FrameMetric(
    name="warping error",
    better="lower",
    meaning="Change that motion does not explain: frames moved along the flow against the next frames.",
    by_flow=True,
    measure=lambda clip: warping_error(clip.video, clip.forward, clip.backward),
)
TEMPORAL_FLICKERING = FrameMetric(
    name="temporal flickering",
    unit="0..1",
    better="higher",
    meaning="VBench's temporal flickering: 1 for a still image; motion lowers it as flicker does.",
    measure=lambda clip: temporal_flickering(clip.video),
)
FLICKER = FrameMetric(
    name="flicker",
    unit="grey levels",
    better="lower",
    meaning="Second difference in time, in grey levels: brightness that jumps from frame to frame.",
    measure=lambda clip: flicker(clip.video) if len(clip.frames) > 2 else NOT_DEFINED,
)
