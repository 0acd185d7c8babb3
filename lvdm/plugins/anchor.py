"""A video that begins with its picture: frame 0 is held to the input image.

The network is shown the image's own latents at frame 0 in every step (as in inpainting), so that the rest is made to
follow them. What the autoencoder cannot tell of the image is missing in its decoded frame, too: with `exact`, this
difference is added to frame 0 and, falling off, to the frames after it, so that the first step of the video is no
larger than the others.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Anchor = Literal["free", "soft", "exact"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)
"""free: as the network makes it. soft: frame 0 has the image's latents. exact: it is the image, pixel for pixel."""

DECAY = 0.75
"""The share of the correction of a frame that the next one gets."""


def hold_first_frame(kept: Tensor | None, anchor: str, shape: tuple[int, int, int, int]) -> Tensor | None:
    """The mask `kept` (b, t, H, W) of what stays as in the image, with all of frame 0; `shape` is that of the mask."""
    if anchor == "free":
        return kept
    held = torch.zeros(shape) if kept is None else kept.clone()
    held[:, 0] = 1.0
    return held


def correct_pixels(video: Tensor, images: Tensor, anchor: str, decay: float = DECAY) -> Tensor:
    """Videos (b, 3, t, H, W) that begin with `images` (b, 3, H, W), all in [-1, 1], if `anchor` is exact.

    Frame i moves by decay^i of what frame 0 lacks; `decay` 0 corrects frame 0 alone.
    """
    if anchor != "exact":
        return video
    lacking = images - video[:, :, 0].clamp(-1, 1)
    weights = decay ** torch.arange(video.shape[2], dtype=video.dtype)  # 0^0 is 1
    corrected = video.clamp(-1, 1) + lacking[:, :, None] * weights[:, None, None]
    corrected[:, :, 0] = images  # without rounding
    return corrected.clamp(-1, 1)
