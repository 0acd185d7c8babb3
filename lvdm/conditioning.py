"""What the denoiser is told besides the noisy latents, and the builders that make it from images and sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """One condition for a batch of videos.

    text    (b, n, d)        sentence tokens; n is 77 in the released models
    image   (b, m, d)        image tokens from the query transformer, frame-major: m = tokens per frame x frames
    concat  (b, 4, t, h, w)  latents concatenated to the noise, channel-wise
    fps     (b,) int64       the `fs` input: frames per second, or frame stride for the 256 model
    """

    text: Tensor
    image: Tensor
    concat: Tensor
    fps: Tensor

    @property
    def context(self) -> Tensor:
        """Text and image tokens on one axis, (b, n + m, d), as the UNet takes them."""
        return torch.cat([self.text, self.image], dim=1)

    def with_text(self, text: Tensor) -> Conditioning:
        """The same condition under other sentence tokens, e.g. those of the empty prompt."""
        return replace(self, text=text.expand_as(self.text))

    def with_image(self, image: Tensor) -> Conditioning:
        """The same condition under other image tokens, e.g. those of a grey image."""
        return replace(self, image=image.expand_as(self.image))
