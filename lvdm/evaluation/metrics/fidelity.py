"""Whether the first and the last frame show the images that the clip was made from."""

from __future__ import annotations

from torch import Tensor

from lvdm.evaluation.metrics.metric import NOT_DEFINED, FrameMetric
from lvdm.evaluation.metrics.reconstruction import WINDOW, ssim
from lvdm.psnr import psnr


def frame_psnr(frame: Tensor, image: Tensor | None) -> float:
    """PSNR of a frame (H, W, 3) against the image that it should show."""
    return NOT_DEFINED if image is None else psnr(frame, image)


def frame_ssim(frame: Tensor, image: Tensor | None) -> float:
    """SSIM of a frame (H, W, 3) against the image that it should show, where they are large enough."""
    if image is None or min(frame.shape[:2]) < WINDOW:
        return NOT_DEFINED
    return ssim(frame[None], image[None]).item()


FIRST_FRAME_PSNR = FrameMetric(
    name="first frame PSNR",
    unit="dB",
    better="higher",
    meaning="The first frame against the input image, in decibels; equal images count as 100.",
    measure=lambda clip: frame_psnr(clip.frames[0], clip.image),
)
FIRST_FRAME_SSIM = FrameMetric(
    name="first frame SSIM",
    unit="0..1",
    better="higher",
    meaning="Structural similarity of the first frame with the input image, at most 1.",
    measure=lambda clip: frame_ssim(clip.frames[0], clip.image),
)
LAST_FRAME_PSNR = FrameMetric(
    name="last frame PSNR",
    unit="dB",
    better="higher",
    meaning="The last frame against the image that the clip should end at, in decibels.",
    measure=lambda clip: frame_psnr(clip.frames[-1], clip.last_image),
)
