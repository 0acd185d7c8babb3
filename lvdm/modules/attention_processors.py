"""How attention is computed from queries, keys and values, and what may stand in for it.

einops letters: `b` batch, `nh` heads, `t` and `s` frames, `d` channels of one head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.device import trains_attention_in_float32

MAX_ATTENTION_BATCH = 65535
"""Fused kernels index the batch with 16 bits; larger batches (temporal attention at huge sizes) run in slices."""

AttentionKind = Literal["self", "text", "image", "temporal"]
"""self: over the pixels of a frame. text, image: from pixels to tokens. temporal: over the frames of a pixel."""


class RelativePosition(nn.Module):
    """Learned embedding of the clipped distance between frames (Shaw et al. 2018, arXiv:1803.02155)."""

    def __init__(self, num_units: int, max_relative_position: int) -> None:
        super().__init__()
        self.max_relative_position = max_relative_position
        self.embeddings_table = nn.Parameter(torch.empty(2 * max_relative_position + 1, num_units))
        nn.init.xavier_uniform_(self.embeddings_table)

    def forward(self, length: int) -> Tensor:
        """Embeddings of key position minus query position, (length, length, num_units)."""
        position = torch.arange(length, device=self.embeddings_table.device)
        return self.at(position[None, :] - position[:, None])

    def at(self, distance: Tensor) -> Tensor:
        """Embeddings of any distances, (...) -> (..., num_units)."""
        farthest = self.max_relative_position
        return F.embedding(distance.clamp(-farthest, farthest) + farthest, self.embeddings_table)


@dataclass(frozen=True, eq=False)
class FrameOrder:
    """What temporal attention knows of the order of frames, besides the tokens.

    causal        no frame attends to later ones
    keys, values  embeddings of the distance between frames; None without relative positions
    window        frames attend to those less than this many away, themselves included; None for all
    """

    causal: bool = False
    keys: RelativePosition | None = None
    values: RelativePosition | None = None
    window: int | None = None

    @property
    def masks(self) -> bool:
        """Whether there are frames that a frame does not attend to."""
        return self.causal or self.window is not None

    def unseen(self, length: int, device: torch.device) -> Tensor:
        """True where query frame t does not attend to key frame s: (t, s) for clips of `length` frames."""
        position = torch.arange(length, device=device)
        ahead = position[None, :] - position[:, None]  # of the query
        hidden = ahead > 0 if self.causal else torch.zeros_like(ahead, dtype=torch.bool)
        return hidden if self.window is None else hidden | (ahead.abs() >= self.window)


UNORDERED = FrameOrder()


@dataclass(frozen=True)
class AttentionMeta:
    """What an attention processor may want to know: which attention calls it, and how many frames are folded in.

    `order` says for temporal attention what must be added to the plain products; see `attend`.
    """

    kind: AttentionKind
    num_frames: int
    order: FrameOrder = UNORDERED


AttentionProcessor = Callable[[Tensor, Tensor, Tensor, AttentionMeta], Tensor]
"""`(q, k, v, meta) -> out`, each (batch, heads, tokens, d). What stands in for `attend`: `lvdm.modules.hooks`."""


def attend(q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
    """The attention that the networks were trained with; all (batch, heads, tokens, d)."""
    if meta.order.masks or meta.order.keys is not None:
        return attend_in_order(q, k, v, meta.order)
    return scaled_dot_product(q, k, v)


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v with torch's fused kernels; all (batch, heads, tokens, d)."""
    if q.dtype.itemsize == 2 and q.requires_grad and trains_attention_in_float32(q.device):
        with torch.autocast(q.device.type, enabled=False):
            return scaled_dot_product(q.float(), k.float(), v.float()).to(q.dtype)
    if q.shape[0] <= MAX_ATTENTION_BATCH:
        return F.scaled_dot_product_attention(q, k, v)
    parts = zip(*(tensor.split(MAX_ATTENTION_BATCH) for tensor in (q, k, v)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*part) for part in parts])


def attend_in_order(q: Tensor, k: Tensor, v: Tensor, order: FrameOrder) -> Tensor:
    """Explicit softmax, for relative positions and the masks of temporal attention; all (b, nh, t, d)."""
    length = q.shape[2]
    q = q * q.shape[-1] ** -0.5  # before the products, which could overflow in half precision
    scores = q @ k.transpose(-1, -2)  # b nh t s
    if order.keys is not None:
        scores = scores + torch.einsum("b n t d, t s d -> b n t s", q, order.keys(length))
    if order.masks:
        scores = scores.masked_fill(order.unseen(length, q.device), torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    out = weights @ v
    if order.values is not None:
        out = out + torch.einsum("b n t s, t s d -> b n t d", weights, order.values(length))
    return out
