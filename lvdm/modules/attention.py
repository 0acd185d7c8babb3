"""Attention of the video UNet: spatial, temporal, and cross-attention to text and image tokens.

Module and parameter names are those of the released checkpoints. einops letters: `b` batch, `t` frames, `n` tokens,
`c` channels, `nh` heads, `d` channels of one head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.modules.attention_processors import (
    AttentionKind,
    AttentionMeta,
    FrameOrder,
    RelativePosition,
)
from lvdm.modules.hooks import attention_of, checkpointed, replaceable
from lvdm.modules.layers import GroupNorm32, for_samples, zero_module


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of one cross-attention, split into heads: (batch, nh, tokens, d)."""

    text: tuple[Tensor, Tensor]
    image: tuple[Tensor, Tensor] | None


@dataclass(frozen=True, eq=False)
class Context:
    """Tokens that the spatial cross-attention reads.

    text   (b, n, c), shared by all frames
    image  (b t, l, c) when every frame has its own tokens, (b, m, c) when all frames share them, None without any
    projected  keys and values of each layer, when they were computed beforehand (they do not change between steps)
    elsewhere  layers that read other tokens than these, and the tokens
    conditions  what the tokens were made of, by identity: one for each branch of guidance, one after another in b
    samples  b where the network is given latents for fewer, which are the same in every branch: the first layer that
             reads tokens makes b of them. None: as many as there are latents

    Text may also be (b t, n, c), for frames with prompts of their own.
    """

    text: Tensor
    image: Tensor | None
    projected: Mapping[nn.Module, KeysValues] = field(default_factory=dict)
    elsewhere: Mapping[nn.Module, Context] = field(default_factory=dict)
    conditions: tuple[object, ...] = ()
    samples: int | None = None


class CrossAttention(nn.Module):
    """Multi-head attention; with `image_cross_attention`, a second attention to image tokens shares the queries.

    out = attend(q, text) + s * attend(q, image), with s = tanh(alpha) + 1 if learnable (256 model), else 1
    (DynamiCrafter, arXiv:2310.12190, equation 2).
    """

    def __init__(
        self,
        query_dim: int,
        context_dim: int | None = None,
        heads: int = 8,
        dim_head: int = 64,
        relative_position: bool = False,
        temporal_length: int | None = None,
        image_cross_attention: bool = False,
        image_cross_attention_scale_learnable: bool = False,
        temporal: bool = False,
        attention_window: int | None = None,
    ) -> None:
        super().__init__()
        inner_dim = heads * dim_head
        context_dim = query_dim if context_dim is None else context_dim
        self.heads = heads
        self.temporal = temporal
        self.attention_window = attention_window
        self.to_q = nn.Linear(query_dim, inner_dim, bias=False)
        self.to_k = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner_dim, query_dim), nn.Dropout(0.0))
        self.relative_position = relative_position
        if relative_position:
            if temporal_length is None:
                raise ValueError("relative positions need temporal_length, the number of frames they reach")
            self.relative_position_k = RelativePosition(dim_head, temporal_length)
            self.relative_position_v = RelativePosition(dim_head, temporal_length)
        self.image_cross_attention = image_cross_attention
        self.image_cross_attention_scale_learnable = image_cross_attention_scale_learnable
        if image_cross_attention:
            self.to_k_ip = nn.Linear(context_dim, inner_dim, bias=False)
            self.to_v_ip = nn.Linear(context_dim, inner_dim, bias=False)
            if image_cross_attention_scale_learnable:
                self.alpha = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor, context: Context | None = None, num_frames: int = 1, causal: bool = False) -> Tensor:
        """x (batch, n, c): `b t` or `b h w` folded into the batch. Without `context`, attends to itself."""
        q = self._split_heads(self.to_q(x))
        if context is not None:
            out = self._attend_to_context(q, context, num_frames)
        else:
            k, v = self._split_heads(self.to_k(x)), self._split_heads(self.to_v(x))
            meta = self._meta(num_frames, causal)
            out = attention_of(self, meta.kind)(q, k, v, meta)
        return self.to_out(rearrange(out, "b nh n d -> b n (nh d)"))

    def project(self, context: Context) -> KeysValues:
        """Keys and values of `context` for this layer; image ones only if the layer has an image branch."""
        text = self._split_heads(self.to_k(context.text)), self._split_heads(self.to_v(context.text))
        if context.image is None or not self.image_cross_attention:
            return KeysValues(text, None)
        return KeysValues(
            text, (self._split_heads(self.to_k_ip(context.image)), self._split_heads(self.to_v_ip(context.image)))
        )

    def _meta(self, num_frames: int, causal: bool) -> AttentionMeta:
        kind: AttentionKind = "temporal" if self.temporal else "self"
        keys = self.relative_position_k if self.relative_position else None
        values = self.relative_position_v if self.relative_position else None
        return AttentionMeta(kind, num_frames, FrameOrder(causal, keys, values, self.attention_window))

    def _split_heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (nh d) -> b nh n d", nh=self.heads)

    def _attend_to_context(self, q: Tensor, context: Context, num_frames: int) -> Tensor:
        context = context.elsewhere.get(self, context)
        keys_values = context.projected[self] if self in context.projected else self.project(context)
        if context.samples is not None:
            q = for_samples(q, context.samples * num_frames)
        out = self._attend_shared(q, keys_values.text, AttentionMeta("text", num_frames))
        if keys_values.image is not None:
            image = self._attend_shared(q, keys_values.image, AttentionMeta("image", num_frames))
            out = out + (image * (torch.tanh(self.alpha) + 1) if self.image_cross_attention_scale_learnable else image)
        return out

    def _attend_shared(self, q: Tensor, keys_values: tuple[Tensor, Tensor], meta: AttentionMeta) -> Tensor:
        """Attend from (b t) queries to tokens of (b t), or to those of b without copying them for every frame."""
        k, v = keys_values
        processor = attention_of(self, meta.kind)
        if k.shape[0] == q.shape[0]:
            return processor(q, k, v, meta)
        batch = k.shape[0]
        out = processor(rearrange(q, "(b t) nh n d -> b nh (t n) d", b=batch), k, v, meta)
        return rearrange(out, "b nh (t n) d -> (b t) nh n d", n=q.shape[2])


