"""Convolutional blocks of the video UNet. Frames are folded into the batch: activations are (b t, c, h, w)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.modules.hooks import checkpointed, replaceable

M = TypeVar("M", bound=nn.Module)


def zero_module(module: M) -> M:
    """Set all parameters of `module` to zero (residual branches start as the identity); returns it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def for_samples(x: Tensor, count: int) -> Tensor:
    """x (n, ...) as often, one after the other, as gives `count` rows: x itself where it has as many."""
    return x if x.shape[0] == count else torch.cat([x] * (count // x.shape[0]))


def timestep_embedding(timesteps: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoids of (possibly fractional) positions: (...,) -> (..., dim), cosines first, in float32."""
    half = dim // 2
    positions = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    frequencies = torch.exp(-math.log(max_period) * positions / half)
    angles = timesteps[..., None].float() * frequencies
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(embedding, (0, dim % 2))


class GroupNorm32(nn.GroupNorm):
    """Group normalization whose statistics are at least float32, whatever the activations' precision."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype not in (torch.float16, torch.bfloat16):
            return super().forward(x)
        out = F.group_norm(x.float(), self.num_groups, self.weight.float(), self.bias.float(), self.eps)
        return out.to(x.dtype)


class Conv2d(nn.Conv2d):
    """torch's convolution over pixels, in whose place a generation may compute another one."""

    @replaceable
    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> (n, c', h', w')."""
        return super().forward(x)


class Downsample(nn.Module):
    """3x3 convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Nearest neighbour to twice the size, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class TemporalConv3d(nn.Conv3d):
    """A 3-tap convolution over frames only, with the weights (o, i, 3, 1, 1) of a Conv3d.

    Computed as a two-dimensional convolution over (frames, pixels), which is the same sum and has faster kernels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    @replaceable
    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, t, h, w) -> the same shape."""
        out = F.conv2d(x.flatten(3), self.weight[..., 0], self.bias, padding=(1, 0))  # b c t (h w)
        return out.view(x.shape)


class RepeatedEndsConv3d(TemporalConv3d):
    """The same, with the first and the last frame repeated instead of zeros before and after them."""

    @replaceable
    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, t, h, w) -> the same shape."""
        ends = F.pad(x.flatten(3), (0, 0, 1, 1), mode="replicate")  # b c (t + 2) (h w)
        return F.conv2d(ends, self.weight[..., 0], self.bias).view(x.shape)


class TemporalResidual(nn.Module):
    """Convolutions over frames on a residual; statistics are shared by all frames of a clip."""

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """Normalisation, activation, dropout and a convolution each, in their order."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, t, h, w) -> the same shape."""
        h = x
        for stage in self.stages:
            h = stage(h)
        return x + h


class TemporalConvBlock(TemporalResidual):
    """Four convolutions over frames only. With `spans_pixels`, the first two see 3x3 pixels as well."""

    def __init__(
        self, channels: int, dropout: float = 0.1, norm_num_groups: int = 32, spans_pixels: bool = False
    ) -> None:
        super().__init__()

        def stage(dropout: float | None, spans_pixels: bool = False) -> nn.Sequential:
            convolution = nn.Conv3d(channels, channels, 3, padding=1) if spans_pixels else TemporalConv3d(channels)
            return convolution_stage(channels, convolution, dropout, norm_num_groups)

        self.conv1 = stage(None, spans_pixels)
        self.conv2 = stage(dropout, spans_pixels)
        self.conv3 = stage(dropout)
        self.conv4 = stage(dropout)
        zero_module(self.conv4[-1])

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """See `TemporalResidual`."""
        return self.conv1, self.conv2, self.conv3, self.conv4


SecondStage = Literal["frames", "pixels", "volume"]


class StagedTemporalConvBlock(TemporalResidual):
    """Make-Your-Video's block (arXiv:2306.00943): the ends of a clip are repeated, and one stage sees pixels.

    second_stage  pixels: a stage over the 3x3 pixels of each frame comes second, as in the released model;
                  volume: one over frames and pixels; frames: no such stage, all are over frames
    """

    def __init__(
        self, channels: int, dropout: float = 0.1, norm_num_groups: int = 32, second_stage: SecondStage = "pixels"
    ) -> None:
        super().__init__()
        between: list[nn.Module] = [RepeatedEndsConv3d(channels)]
        if second_stage == "volume":
            between.insert(0, nn.Conv3d(channels, channels, 3, padding=1, padding_mode="replicate"))
        else:
            between.append(RepeatedEndsConv3d(channels))
        if second_stage == "pixels":
            between.insert(0, nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1)))
        stages = [convolution_stage(channels, RepeatedEndsConv3d(channels), None, norm_num_groups)]
        stages += [convolution_stage(channels, convolution, dropout, norm_num_groups) for convolution in between]
        self.conv = nn.Sequential(*stages)
        self.conv_last = convolution_stage(channels, RepeatedEndsConv3d(channels), dropout, norm_num_groups)
        zero_module(self.conv_last[-1])

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """See `TemporalResidual`."""
        return (*(cast(nn.Sequential, stage) for stage in self.conv), self.conv_last)


def convolution_stage(
    channels: int, convolution: nn.Module, dropout: float | None, norm_num_groups: int
) -> nn.Sequential:
    """Normalisation, activation, dropout (None: no such layer, which counts in the keys) and `convolution`."""
    drop = [] if dropout is None else [nn.Dropout(dropout)]
    return nn.Sequential(GroupNorm32(norm_num_groups, channels), nn.SiLU(), *drop, convolution)


class ResBlock(nn.Module):
    """Two 3x3 convolutions with the time embedding between them, then a temporal convolution."""

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        out_channels: int,
        dropout: float = 0.0,
        use_checkpoint: bool = False,
        norm_num_groups: int = 32,
        temporal_conv: Callable[[int], TemporalResidual] | None = None,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.in_layers = nn.Sequential(
            GroupNorm32(norm_num_groups, channels), nn.SiLU(), Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        self.out_layers = nn.Sequential(
            GroupNorm32(norm_num_groups, out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_module(Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        # The misspelling is part of the released checkpoints' keys.
        self.temopral_conv = None if temporal_conv is None else temporal_conv(out_channels)

    @replaceable
    def forward(self, x: Tensor, emb: Tensor, temporal: bool = True) -> Tensor:
        """x (b t, c, h, w), emb (b, 1 or t, emb_channels) -> (b t, out_channels, h, w).

        `temporal=False` leaves out the temporal convolution.
        """
        if self.use_checkpoint and self.training and torch.is_grad_enabled():
            return checkpointed(self._forward, x, emb, temporal)
        return self._forward(x, emb, temporal)

    def _forward(self, x: Tensor, emb: Tensor, temporal: bool) -> Tensor:
        batch = emb.shape[0]
        h = rearrange(self.in_layers(x), "(b t) c h w -> b t c h w", b=batch)
        h = h + self.emb_layers(emb)[..., None, None].to(h.dtype)  # b t c 1 1, the same row for all frames if t is 1
        h = self.out_layers(rearrange(h, "b t c h w -> (b t) c h w"))
        h = self.skip_connection(x) + h
        if self.temopral_conv is None or not temporal:
            return h
        h = self.temopral_conv(rearrange(h, "(b t) c h w -> b c t h w", b=batch))
        return rearrange(h, "b c t h w -> (b t) c h w")
