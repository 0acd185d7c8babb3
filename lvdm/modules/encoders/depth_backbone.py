"""Convolutional backbone and vision transformer of DPT-Hybrid (arXiv:2103.13413), under the keys of MiDaS's file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.declaration.ranges import BlockNumber, Channels, Depth, Side, with_ranges


@with_ranges
@dataclass(frozen=True)
class DPTConfig:
    """The network; the defaults are `dpt_hybrid-midas-501f0c75.pt`.

    image_size   sides of the images that it reads (pixels); a multiple of 32
    stem, depths convolutional backbone: channels of the stem, and blocks of each stage, whose channels are 4, 8 and 16
                 times those of the stem
    dim, heads, blocks, taps  vision transformer: channels, heads, blocks, and the two blocks whose output is read
    features     channels of the fusion
    classes      outputs of the classifier that the file still holds
    """

    image_size: Side = 384
    stem: Channels = 64
    depths: tuple[Depth, Depth, Depth] = (3, 4, 9)
    dim: Channels = 768
    heads: Channels = 12
    blocks: Depth = 12
    taps: tuple[BlockNumber, BlockNumber] = (8, 11)
    features: Channels = 256
    classes: Channels = 1000

    def __post_init__(self) -> None:
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, it is {self.image_size}")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} cannot be divided into {self.heads} heads")
        if not 0 <= self.taps[0] < self.taps[1] < self.blocks:
            raise ValueError(f"taps {self.taps} must be two of the {self.blocks} blocks, the first one first")

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of the backbone's stages."""
        return 4 * self.stem, 8 * self.stem, 16 * self.stem

    @property
    def side(self) -> int:
        """Tokens along a side of the image."""
        return self.image_size // 16


class StandardConv2d(nn.Conv2d):
    """A convolution whose weights are standardised for each output channel, padded as TensorFlow does ("same")."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> (n, c', ceil(h / stride), ceil(w / stride))."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-8)
        return F.conv2d(pad_same(x, self.kernel_size[0], self.stride[0]), weight, stride=self.stride)


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """x (n, c, h, w) padded so that every `stride`-th pixel is the start of a result; the odd one goes behind."""
    padding: list[int] = []
    for side in reversed(x.shape[2:]):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding, value=value)


class ConvNorm(nn.Module):
    """A standardised convolution and group normalisation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = StandardConv2d(in_channels, out_channels, kernel, stride)
        self.norm = nn.GroupNorm(32, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> (n, c', h', w')."""
        return self.norm(self.conv(x))


class Bottleneck(nn.Module):
    """Three convolutions through a quarter of the channels, on a residual."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, first: bool) -> None:
        super().__init__()
        inner = out_channels // 4
        self.downsample = ConvNorm(in_channels, out_channels, 1, stride) if first else None
        self.conv1 = StandardConv2d(in_channels, inner, 1)
        self.norm1 = nn.GroupNorm(32, inner)
        self.conv2 = StandardConv2d(inner, inner, 3, stride)
        self.norm2 = nn.GroupNorm(32, inner)
        self.conv3 = StandardConv2d(inner, out_channels, 1)
        self.norm3 = nn.GroupNorm(32, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> (n, c', h / stride, w / stride)."""
        h = F.relu(self.norm1(self.conv1(x)))
        h = F.relu(self.norm2(self.conv2(h)))
        h = self.norm3(self.conv3(h))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class Stage(nn.Module):
    """Bottlenecks of one size; the first one changes it."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, stride: int) -> None:
        super().__init__()
        blocks = [Bottleneck(in_channels, out_channels, stride, first=True)]
        blocks += [Bottleneck(out_channels, out_channels, 1, first=False) for _ in range(depth - 1)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, c, h, w) -> (n, c', h / stride, w / stride)."""
        return self.blocks(x)


class Backbone(nn.Module):
    """A ResNet of three stages, at 1/4, 1/8 and 1/16 of the side."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        self.stem = ConvNorm(3, config.stem, 7, 2)
        widths = (config.stem, *config.widths)
        self.stages = nn.ModuleList(
            Stage(widths[i], widths[i + 1], depth, 1 if i == 0 else 2) for i, depth in enumerate(config.depths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (n, 3, S, S) -> what the stages give, (n, c, S/4, S/4) first."""
        x = F.max_pool2d(pad_same(F.relu(self.stem(x)), 3, 2, float("-inf")), 3, 2)
        given = []
        for stage in self.stages:
            x = stage(x)
            given.append(x)
        return given


class PatchEmbedding(nn.Module):
    """Tokens from the backbone's last stage."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.proj = nn.Conv2d(config.widths[-1], config.dim, 1)


class SelfAttention(nn.Module):
    """Multi-head attention of all tokens to all."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, tokens, dim) -> the same shape."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # n heads tokens d
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Four times the width and back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, tokens, dim) -> the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each on a LayerNorm and a residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, tokens, dim) -> the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class HybridTransformer(nn.Module):
    """Backbone and vision transformer; `norm` and `head` are in the file and unused here."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.side**2, config.dim))
        self.patch_embed = PatchEmbedding(config)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """x (n, 3, S, S) -> two maps of the backbone, and the tokens (n, 1 + side^2, dim) of two blocks."""
        maps = self.patch_embed.backbone(x)
        tokens = self.patch_embed.proj(maps[-1]).flatten(2).transpose(1, 2)  # n side^2 dim
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embed
        tapped = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.config.taps:
                tapped.append(tokens)
        return maps[:2], tapped
