"""Encoder and decoder of the image autoencoder (the first stage of Stable Diffusion, Rombach et al. 2022).

The attribute names are the keys of the released checkpoints, `mid.block_1` and `nin_shortcut` included.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvdm.declaration.ranges import Channels, Depth, Dropout, Levels, Side, with_ranges


@with_ranges
@dataclass(frozen=True)
class AutoencoderNetworkConfig:
    """Widths and depths that the encoder and the decoder share (`ddconfig` in the YAML).

    double_z          the encoder gives mean and log-variance (2 x z_channels); must be true for a KL autoencoder
    resolution        nominal image side; only decides which levels `attn_resolutions` means. Any size may be fed
    ch, ch_mult       channels of level i are ch * ch_mult[i]; every level after the first halves the side
    num_res_blocks    residual blocks per level of the encoder; the decoder has one more
    norm_num_groups   groups of the group normalisations; must divide every level's channels
    """

    double_z: bool
    z_channels: Channels
    resolution: Side
    in_channels: Channels
    out_ch: Channels
    ch: Channels
    ch_mult: Levels
    num_res_blocks: Depth
    attn_resolutions: tuple[Side, ...] = ()
    dropout: Dropout = 0.0
    norm_num_groups: Channels = 32

    def __post_init__(self) -> None:
        if not self.double_z:
            raise ValueError("double_z must be true: a KL autoencoder encodes a mean and a log-variance")
        odd = [width for width in self.widths if width % self.norm_num_groups]
        if odd:
            raise ValueError(
                f"ch * ch_mult gives {odd[0]} channels, not a multiple of norm_num_groups = {self.norm_num_groups}; "
                "set a smaller norm_num_groups"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every level, from full resolution down."""
        return tuple(self.ch * multiplier for multiplier in self.ch_mult)

    @property
    def downsample_factor(self) -> int:
        """Image pixels per latent pixel, along one side."""
        return 2 ** (len(self.ch_mult) - 1)

    def has_attention(self, level: int) -> bool:
        """Whether the blocks of `level` are followed by attention."""
        return self.resolution // 2**level in self.attn_resolutions

    def norm(self, channels: int) -> nn.GroupNorm:
        """The group normalisation used everywhere in the autoencoder."""
        return nn.GroupNorm(self.norm_num_groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Two normalised 3x3 convolutions beside a shortcut: (n, in, h, w) -> (n, out, h, w)."""

    def __init__(self, config: AutoencoderNetworkConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = config.norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = config.norm(out_channels)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.nin_shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.nin_shortcut(x) + h


class AttnBlock(nn.Module):
    """Self-attention with one head over all pixels of an image, added to its input: (n, c, h, w) -> same."""

    def __init__(self, config: AutoencoderNetworkConfig, channels: int) -> None:
        super().__init__()
        self.norm = config.norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        h = self.norm(x)
        # channels last in memory: otherwise torch has no fused kernel for it, and holds the scores of all pixels
        q, k, v = (rearrange(layer(h), "n c h w -> n 1 (h w) c").contiguous() for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)  # (n, 1, h w, c)
        return x + self.proj_out(rearrange(h, "n 1 (h w) c -> n c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """Halve the sides, rounding down: (n, c, h, w) -> (n, c, h // 2, w // 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # the released model pads on the right and at the bottom only


class Upsample(nn.Module):
    """Double the sides: (n, c, h, w) -> (n, c, 2 h, 2 w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks at one resolution, each with its attention if the level has any, then the resampling to the next."""

    def __init__(self, config: AutoencoderNetworkConfig, level: int, in_channels: int, num_blocks: int) -> None:
        super().__init__()
        out_channels = config.widths[level]
        inputs = [in_channels] + [out_channels] * (num_blocks - 1)
        self.block = nn.ModuleList(ResnetBlock(config, channels, out_channels) for channels in inputs)
        self.attn = nn.ModuleList(AttnBlock(config, out_channels) for _ in inputs if config.has_attention(level))

    def blocks(self, x: Tensor) -> Tensor:
        """What is done at this resolution, without the resampling: (n, in, h, w) -> (n, out, h, w)."""
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        return x


class DownLevel(Level):
    """A level of the encoder; all but the last end with a `Downsample`."""

    def __init__(self, config: AutoencoderNetworkConfig, level: int) -> None:
        super().__init__(config, level, config.widths[level - 1] if level else config.ch, config.num_res_blocks)
        is_last = level == len(config.widths) - 1
        self.downsample = nn.Identity() if is_last else Downsample(config.widths[level])

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, h // 2, w // 2), or (n, out, h, w) for the last level."""
        return self.downsample(self.blocks(x))


class UpLevel(Level):
    """A level of the decoder; all but the one at full resolution end with an `Upsample`."""

    def __init__(self, config: AutoencoderNetworkConfig, level: int) -> None:
        in_channels = config.widths[min(level + 1, len(config.widths) - 1)]
        super().__init__(config, level, in_channels, config.num_res_blocks + 1)
        self.upsample = Upsample(config.widths[level]) if level else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, 2 h, 2 w), or (n, out, h, w) at full resolution."""
        return self.upsample(self.blocks(x))


class Middle(nn.Module):
    """Block, attention, block at the lowest resolution: (n, c, h, w) -> same."""

    def __init__(self, config: AutoencoderNetworkConfig) -> None:
        super().__init__()
        channels = config.widths[-1]
        self.block_1 = ResnetBlock(config, channels, channels)
        self.attn_1 = AttnBlock(config, channels)
        self.block_2 = ResnetBlock(config, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Images (n, in_channels, H, W) -> (n, 2 z_channels, H // f, W // f), f = `downsample_factor`."""

    def __init__(self, config: AutoencoderNetworkConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList(DownLevel(config, level) for level in range(len(config.widths)))
        self.mid = Middle(config)
        self.norm_out = config.norm(config.widths[-1])
        self.conv_out = nn.Conv2d(config.widths[-1], 2 * config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Latents (n, z_channels, h, w) -> (n, out_ch, f h, f w), f = `downsample_factor`; the range is not clamped."""

    def __init__(self, config: AutoencoderNetworkConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(config.z_channels, config.widths[-1], 3, padding=1)
        self.mid = Middle(config)
        self.up = nn.ModuleList(UpLevel(config, level) for level in range(len(config.widths)))
        self.norm_out = config.norm(config.widths[0])
        self.conv_out = nn.Conv2d(config.widths[0], config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))
