"""A video that begins with its picture: frame 0 is held to the input image.

`soft` shows the network the image's own latents at frame 0 in every step, as in inpainting. `exact` leaves the network
alone and adds to frame 0 what it lacks of the image, and to each next frame a share of that: what is lacking is mostly
detail that the autoencoder cannot tell, and the frames after lack it as well.

The two are not combined: on the embedded model frame 0 under known latents moved away from frame 1, which then looked
like a jump (`benchmarks/plugins.md`), while the correction alone leaves the first step as long as the others.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Anchor = Literal["free", "soft", "exact"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)
"""free: as the network makes it. soft: frame 0 has the image's latents. exact: it is the image, pixel for pixel."""

DECAY = 0.9
"""The share of the correction of a frame that the next one gets: less shows as a jump, more as a stain that stays."""


def hold_first_frame(kept: Tensor | None, anchor: str, shape: tuple[int, int, int, int]) -> Tensor | None:
    """The mask `kept` (b, t, H, W) of what stays as in the image, with all of frame 0 if `anchor` is soft."""
    if anchor != "soft":
        return kept
    held = torch.zeros(shape) if kept is None else kept.clone()
    held[:, 0] = 1.0
    return held


def correct_pixels(
    video: Tensor, images: Tensor, anchor: str, ends: Tensor | None = None, decay: float = DECAY
) -> Tensor:
    """Videos (b, 3, t, H, W) that begin with `images` (b, 3, H, W), all in [-1, 1], if `anchor` is exact.

    ends   (b, 3, H, W) pictures that they end with, in the same way; None: none
    decay  frame i moves by decay^i of what frame 0 lacks; 0 corrects frame 0 alone
    """
    if anchor != "exact":
        return video
    video, count = video.clamp(-1, 1), video.shape[2]
    weights = decay ** torch.arange(count, dtype=video.dtype)  # 0^0 is 1
    if ends is not None:
        weights = weights * torch.linspace(1, 0, count)  # nothing is left of it at the other end
    corrected = video + (images - video[:, :, 0])[:, :, None] * weights[:, None, None]
    if ends is not None:
        corrected += (ends - video[:, :, -1])[:, :, None] * weights.flip(0)[:, None, None]
        corrected[:, :, -1] = ends
    corrected[:, :, 0] = images  # without rounding
    return corrected.clamp(-1, 1)
