"""A look at a video while it is sampled: latents to small images by a linear map, without the decoder.

The map from the channels of a latent pixel to the mean colour under it is fitted, per autoencoder, to images whose
latents are known. It takes one encoding of a few frames, and a millisecond for each preview after that.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lvdm.pipeline import DynamiCrafterPipeline

FITTED_SIDE, FITTED_FRAMES = 128, 8
"""Pixels and number of the images of soft random colours that the map is fitted to."""
SHOWN_SIDE = 256
"""Pixels of the longer side of a preview."""


@dataclass(frozen=True, eq=False)
class LatentColors:
    """A linear map from latents to colours in [-1, 1]: `weight` (3, c) and `bias` (3,)."""

    weight: Tensor
    bias: Tensor

    def frames(self, latents: Tensor) -> Tensor:
        """The latents (c, t, h, w) as bytes (t, h, w, 3)."""
        colors = torch.einsum("oc,cthw->thwo", self.weight, latents.detach().float().cpu()) + self.bias
        return ((colors.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def fit_colors(pipeline: DynamiCrafterPipeline) -> LatentColors:
    """The map of the pipeline's autoencoder, by least squares. Takes no random number from anyone."""
    soft = soft_images(FITTED_FRAMES, FITTED_SIDE)
    latents = pipeline.runtime.encode_video(soft.transpose(0, 1)[None])[0].cpu()  # c t h w
    small = F.adaptive_avg_pool2d(soft, (latents.shape[2], latents.shape[3]))  # t 3 h w
    known = latents.flatten(1).T  # n c
    known = torch.cat([known, torch.ones(len(known), 1)], dim=1)
    wanted = small.transpose(0, 1).flatten(1).T  # n 3
    solution = torch.linalg.lstsq(known.double(), wanted.double(), driver="gelsd").solution.float()
    return LatentColors(solution[:-1].T.contiguous(), solution[-1])


def soft_images(count: int, side: int) -> Tensor:
    """Images (count, 3, side, side) in [-1, 1] of random colours that change slowly; always the same ones."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator) * 2 - 1
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1)


def moving_image(frames: Tensor, milliseconds: int = 125) -> bytes:
    """Frames (t, h, w, 3) as the bytes of a small animated WebP."""
    height, width = frames.shape[1:3]
    factor = max(1, SHOWN_SIDE // max(height, width))
    size = width * factor, height * factor
    soft = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames.numpy()]
    stored = io.BytesIO()
    soft[0].save(
        stored,
        "WEBP",
        save_all=True,
        append_images=soft[1:],
        duration=milliseconds,
        loop=0,
        quality=60,
        method=0,
    )
    return stored.getvalue()
