"""ToonCrafter's decoder (arXiv:2405.17933): frames are decoded together, and read their first and last image.

Between two images latents say little of fine lines. The encoder's features of both images go into the decoder: at the
two coarse levels by attention of every frame to both, at the fine ones added to the first and the last frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.modules.networks.ae_modules import (
    AttnBlock,
    AutoencoderNetworkConfig,
    DownLevel,
    Encoder,
    ResnetBlock,
    Upsample,
)

HEADS, HEAD_CHANNELS = 8, 64
"""Of the attention to references; the released code fixes them."""
ATTENTIVE_LEVELS = 2
"""So many coarse levels attend to the references; the others add them to the first and the last frame."""


@dataclass(frozen=True)
class References:
    """The encoder's features of the first and the last image, (b, c, 2, h, w) each, full resolution first.

    levels  what the blocks of each level give, before it is made smaller
    input   what the first convolution gives
    """

    levels: tuple[Tensor, ...]
    input: Tensor

    def of_clip(self, number: int) -> References:
        """Those of one clip of a batch, (1, c, 2, h, w) each."""
        return References(tuple(level[number : number + 1] for level in self.levels), self.input[number : number + 1])


def encode_references(encoder: Encoder, images: Tensor) -> References:
    """References of pairs of images (b, 3, 2, H, W) in [-1, 1], the first and the last frame of each clip."""
    pairs = images.shape[0]

    def paired(features: Tensor) -> Tensor:
        return rearrange(features, "(b n) c h w -> b c n h w", b=pairs)

    h = encoder.conv_in(rearrange(images, "b c n h w -> (b n) c h w"))
    first, levels = paired(h), []
    for level in (cast(DownLevel, down) for down in encoder.down):
        h = level.blocks(h)
        levels.append(paired(h))
        h = level.downsample(h)
    return References(tuple(levels), first)


class TimeStack(nn.Module):
    """Two convolutions over frames on a residual; statistics are shared by all frames of a clip."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        )
        # The place of dropout counts in the keys.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0)),
        )
        for parameter in self.out_layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, t, h, w) -> the same shape."""
        return x + self.out_layers(self.in_layers(x))


class VideoResBlock(ResnetBlock):
    """A residual block of images, mixed with what convolutions over frames make of it."""

    def __init__(self, config: AutoencoderNetworkConfig, in_channels: int, out_channels: int) -> None:
        super().__init__(config, in_channels, out_channels)
        self.mix_factor = nn.Parameter(torch.zeros(1))
        self.time_stack = TimeStack(out_channels, config.norm_num_groups)

    def forward(self, x: Tensor) -> Tensor:
        """x (t, c, h, w), the frames of one clip -> (t, c', h, w)."""
        x = super().forward(x)
        over_time = rearrange(self.time_stack(rearrange(x, "t c h w -> 1 c t h w")), "1 c t h w -> t c h w")
        return torch.lerp(x, over_time, torch.sigmoid(self.mix_factor))


class ReferenceAttention(nn.Module):
    """Attention of every frame to all pixels of both references, added to it."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_CHANNELS
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_k = nn.Linear(channels, inner, bias=False)
        self.to_v = nn.Linear(channels, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, channels), nn.Identity())
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        for parameter in self.to_out[0].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, references: Tensor) -> Tensor:
        """x (t, c, h, w) and references (1, c, 2, h, w) -> (t, c, h, w), frame by frame: no logits are held."""
        known = rearrange(references, "1 c n h w -> 1 (n h w) c")
        k, v = (rearrange(layer(known), "1 m (nh d) -> 1 nh m d", nh=HEADS) for layer in (self.to_k, self.to_v))
        frames = []
        for frame in x.split(1):
            q = self.to_q(rearrange(self.norm(frame), "1 c h w -> 1 (h w) c"))
            q = rearrange(q, "1 m (nh d) -> 1 nh m d", nh=HEADS)
            out = rearrange(F.scaled_dot_product_attention(q, k, v), "1 nh m d -> 1 m (nh d)")
            frames.append(frame + rearrange(self.to_out(out), "1 (h w) c -> 1 c h w", h=frame.shape[2]))
        return torch.cat(frames)


class Combiner(nn.Module):
    """The first reference added to the first frame, and the second one to the last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, references: Tensor) -> Tensor:
        """x (t, c, h, w) and references (1, c, 2, h, w) -> (t, c, h, w)."""
        first, last = self.conv(rearrange(references, "1 c n h w -> n c h w")).split(1)
        x = torch.cat([x[:1] + first, x[1:]])
        return torch.cat([x[:-1], x[-1:] + last])


