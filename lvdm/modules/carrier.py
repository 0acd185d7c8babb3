"""FrameCarrier: frame 0, carried along to every frame by two affine maps and one mask.

The UNet's temporal layers see one pixel, so they cannot move content far. The carrier moves it for them: from text,
`fs`, frame number and frame 0 it predicts how the camera moves, what moves on its own (a mask on frame 0) and how. The
latents of the frames that it carries accordingly take the place of the repeated latents of frame 0. Pixels are carried
and then encoded: latents themselves can be shifted, but one that is turned says the wrong way in which the edge in its
pixels runs. It is not part of DynamiCrafter; a predicted motion that guides the generation is the idea of Motion-I2V
(arXiv:2401.15977) and LFDM (arXiv:2303.13744).

Maps (`lvdm.modules.carrying`) are matrix exponentials of `generators` times the progress of the clip, so that frame 0
is exactly itself, a constant generator is a constant motion, and clips may be of any length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.declaration.ranges import Channels, Depth, Multiplier, Share, Tokens, with_ranges
from lvdm.modules.carrying import affine_maps, around, carry, centroid, compose
from lvdm.modules.layers import GroupNorm32, zero_module

PROGRESS = 1 / 20
"""Progress of the motion in one frame at `fs` 1."""
HARMONICS = 4
"""Sinusoids of the relative time, by which a motion may change its speed, or return to where it began."""
STRIDES = 8.0
"""`fs` is read by the network in this unit."""
TURNS = 6.0
"""Unit of turning and growing in what the network says, so that it is as easily learned as travelling: a thing's rim is
about a sixth of a side from its middle."""


@with_ranges
@dataclass(frozen=True)
class FrameCarrierConfig:
    """Keys of `frame_carrier_config.params`.

    patch       pixels along a side of the cells that the mask network sees as one
    text_dim    of the text tokens
    width       channels of the mask network at full size; twice as many below
    layers      residual blocks of the mask network at each of its three sizes
    hidden      width of the network that makes the maps
    queries     words that it reads from a prompt, each a mean of the tokens with weights of its own
    visibility  give the UNet a channel that is 1 where frame 0 shows what stands there, 0 where it does not
    details     what the autoencoder loses of carried pixels is added to decoded frames, `lvdm.pipeline.carried_details`
    start       sampling begins at this share of the time steps, from the carried latents under its noise; 1: from noise
    between     the same of videos with given later frames, to which the network has to find; left out, as `start`
    """

    patch: Multiplier = 4
    text_dim: Channels = 128
    width: Channels = 48
    layers: Depth = 2
    hidden: Channels = 256
    queries: Tokens = 4
    visibility: bool = False
    details: bool = False
    start: Share = 1.0
    between: Share | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for sizes that cannot be built."""
        if self.width % 16:
            raise ValueError(f"width of a frame carrier must be a multiple of 16, it is {self.width}")


@dataclass(frozen=True)
class Carried:
    """What a carrier makes of frame 0: the motion of all t frames, and the pixels of k of them.

    pixels   (b, 3, k, H, W) in [-1, 1]
    visible  (b, 1, k, H, W) in [0, 1]: how far frame 0 shows what stands there
    mask     (b, 1, H, W) logits: what moves on its own, on frame 0
    camera   (b, t, 2, 3) maps of what does not, to frame 0
    thing    (b, t, 2, 3) maps of what does, to frame 0
    """

    pixels: Tensor
    visible: Tensor
    mask: Tensor
    camera: Tensor
    thing: Tensor


class FrameCarrier(nn.Module):
    """Frame 0, text tokens, `fs` -> `Carried`."""

    Config = FrameCarrierConfig

    def __init__(self, config: FrameCarrierConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.text_dim)
        self.motion = MotionNet(config)
        self.mask = MaskNet(config)

    def forward(
        self, image: Tensor, text: Tensor, fs: Tensor, num_frames: int, frames: Tensor | None = None
    ) -> Carried:
        """Carry images (b, 3, H, W) in [-1, 1] by text tokens (b, n, d) and `fs` (b,); H and W multiples of `patch`.

        num_frames  of the clip
        frames      (b, k) int64, those whose pixels are wanted; all of them if left out
        """
        dtype = self.norm.weight.dtype
        text = text.to(dtype)
        mask = self.mask(image.to(dtype), self.norm(text.mean(1))).float()  # b 1 H W
        time = torch.arange(num_frames, device=image.device)
        progress = time * fs.float()[:, None] * PROGRESS  # b t
        camera, own = affine_maps(self.motion(text, fs, time), progress)
        thing = compose(around(own, centroid(mask.sigmoid())), camera)
        if frames is None:
            frames = time.expand(len(image), -1)
        sample = torch.arange(len(image), device=image.device)[:, None]
        pixels, visible = carry(image, mask.sigmoid(), camera[sample, frames], thing[sample, frames])
        first = (frames == 0)[:, None, :, None, None]
        pixels = torch.where(first, image[:, :, None], pixels)  # to the bit, which sampling a grid is not
        return Carried(pixels, torch.where(first, 1.0, visible), mask, camera, thing)

    def clip(self, image: Tensor, text: Tensor, fs: Tensor, num_frames: int, period: int | None = None) -> Carried:
        """All frames; with `period` half of the way and back, so that frame `period` would be frame 0 again."""
        time = torch.arange(num_frames, device=image.device)
        frames = time if period is None else torch.minimum(time, period - time)
        return self(image, text, fs, num_frames, frames.expand(len(image), -1))

    def concat(
        self,
        image: Tensor,
        text: Tensor,
        fs: Tensor,
        num_frames: int,
        encode: Callable[[Tensor], Tensor],
        period: int | None = None,
    ) -> Tensor:
        """What stands beside the noisy latents, (b, c or c + 1, t, h, w).

        `encode` makes latents (b, c, t, h, w) of a video (b, 3, t, H, W).
        """
        carried = self.clip(image, text, fs, num_frames, period)
        return self.channels(carried.pixels, carried.visible, encode)

    def channels(self, pixels: Tensor, visible: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """The same of carried pixels (b, 3, t, H, W) and their visibility (b, 1, t, H, W)."""
        latents = encode(pixels)
        if not self.config.visibility:
            return latents
        size = (latents.shape[2], latents.shape[3], latents.shape[4])
        return torch.cat([latents, F.adaptive_avg_pool3d(visible, size).to(latents.dtype)], dim=1)

    def all_visible(self, latents: Tensor) -> Tensor:
        """Latents (b, c, ...) that are shown as they are, as the UNet reads them: all visible, (b, c or c + 1, ...)."""
        return torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1) if self.config.visibility else latents


