"""The query transformer: from CLIP image tokens to image context tokens; and the smaller layer it came after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.declaration.ranges import Channels, Depth, Frames, Multiplier, Tokens, with_ranges


@with_ranges
@dataclass(frozen=True)
class ResamplerConfig:
    """Keys of `image_proj_stage_config.params`.

    `num_queries` tokens are produced for each of `video_length` frames; without `video_length`, for the image as a
    whole.
    """

    dim: Channels = 1024
    depth: Depth = 8
    dim_head: Channels = 64
    heads: Channels = 16
    num_queries: Tokens = 8
    embedding_dim: Channels = 768
    output_dim: Channels = 1024
    ff_mult: Multiplier = 4
    video_length: Frames | None = None


class PerceiverAttention(nn.Module):
    """Latents attend to the image tokens and to themselves (Flamingo, arXiv:2204.14198, section 3.1.1)."""

    def __init__(self, dim: int, dim_head: int, heads: int) -> None:
        super().__init__()
        inner_dim = dim_head * heads
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner_dim, bias=False)
        self.to_kv = nn.Linear(dim, inner_dim * 2, bias=False)
        self.to_out = nn.Linear(inner_dim, dim, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """x (b, n, c) image tokens, latents (b, m, c) -> (b, m, c)."""
        x, latents = self.norm1(x), self.norm2(latents)
        q = self.to_q(latents)
        k, v = self.to_kv(torch.cat([x, latents], dim=1)).chunk(2, dim=-1)
        q, k, v = (rearrange(tensor, "b n (nh d) -> b nh n d", nh=self.heads) for tensor in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(rearrange(out, "b nh n d -> b n (nh d)"))


def feed_forward(dim: int, mult: int) -> nn.Sequential:
    """LayerNorm, then two linear layers without bias around an exact GELU."""
    inner_dim = dim * mult
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, inner_dim, bias=False), nn.GELU(), nn.Linear(inner_dim, dim, bias=False)
    )


class Resampler(nn.Module):
    """(b, n, embedding_dim) CLIP tokens -> (b, num_queries * video_length, output_dim), frame-major."""

    Config = ResamplerConfig

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        self.config = config
        num_tokens = config.num_queries * (config.video_length or 1)
        self.latents = nn.Parameter(torch.randn(1, num_tokens, config.dim) / config.dim**0.5)
        self.proj_in = nn.Linear(config.embedding_dim, config.dim)
        self.proj_out = nn.Linear(config.dim, config.output_dim)
        self.norm_out = nn.LayerNorm(config.output_dim)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PerceiverAttention(config.dim, config.dim_head, config.heads),
                    feed_forward(config.dim, config.ff_mult),
                ]
            )
            for _ in range(config.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (b, n, embedding_dim): all tokens of the CLIP image encoder."""
        latents = self.latents.expand(x.shape[0], -1, -1).to(x.dtype)
        x = self.proj_in(x)
        for attention, ff in cast("Iterable[tuple[nn.Module, nn.Module]]", self.layers):
            latents = attention(x, latents) + latents
            latents = ff(latents) + latents
        return self.norm_out(self.proj_out(latents))


@with_ranges
@dataclass(frozen=True)
class ImageProjConfig:
    """Sizes of an `ImageProjModel`; the defaults are those of VideoCrafter."""

    embedding_dim: Channels = 1024
    output_dim: Channels = 1024
    num_tokens: Tokens = 4


class ImageProjModel(nn.Module):
    """One pooled image feature made into a few tokens (IP-Adapter, arXiv:2308.06721, section 3.2.1).

    VideoCrafter has it beside the query transformer; no released checkpoint uses it.
    """

    Config = ImageProjConfig

    def __init__(self, config: ImageProjConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.embedding_dim, config.num_tokens * config.output_dim)
        self.norm = nn.LayerNorm(config.output_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, embedding_dim) -> (b, num_tokens, output_dim)."""
        return self.norm(rearrange(self.proj(x), "b (n d) -> b n d", n=self.config.num_tokens))
