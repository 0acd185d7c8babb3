"""Adaptive low-pass guidance (ALG, arXiv 2506.08456): livelier videos from a first look at a blurred image.

An image-to-video model that is shown every detail of the image in the first steps copies it and moves little. Shown
an image without details until the motion is decided, it moves more; the sharp image then brings the details back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples


def without_details(images: Tensor, strength: float) -> Tensor:
    """Images (b, 3, H, W) reduced to 1 - `strength` of their sides and enlarged again; at 0 the images themselves."""
    if strength == 0:
        return images
    size = images.shape[-2:]
    small = [max(1, round(side * (1 - strength))) for side in size]
    reduced = F.interpolate(images, small, mode="bilinear", antialias=True)
    return F.interpolate(reduced, tuple(size), mode="bilinear")


@dataclass(frozen=True, eq=False)
class LowPass:
    """The method as a plug-in.

    concat  (b, c, t, h, w) the concatenated latents of the image without details
    until   share of the steps that see them, 0 to 1
    """

    concat: Tensor
    until: float

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Show the network the blurred image first; see `Plugin`."""

        def make(conditions: Sequence[Conditioning]) -> Branches:
            sharp = hooks.branches(conditions)
            soft = hooks.branches([replace(condition, concat=self.concat) for condition in conditions])

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                return soft(x_t, t) if hooks.clock.before(self.until) else sharp(x_t, t)

            return branches

        return replace(hooks, branches=make)
