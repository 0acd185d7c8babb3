"""A masked region that is the image pixel by pixel, with an edge that blends into what moves.

Holding latents keeps the region as the autoencoder shows it, in steps of a latent pixel. Here the image itself is laid
over the decoded frames where the mask keeps it, fading over some pixels towards the painted region.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def feather(kept: Tensor, width: int) -> Tensor:
    """How much of each pixel is the image, (b, t, H, W) in [0, 1]: 0 where nothing is kept, rising inside what is kept.

    kept   (b, t, H, W) in [0, 1], 1 where the image stays
    width  pixels to the edge (the larger of both directions) from which on all of it is the image; 1 or more
    """
    total = torch.zeros_like(kept)
    eroded = kept
    for _ in range(width):
        total += eroded
        eroded = 1 - F.max_pool2d(1 - eroded, 3, stride=1, padding=1)
    return total / width


class KeptPixels:
    """Lays images (b, 3, H, W) over videos that come in parts (b, 3, k, H, W), in order.

    kept  (b, 1 or t, H, W), as `feather` makes it; 1: for all frames
    """

    def __init__(self, images: Tensor, kept: Tensor) -> None:
        self._images, self._kept, self._begin = images[:, :, None], kept[:, None], 0

    def __call__(self, part: Tensor) -> Tensor:
        """The next part with the images over it."""
        end = self._begin + part.shape[2]
        weight = self._kept if self._kept.shape[2] == 1 else self._kept[:, :, self._begin : end]
        self._begin = end
        blended = torch.lerp(part, self._images.expand_as(part), weight)
        return torch.where(weight == 1, self._images, blended)  # without rounding