class MotionNet(nn.Module):
    """What a prompt says of the motion: text tokens (b, n, d) -> generators (2, b, t, 2, 3) of camera and thing."""

    def __init__(self, config: FrameCarrierConfig) -> None:
        super().__init__()
        size = config.queries * config.hidden // 4 + 2 * HARMONICS + 1
        self.norm = nn.LayerNorm(config.text_dim)
        self.queries = nn.Parameter(0.1 * torch.randn(config.queries, config.text_dim))
        self.to_k = nn.Linear(config.text_dim, config.text_dim)
        self.to_v = nn.Linear(config.text_dim, config.hidden // 4)
        self.layers = nn.Sequential(
            nn.Linear(size, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            zero_module(nn.Linear(config.hidden, 12)),
        )

    def forward(self, text: Tensor, fs: Tensor, time: Tensor) -> Tensor:
        """`fs` (b,), `time` (t,): the numbers of all frames."""
        tokens = self.norm(text)
        scores = self.queries @ self.to_k(tokens).transpose(1, 2) / tokens.shape[-1] ** 0.5  # b queries n
        words = (scores.softmax(-1) @ self.to_v(tokens)).flatten(1)  # b (queries d)
        phase = time.float() / max(len(time) - 1, 1) * math.pi
        phases = phase[:, None] * torch.arange(1, HARMONICS + 1, device=time.device)  # t harmonics
        waves = torch.cat([phases.sin(), phases.cos()], dim=-1)
        parts = (
            words[:, None].expand(-1, len(time), -1),
            waves.expand(len(text), -1, -1).to(text.dtype),
            (fs / STRIDES)[:, None, None].expand(-1, len(time), 1).to(text.dtype),
        )
        out = self.layers(torch.cat(parts, dim=-1)).float()  # b t 12
        generators = rearrange(out, "b t (two row column) -> two b t row column", two=2, row=2)
        return generators * generators.new_tensor([TURNS, TURNS, 1.0])


class MaskNet(nn.Module):
    """A small U-Net of three sizes: images (b, 3, H, W), read by cells, and a prompt (b, d) -> logits (b, 1, H, W)."""

    def __init__(self, config: FrameCarrierConfig) -> None:
        super().__init__()
        width, deep, cell = config.width, 2 * config.width, config.patch**2
        self.patch = config.patch
        self.stem = nn.Conv2d(3 * cell, width, 3, padding=1)
        self.fine = self._blocks(width, config)
        self.down = nn.ModuleList(
            [nn.Conv2d(width, deep, 3, stride=2, padding=1), nn.Conv2d(deep, deep, 3, stride=2, padding=1)]
        )
        self.middle, self.coarse = self._blocks(deep, config), self._blocks(deep, config)
        self.merge = nn.ModuleList([nn.Conv2d(2 * deep, deep, 1), nn.Conv2d(deep + width, width, 1)])
        self.up_middle, self.up_fine = self._blocks(deep, config), self._blocks(width, config)
        self.head = nn.Conv2d(width, cell, 3, padding=1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -2.0)  # little moves on its own

    @staticmethod
    def _blocks(width: int, config: FrameCarrierConfig) -> nn.ModuleList:
        return nn.ModuleList(TextBlock(width, config.text_dim) for _ in range(config.layers))

    def forward(self, image: Tensor, prompt: Tensor) -> Tensor:
        def through(blocks: nn.ModuleList, x: Tensor) -> Tensor:
            for block in blocks:
                x = block(x, prompt)
            return x

        fine = through(self.fine, self.stem(F.pixel_unshuffle(image, self.patch)))  # b c h w
        middle = through(self.middle, self.down[0](fine))  # b 2c h/2 w/2
        x = through(self.coarse, self.down[1](middle))  # b 2c h/4 w/4
        x = through(self.up_middle, self.merge[0](torch.cat([_resized(x, middle), middle], dim=1)))
        x = through(self.up_fine, self.merge[1](torch.cat([_resized(x, fine), fine], dim=1)))
        return F.pixel_shuffle(self.head(F.silu(x)), self.patch)


class TextBlock(nn.Module):
    """A residual block whose channels a prompt scales and shifts (FiLM)."""

    def __init__(self, channels: int, text_dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = GroupNorm32(8, channels)
        self.film = nn.Linear(text_dim, 2 * channels)
        self.second = zero_module(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        scale, shift = self.film(prompt)[:, :, None, None].chunk(2, dim=1)
        return x + self.second(F.silu(self.norm(self.first(F.silu(x))) * (1 + scale) + shift))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")
