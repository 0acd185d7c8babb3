"""FreeScale (arXiv 2412.09626): larger images from a smaller video of the same model, fused over two scales.

Three parts. *Cascade*: the video is made at the trained size first, enlarged, noised again up to an intermediate time
step and denoised from there. *Restrained dilation*: the convolutions of encoder and middle reach farther, those of the
decoder do not. *Scale fusion*: attention between pixels takes low frequencies from windows of the trained size, in
which objects keep their form, and high ones from the whole image:

    out = G(local) + (global - G(global)) = global + G(local - global),    G a Gaussian blur.

Noise is added under the model's dynamic rescale. Windows overlap by half and are averaged; the authors also shift them
at random, which is left out, so that a video can be made again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples, Start, begun_otherwise
from lvdm.plugins.redilation import redilated
from lvdm.plugins.scalecrafter import Layer, layers_of
from lvdm.plugins.scaling import FreeScalePlan
from lvdm.plugins.truncated_start import start_step
from lvdm.plugins.windows import attend_in_windows, window_starts

SIGMA = 1.0
"""Of the blur, in places of the attention's own grid."""


@dataclass(frozen=True, eq=False)
class Cascade:
    """Sampling that begins on `latents` (b, c, t, h, w), noised up to the share `level` of the time steps."""

    latents: Tensor
    level: float

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Begin on the enlarged video; see `Plugin`."""

        def noised(begin: Start, schedule: NoiseSchedule) -> Start:
            noise, first = begin.latents, start_step(self.level, schedule)
            t, here = torch.full((noise.shape[0],), first, device=noise.device), schedule.to(noise.device)
            return Start(q_sample(scale_x0(self.latents.to(noise), t, here), noise, t, here), first, noise)

        return begun_otherwise(hooks, noised)


@dataclass(frozen=True)
class FreeScale:
    """Fusion and dilation as a plug-in, for latents of `size` (height, width)."""

    plan: FreeScalePlan
    size: tuple[int, int]

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Look at the image at two scales; see `Plugin`."""
        layers = list(layers_of(unet))

        def make(conditions: Sequence[Conditioning]) -> Branches:
            plain = hooks.branches(conditions)

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                dilated = hooks.clock.before(self.plan.until)
                with redilated(self.factors(layers) if dilated else {}):
                    return plain(x_t, t)

            return branches

        changed = replace(hooks, branches=make)
        return changed.with_attention(unet, "self", self.attend) if self.plan.fuse else changed

    def factors(self, layers: Sequence[Layer]) -> dict[nn.Conv2d, float]:
        """How far apart the taps are: in encoder and middle, below full resolution, by the factor."""
        if self.plan.factor == 1:
            return {}
        return {layer.module: self.plan.factor for layer in layers if layer.level and not layer.decodes}

    def attend(self, inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
        """`inner` in windows and over all pixels, fused; (b, nh, h w, d)."""
        whole = inner(q, k, v, meta)
        grid = grid_of(q.shape[2], self.size)
        places = window_places(grid, self.window(grid))
        if len(places) == 1:
            return whole
        shares = 1 / torch.bincount(places.flatten(), minlength=q.shape[2])[places]
        local = attend_in_windows(inner, q, k, v, meta, places, shares)
        return whole + blur(local - whole, grid, self.plan.factor)

    def window(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the windows on a grid: those that it had in the training."""
        shares = self.plan.window or (1 / self.plan.factor,) * 2
        height, width = (max(1, round(side * share)) for side, share in zip(grid, shares, strict=True))
        return height, width


def grid_of(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of `tokens` places at one of the resolutions of a network that works on latents of `size`."""
    height, width = size
    while height * width > tokens and min(height, width) > 1:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != tokens:
        raise ValueError(f"{tokens} places are no halving of latents of {size[0]}x{size[1]}")
    return height, width


def window_places(grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """The places of each window of that height and width, row by row: (windows, places of one)."""
    starts = [
        window_starts(side, length, max(1, length // 2)) for side, length in zip(grid, window, strict=True)
    ]  # they overlap by half
    one = torch.arange(window[0])[:, None] * grid[1] + torch.arange(window[1])
    return torch.stack([(one + top * grid[1] + left).flatten() for top, left in itertools.product(*starts)])


def blur(x: Tensor, grid: tuple[int, int], factor: float) -> Tensor:
    """The low frequencies of x (b, nh, h w, d): a Gaussian over 2 ceil(factor) - 1 places; one leaves x as it is."""
    reach = math.ceil(factor) - 1
    reach = min(reach, min(grid) - 1)  # an image cannot be mirrored farther than it is long
    if reach == 0:
        return x
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device) / SIGMA) ** 2)
    weights = (weights / weights.sum()).to(x.dtype)
    batch, heads, _, channels = x.shape
    maps = x.transpose(2, 3).reshape(batch * heads * channels, 1, *grid)
    maps = F.conv2d(F.pad(maps, (reach,) * 4, mode="reflect"), weights[None, None, :, None])
    maps = F.conv2d(maps, weights[None, None, None, :])
    return maps.reshape(batch, heads, channels, -1).transpose(2, 3)


def enlarge(video: Tensor, size: tuple[int, int]) -> Tensor:
    """A video (b, 3, t, H, W) at another height and width, bicubic, within [-1, 1]."""
    frames = video.transpose(1, 2).flatten(0, 1)  # (b t) 3 H W
    frames = F.interpolate(frames, size, mode="bicubic", antialias=True).clamp(-1, 1)
    return frames.unflatten(0, (video.shape[0], video.shape[2])).transpose(1, 2)
