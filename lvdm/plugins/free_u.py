"""FreeU (arXiv 2309.11497): a decoder that listens more to the features from below and less to the skips.

The features from below carry the shapes and are strengthened where they are strong; the skips carry texture and lose
some of their lowest frequencies. It acts on the two deepest levels of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from lvdm.modules.hooks import LayerFunction
from lvdm.modules.layers import ResBlock, Upsample
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples
from lvdm.plugins.methods.free_u import FreeUOptions


@dataclass(frozen=True)
class FreeU(FreeUOptions):
    """The method as a plug-in; with every factor 1 nothing changes."""

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Weigh what the decoder's blocks are given; see `Plugin`."""
        factors = ((self.b1, self.s1), (self.b2, self.s2))
        weighing: dict[ResBlock, LayerFunction] = {}
        for depth, blocks in enumerate(decoder_levels(unet)[: len(factors)]):
            backbone, skip = factors[depth]
            if (backbone, skip) != (1, 1):
                weighing |= {block: partial(_weighed, width, backbone, skip) for block, width in blocks}
        return hooks.with_functions("forward", weighing)


def decoder_levels(unet: UNetModel) -> list[list[tuple[ResBlock, int]]]:
    """The first layers of the decoder's blocks by level, the deepest first, each with how many channels of its input
    come from below; the rest are those of the skip beside it.

    A network that works in pieces calls the layers and not their block.
    """
    levels: list[list[tuple[ResBlock, int]]] = [[]]
    width = unet.config.channel_mult[-1] * unet.config.model_channels
    for block in cast(Sequence[Sequence[nn.Module]], unet.output_blocks):
        first = cast(ResBlock, block[0])
        levels[-1].append((first, width))
        convolution = first.in_layers[-1]
        width = cast(nn.Conv2d, convolution).out_channels
        if isinstance(block[-1], Upsample):
            levels.append([])
    return levels


def strengthen(features: Tensor, factor: float) -> Tensor:
    """Half of the channels of (n, c, h, w) times 1 to `factor`, by how active each pixel is in its image."""
    if factor == 1:
        return features
    half = features.shape[1] // 2
    activity = features.float().mean(dim=1, keepdim=True)  # n 1 h w
    low, high = activity.amin((-2, -1), keepdim=True), activity.amax((-2, -1), keepdim=True)
    weight = 1 + (factor - 1) * (activity - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.cat([features[:, :half] * weight.to(features.dtype), features[:, half:]], dim=1)


def damp_low_frequencies(features: Tensor, factor: float) -> Tensor:
    """The frequencies of (n, c, h, w) below one cycle per image, the mean included, times `factor`."""
    if factor == 1:
        return features
    spectrum = torch.fft.fftn(features.float(), dim=(-2, -1))
    rows, columns = (torch.fft.fftfreq(size, 1 / size, device=features.device).abs() for size in features.shape[-2:])
    low = (rows[:, None] < 1) & (columns < 1)
    weights = torch.where(low, factor, 1.0)
    return torch.fft.ifftn(spectrum * weights, dim=(-2, -1)).real.to(features.dtype)


def _weighed(
    width: int,
    backbone: float,
    skip: float,
    block: ResBlock,
    inner: Callable[..., Tensor],
    x: Tensor,
    *args: Any,
    **others: Any,
) -> Tensor:
    """What `inner` makes of (n, c, h, w) whose first `width` channels come from below, weighed."""
    features, passed = strengthen(x[:, :width], backbone), damp_low_frequencies(x[:, width:], skip)
    return inner(torch.cat([features, passed], dim=1), *args, **others)
