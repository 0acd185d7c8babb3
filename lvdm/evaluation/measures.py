"""All numbers of one video that need no features: motion, its quality, fidelity to the given images, the loop."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.loops import flow_continuity, seam_ratio
from lvdm.evaluation.motion_quality import dynamic_step, is_dynamic, smoothness
from lvdm.evaluation.reconstruction import WINDOW, ssim
from lvdm.psnr import psnr
from lvdm.quality.flicker import flicker, temporal_flickering
from lvdm.quality.flow import Flow, following_pairs
from lvdm.quality.motion import flow_magnitude, warping_error

VERSION = "v2"
"""Changes whenever a number changes."""


def measures_id(flow: Flow) -> str:
    """What a cache tells the numbers of `measure` by, such as v2-flow-v1."""
    return f"{VERSION}-{flow.id}"


def measure_names(flow: Flow) -> tuple[str, ...]:
    """The names that `measure` gives, in its order."""
    return (
        f"motion[{flow.id}, diagonals/s]",
        f"dynamic degree[{flow.id}]",
        "temporal flickering[0..1]",
        "flicker[grey levels]",
        f"motion smoothness[{flow.id}]",
        f"warping error[{flow.id}]",
        "first frame PSNR[dB]",
        "first frame SSIM[0..1]",
        "last frame PSNR[dB]",
        "seam ratio[median steps]",
        f"flow continuity[{flow.id}]",
    )


def measure(clip: LoadedClip, flow: Flow) -> dict[str, float]:
    """The numbers of one clip by `measure_names`; NaN for what a clip cannot have.

    Dynamic degree is 0 or 1. The first frame is compared with the clip's image, the last one with its last image.
    Raises `ValueError` for fewer than two frames, without a frame rate, and for frames that are not uint8 (t, H, W, 3).
    """
    frames = clip.frames
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
        raise ValueError(f"frames should be uint8 (t, H, W, 3), they are {frames.dtype} {tuple(frames.shape)}")
    if len(frames) < 2:
        raise ValueError(f"motion needs two frames or more, there are {len(frames)}")
    if clip.fps is None:
        raise ValueError("there is no frame rate, which motion needs; give `fps` in the manifest, or leave out motion")
    video = frames.permute(3, 0, 1, 2).float() / 127.5 - 1
    forward, backward, seam = _flows(video, flow)
    values = (
        flow_magnitude(forward, clip.fps),
        float(is_dynamic(_dynamic_flows(video, forward, clip.fps, flow))),
        temporal_flickering(video),
        flicker(video) if len(frames) > 2 else math.nan,
        smoothness(video, flow),
        warping_error(video, forward, backward),
        *_fidelity(frames[0], clip.image),
        _fidelity(frames[-1], clip.last_image)[0],
        seam_ratio(video),
        flow_continuity(forward, seam),
    )
    return dict(zip(measure_names(flow), values, strict=True))


def _flows(video: Tensor, flow: Flow) -> tuple[Tensor, Tensor, Tensor]:
    """Flows of following frames there and back, (t - 1, 2, H, W) each, and from the last to the first, (1, 2, H, W)."""
    frames = video.transpose(0, 1)
    first, second = following_pairs(frames)
    pairs = len(first)
    flows = flow(torch.cat([first, second, frames[-1:]]), torch.cat([second, first, frames[:1]]))
    return flows[:pairs], flows[pairs:-1], flows[-1:]


def _dynamic_flows(video: Tensor, forward: Tensor, fps: float, flow: Flow) -> Tensor:
    """The flows of frames about 1/8 s apart."""
    step = dynamic_step(fps)
    return forward if step == 1 else flow(*following_pairs(video.transpose(0, 1), step))


def _fidelity(frame: Tensor, image: Tensor | None) -> tuple[float, float]:
    """PSNR and SSIM of a frame (H, W, 3) against the image that it should show."""
    if image is None:
        return math.nan, math.nan
    decibels = psnr(frame, image)
    large_enough = min(frame.shape[:2]) >= WINDOW
    return decibels, ssim(frame[None], image[None]).item() if large_enough else math.nan