class GEGLU(nn.Module):
    """Linear to twice the width, one half gated by the exact GELU of the other (arXiv:2002.05202)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out * 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU of four times the width, then back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Dropout(0.0), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """attn1 (self), attn2 (cross; self in temporal transformers), feed-forward, each on a LayerNorm and residual."""

    def __init__(
        self,
        dim: int,
        heads: int,
        dim_head: int,
        context_dim: int | None = None,
        use_checkpoint: bool = False,
        relative_position: bool = False,
        temporal_length: int | None = None,
        image_cross_attention: bool = False,
        image_cross_attention_scale_learnable: bool = False,
        temporal: bool = False,
        attention_window: int | None = None,
    ) -> None:
        super().__init__()
        order: dict[str, Any] = {"relative_position": relative_position, "temporal_length": temporal_length}
        order |= {"temporal": temporal, "attention_window": attention_window}
        self.attn1 = CrossAttention(dim, None, heads, dim_head, **order)
        self.ff = FeedForward(dim)
        self.attn2 = CrossAttention(
            dim,
            context_dim,
            heads,
            dim_head,
            **order,
            image_cross_attention=image_cross_attention,
            image_cross_attention_scale_learnable=image_cross_attention_scale_learnable,
        )
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor, context: Context | None = None, num_frames: int = 1, causal: bool = False) -> Tensor:
        """x (batch, n, c) -> the same shape, or that of all samples of `context`."""
        if self.use_checkpoint and self.training and torch.is_grad_enabled():
            return checkpointed(self._forward, x, context, num_frames, causal)
        return self._forward(x, context, num_frames, causal)

    def _forward(self, x: Tensor, context: Context | None, num_frames: int, causal: bool) -> Tensor:
        x = self.attn1(self.norm1(x), None, num_frames, causal) + x
        out = self.attn2(self.norm2(x), context, num_frames, causal)
        x = out + for_samples(x, len(out))
        return self.ff(self.norm3(x)) + x


class SpatialTransformer(nn.Module):
    """Attention over the pixels of each frame, then to the context."""

    def __init__(
        self,
        in_channels: int,
        heads: int,
        dim_head: int,
        depth: int = 1,
        context_dim: int | None = None,
        use_checkpoint: bool = False,
        use_linear: bool = False,
        image_cross_attention: bool = False,
        image_cross_attention_scale_learnable: bool = False,
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__()
        inner_dim = heads * dim_head
        self.use_linear = use_linear
        self.norm = GroupNorm32(norm_num_groups, in_channels, eps=1e-6)
        self.proj_in = nn.Linear(in_channels, inner_dim) if use_linear else nn.Conv2d(in_channels, inner_dim, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(
                inner_dim,
                heads,
                dim_head,
                context_dim,
                use_checkpoint,
                image_cross_attention=image_cross_attention,
                image_cross_attention_scale_learnable=image_cross_attention_scale_learnable,
            )
            for _ in range(depth)
        )
        self.proj_out = zero_module(
            nn.Linear(inner_dim, in_channels) if use_linear else nn.Conv2d(inner_dim, in_channels, 1)
        )

    def forward(self, x: Tensor, context: Context | None = None, num_frames: int = 1) -> Tensor:
        """x (b t, c, h, w) -> the same shape, or that of all samples of `context`."""
        height = x.shape[2]
        h = self.norm(x)
        if not self.use_linear:
            h = self.proj_in(h)
        h = rearrange(h, "b c h w -> b (h w) c")
        if self.use_linear:
            h = self.proj_in(h)
        for block in self.transformer_blocks:
            h = block(h, context, num_frames)
        if self.use_linear:
            h = self.proj_out(h)
        h = rearrange(h, "b (h w) c -> b c h w", h=height)
        if not self.use_linear:
            h = self.proj_out(h)
        return h + for_samples(x, len(h))


class TemporalTransformer(nn.Module):
    """Attention over the frames of each pixel; both attentions of its blocks are self-attention."""

    def __init__(
        self,
        in_channels: int,
        heads: int,
        dim_head: int,
        depth: int = 1,
        use_checkpoint: bool = False,
        use_linear: bool = False,
        causal_attention: bool = False,
        relative_position: bool = False,
        temporal_length: int | None = None,
        norm_num_groups: int = 32,
        attention_window: int | None = None,
    ) -> None:
        super().__init__()
        inner_dim = heads * dim_head
        self.use_linear = use_linear
        self.causal_attention = causal_attention
        self.norm = GroupNorm32(norm_num_groups, in_channels, eps=1e-6)
        # The original's Conv1d of kernel 1 (init_attn) is the same product with another weight shape.
        self.proj_in = nn.Linear(in_channels, inner_dim) if use_linear else nn.Conv1d(in_channels, inner_dim, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(
                inner_dim,
                heads,
                dim_head,
                use_checkpoint=use_checkpoint,
                relative_position=relative_position,
                temporal_length=temporal_length,
                temporal=True,
                attention_window=attention_window,
            )
            for _ in range(depth)
        )
        self.proj_out = zero_module(
            nn.Linear(inner_dim, in_channels) if use_linear else nn.Conv1d(inner_dim, in_channels, 1)
        )

    @replaceable
    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, t, h, w) -> the same shape."""
        height, width = x.shape[3:]
        h = self.transform(rearrange(self.norm(x), "b c t h w -> (b h w) t c"))
        return rearrange(h, "(b h w) t c -> b c t h w", h=height, w=width) + x

    @replaceable
    def transform(self, h: Tensor) -> Tensor:
        """What is added to the input: normalised activations (pixels, t, c) -> the same shape; pixels do not meet."""
        num_frames = h.shape[1]
        h = self._project(self.proj_in, h)
        for block in self.transformer_blocks:
            h = block(h, None, num_frames, self.causal_attention)
        return self._project(self.proj_out, h)

    def _project(self, layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x) if self.use_linear else layer(x.transpose(1, 2)).transpose(1, 2)
