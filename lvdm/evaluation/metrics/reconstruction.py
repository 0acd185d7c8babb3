"""How close frames come to real ones that the model was not given: PSNR, SSIM and a perceptual distance.

For interpolation and other tasks with one right answer. The frames that the model was given are never counted: they
are there to be copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.evaluation.metrics.metric import Metric, PairMetric
from lvdm.psnr import psnr_of_each

INPUT_FRAMES = (0, -1)
"""The frames that an interpolation starts and ends at."""

PEAK = 255.0

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


class PairedDistance(Protocol):
    """A perceptual distance of images, such as `lpips.Lpips`. `name` says which, as in LPIPS[alex]."""

    name: str

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(n, 3, H, W) float32 pairs in [-1, 1] -> (n,), 0 for equal images."""


def interior(frames: Tensor, input_frames: Sequence[int] = INPUT_FRAMES) -> Tensor:
    """`frames` (t, ...) without those at the indices `input_frames`; raises `ValueError` if none is left."""
    length = len(frames)
    outside = [index for index in input_frames if not -length <= index < length]
    if outside:
        raise ValueError(f"frames {outside} were not given: there are {length}")
    inputs = {index % length for index in input_frames}
    others = [index for index in range(length) if index not in inputs]
    if not others:
        raise ValueError(f"all {length} frames were given to the model, none is left to measure")
    return frames[others]


def ssim(frames: Tensor, real: Tensor) -> Tensor:
    """(t,) float64: the structural similarity of each frame, at most 1 (Wang et al., 2004).

    Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, range 255, windows that lie inside the frame, and
    the mean over the three channels. Black against white gives C1 / (1 + C1) = 9.999e-05 in units of the range.
    frames, real: uint8 (t, H, W, 3), 11 pixels or more on each side.
    """
    check_pairs(frames, real)
    if min(frames.shape[1:3]) < WINDOW:
        raise ValueError(
            f"SSIM needs frames of {WINDOW} pixels or more on each side, they are {tuple(frames.shape[1:3])}"
        )
    return torch.stack([_ssim_of_frame(a, b) for a, b in zip(frames, real, strict=True)])


def _ssim_of_frame(frame: Tensor, real: Tensor) -> Tensor:
    """(H, W, 3), (H, W, 3) -> ()."""
    a, b = (image.double().permute(2, 0, 1)[:, None] / PEAK for image in (frame, real))  # 3 1 H W
    mean_a, mean_b = _blurred(a), _blurred(b)  # 3 1 H-10 W-10
    variances = _blurred(a * a) - mean_a**2 + _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    c1, c2 = K1**2, K2**2
    brightness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (brightness * structure).mean()


def _blurred(channels: Tensor) -> Tensor:
    """(c, 1, H, W) -> (c, 1, H - 10, W - 10): Gaussian means over windows that lie inside."""
    places = torch.arange(WINDOW, dtype=channels.dtype, device=channels.device) - WINDOW // 2
    weights = torch.exp(-places.square() / (2 * SIGMA**2))
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(channels, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))


def signed(frames: Tensor) -> Tensor:
    """uint8 (t, H, W, 3) -> float32 (t, 3, H, W) in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def check_pairs(frames: Tensor, real: Tensor) -> None:
    """Raise `ValueError` unless both are uint8 (t, H, W, 3) of one shape."""
    for video in (frames, real):
        if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != torch.uint8 or math.prod(video.shape) == 0:
            raise ValueError(f"frames should be uint8 (t, H, W, 3), they are {video.dtype} {tuple(video.shape)}")
    if frames.shape != real.shape:
        raise ValueError(
            f"frames of {tuple(frames.shape)} cannot be compared with real ones of {tuple(real.shape)}: "
            "sample both alike"
        )


PSNR = PairMetric(
    name="PSNR",
    unit="dB",
    better="higher",
    meaning="Against the real frames between the given ones, in decibels.",
    measure=psnr_of_each,
)
SSIM = PairMetric(
    name="SSIM",
    better="higher",
    meaning="Structural similarity with the real frames between the given ones, at most 1.",
    measure=ssim,
)
LPIPS = Metric(
    name="LPIPS",
    better="lower",
    meaning="Perceptual distance from the real frames between the given ones, 0 for equal frames.",
)