class VideoConv(nn.Conv2d):
    """The last convolution, then one over frames."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.time_mix_conv = nn.Conv3d(out_channels, out_channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """x (t, c, h, w), the frames of one clip -> (t, c', h, w)."""
        frames = rearrange(super().forward(x), "t c h w -> 1 c t h w")
        return rearrange(self.time_mix_conv(frames), "1 c t h w -> t c h w")


class VideoMiddle(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, config: AutoencoderNetworkConfig) -> None:
        super().__init__()
        channels = config.widths[-1]
        self.block_1 = VideoResBlock(config, channels, channels)
        self.attn_1 = AttnBlock(config, channels)
        self.block_2 = VideoResBlock(config, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (t, c, h, w) -> the same shape."""
        return self.block_2(self.attn_1(self.block_1(x)))


class VideoUpLevel(nn.Module):
    """The blocks at one resolution and the up-sampling to the next."""

    def __init__(self, config: AutoencoderNetworkConfig, level: int) -> None:
        super().__init__()
        width = config.widths[level]
        entering = config.widths[min(level + 1, len(config.widths) - 1)]
        inputs = [entering] + [width] * config.num_res_blocks
        self.block = nn.ModuleList(VideoResBlock(config, channels, width) for channels in inputs)
        self.upsample = Upsample(width) if level else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x (t, c, h, w) -> (t, c', h, w), before up-sampling."""
        for block in self.block:
            x = block(x)
        return x


class DualReferenceDecoder(nn.Module):
    """Latents of one clip, all frames at once, and its references -> frames; see the module."""

    def __init__(self, config: AutoencoderNetworkConfig) -> None:
        super().__init__()
        if config.attn_resolutions:
            raise ValueError("a dual-reference decoder has no attention inside its levels: attn_resolutions must be []")
        widths, groups = config.widths, config.norm_num_groups
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = VideoMiddle(config)
        self.up = nn.ModuleList(VideoUpLevel(config, level) for level in range(len(widths)))
        attentive = len(widths) - ATTENTIVE_LEVELS
        refinement: list[nn.Module] = [
            Combiner(width) if level < attentive else ReferenceAttention(width, groups)
            for level, width in enumerate(widths)
        ]
        self.attn_refinement = nn.ModuleList([*refinement, Combiner(widths[0])])
        self.norm_out = config.norm(widths[0])
        self.conv_out = VideoConv(widths[0], config.out_ch)

    def forward(self, z: Tensor, references: References | None) -> Tensor:
        """z (t, c, h, w), not through `post_quant_conv` -> (t, 3, f h, f w), about [-1, 1].

        references: of one clip; None for a clip without, which is decoded as frames that belong together.
        """
        refined: Sequence[Tensor] = () if references is None else references.levels
        h = self.mid(self.conv_in(z))
        for level in range(len(self.up) - 1, -1, -1):
            up = cast(VideoUpLevel, self.up[level])
            h = up(h)
            if refined:
                h = self.attn_refinement[level](h, refined[level])
            h = up.upsample(h)
        h = F.silu(self.norm_out(h))
        if references is not None:
            h = self.attn_refinement[-1](h, references.input)
        return self.conv_out(h)
