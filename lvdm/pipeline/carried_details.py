"""Details that the autoencoder cannot show: of frame 0, carried along with it, and added to decoded frames.

What a frame carrier moves exists in pixels and in latents. What these decode to lacks of those is what the autoencoder
lost. It is added where frame 0 shows what stands there, as far as the network has left that where it was carried. The
reference of ToonCrafter's decoder (arXiv:2405.17933), given images of which it reads the details, is the same idea.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CHANGED = 0.2
"""Difference of pixels (of a range of 2), averaged over 5x5 of them, at which details are down to 1/e."""


@dataclass(frozen=True, eq=False)
class CarriedFrames:
    """The frames of a clip as they were carried; what comes after them begins with frame 0 again.

    pixels   (b, 3, t, H, W) in [-1, 1]
    visible  (b, 1, t, H, W) in [0, 1]: how far frame 0 shows what stands there
    latents  (b, c, t, h, w) of the pixels
    """

    pixels: Tensor
    visible: Tensor
    latents: Tensor

    def detailed(self, frames: Tensor, start: int, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """Decoded `frames` (b, 3, k, H, W), the first of which is frame `start`, with their details."""
        numbers = torch.arange(start, start + frames.shape[2], device=self.pixels.device) % self.pixels.shape[2]
        pixels, visible = self.pixels[:, :, numbers], self.visible[:, :, numbers]
        known = decode(self.latents[:, :, numbers]).float()
        change = (frames.float() - known).abs().mean(1, keepdim=True)  # b 1 k H W
        change = F.avg_pool3d(change, (1, 5, 5), stride=1, padding=(0, 2, 2), count_include_pad=False)
        return frames.float() + visible * torch.exp(-(change / CHANGED).square()) * (pixels - known)
