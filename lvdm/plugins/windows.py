"""Attention in overlapping windows, whose results are blended: each window by itself, or all in one product.

A frame is in several windows: one by one they take its attention as often. Scores between two frames do not depend on
the window that holds both, so that on CPUs they are computed once for all (`attend_in_bands`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from einops import rearrange
from torch import Tensor

from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor, FrameOrder, attend

SMALL = 2**22
"""Bytes of queries in windows below which they are not split: more calls would cost more than the memory is worth."""
BAND = 32
"""Frames whose queries are taken together: fewer read more keys for each, more compute scores that no window has."""
FAINT = 1e-30
"""Sums of exponentials below which a window is too faint beside others for their common scale."""


@dataclass(frozen=True, eq=False)
class Band:
    """Neighbouring frames, and what windows say of them.

    queries    the frames that ask, from the first up to the last but one
    keys       the k frames that share a window with any of them, in order: as a slice where they are neighbours
    members    (w, k) 1 where a window holds a key, else 0
    shares     (q, w) the share of each window in each frame, 0 outside
    distances  (q, k) frames from the query to the key within a window, 0 where none holds both; None if windows differ
    """

    queries: slice
    keys: slice | Tensor
    members: Tensor
    shares: Tensor
    distances: Tensor | None


@dataclass(frozen=True, eq=False)
class Windows:
    """Which frames each window holds, in its order, and its share in each of them: both (w, n)."""

    frames: Tensor
    shares: Tensor

    @cached_property
    @torch.inference_mode(False)  # kept for calls of any mode
    def bands(self) -> list[Band]:
        """All frames, `BAND` at a time."""
        num_frames = int(self.frames.max()) + 1
        return [self._band(range(b, min(b + BAND, num_frames))) for b in range(0, num_frames, BAND)]

    def _band(self, queries: range) -> Band:
        asks = ((self.frames >= queries.start) & (self.frames < queries.stop)).any(dim=1)
        frames, shares = self.frames[asks], self.shares[asks]  # w n
        keys, columns = frames.unique(return_inverse=True)
        members = torch.zeros(len(frames), len(keys)).scatter_(1, columns, 1.0)
        own = torch.zeros(len(frames), len(keys)).scatter_(1, columns, shares)  # w k
        rows = torch.searchsorted(keys, torch.arange(queries.start, queries.stop))
        first, last = int(keys[0]), int(keys[-1])
        neighbours = last - first == len(keys) - 1
        return Band(
            queries=slice(queries.start, queries.stop),
            keys=slice(first, last + 1) if neighbours else keys,
            members=members,
            shares=own[:, rows].T.contiguous(),
            distances=distances(columns, rows),
        )


def distances(columns: Tensor, rows: Tensor) -> Tensor | None:
    """See `Band`; columns (w, n) are the keys of each window by number, rows (q,) those numbers of the queries."""
    count, length = columns.shape
    size = int(columns.max()) + 1
    order = torch.arange(length)
    apart = (order[None, :] - order[:, None]).flatten()  # from a place in a window to another
    pairs = (columns[:, :, None] * size + columns[:, None, :]).flatten()
    found = torch.zeros(size * size, dtype=torch.long)
    found[pairs] = apart.repeat(count)
    if not torch.equal(found[pairs], apart.repeat(count)):
        return None
    return found.view(size, size)[rows]


def attend_windowed(
    inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta, windows: Windows
) -> Tensor:
    """`inner` within each window, blended; q, k, v (b, nh, t, d) -> (b, nh, t, d)."""
    if inner is attend and q.device.type == "cpu" and not meta.order.masks:
        out = attend_in_bands(q, k, v, meta.order, windows)
        if out is not None:
            return out
    return attend_in_windows(inner, q, k, v, meta, windows.frames, windows.shares)


def attend_in_bands(q: Tensor, k: Tensor, v: Tensor, order: FrameOrder, windows: Windows) -> Tensor | None:
    """What `attend` gives within windows, up to rounding; None where scores of two frames depend on the window.

    Of exponentials e and windows w, with their sums Z_w over the keys of w, frame q gets

        sum_w share_w(q) / Z_w(q) sum_(k in w) e(q, k) v_k  =  sum_k (sum_(w with k) share_w(q) / Z_w(q)) e(q, k) v_k.

    None as well where the exponentials of a window vanish beside those of another.
    """
    if order.keys is not None and any(band.distances is None for band in windows.bands):
        return None
    out = torch.empty_like(q)
    scaled = q * q.shape[-1] ** -0.5
    for band in windows.bands:
        own, keys, values = scaled[:, :, band.queries], k[:, :, band.keys], v[:, :, band.keys]
        scores = own @ keys.transpose(-1, -2)  # b nh q k
        if order.keys is not None and band.distances is not None:
            scores = scores + torch.einsum("b n t d, t s d -> b n t s", own, order.keys.at(band.distances))
        scores = scores.float()
        exponentials = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        sums = exponentials @ band.members.T  # b nh q w
        if bool((sums < FAINT).any()):
            return None
        weights = (exponentials * ((band.shares / sums) @ band.members)).to(v.dtype)
        blended = weights @ values
        if order.values is not None and band.distances is not None:
            blended = blended + torch.einsum("b n t s, t s d -> b n t d", weights, order.values.at(band.distances))
        out[:, :, band.queries] = blended
    return out


def attend_in_windows(
    inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta, frames: Tensor, weights: Tensor
) -> Tensor:
    """`inner` within each of the windows; q, k, v (b, nh, t, d) -> (b, nh, t, d).

    frames, weights  (w, n) the frames of each window, and its share in each of them; pixels, in attention between these
    """
    count, length = frames.shape
    places, shares = frames.to(q.device), weights.to(q.device).flatten()[:, None]  # (w n) 1
    own = replace(meta, num_frames=length) if meta.kind == "temporal" else meta
    copies = -(-frames.numel() // q.shape[2])  # of each frame: as many parts make each as large as q is
    bytes_in_windows = q[:, :, 0].numel() * frames.numel() * q.element_size()
    parts = []
    for part in zip(*(x.chunk(min(copies, -(-bytes_in_windows // SMALL))) for x in (q, k, v)), strict=True):
        q_w, k_w, v_w = (rearrange(x[:, :, places], "b nh w n d -> (b w) nh n d") for x in part)
        out = rearrange(inner(q_w, k_w, v_w, own), "(b w) nh n d -> b nh (w n) d", w=count)
        blended = torch.zeros(part[0].shape, dtype=torch.float32, device=q.device)
        parts.append(blended.index_add_(2, places.flatten(), out.float() * shares).to(out.dtype))
    return torch.cat(parts)


def window_starts(num_frames: int, window: int, stride: int) -> list[int]:
    """First frames of the windows. The last one ends at the last frame, even where that breaks the stride.

    The original leaves frames after the last regular window without temporal attention.
    """
    last = max(num_frames - window, 0)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def sliding_windows(num_frames: int, window: int, stride: int) -> Windows:
    """Windows from the first frame to the last; the shares of a frame sum to 1 and fall to either end of a window."""
    starts = torch.tensor(window_starts(num_frames, window, stride))
    return blend(starts[:, None] + torch.arange(window), num_frames)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def cyclic_windows(num_frames: int, window: int, stride: int) -> Windows:
    """Windows that begin every `stride` frames of a ring and go round."""
    return blend((torch.arange(0, num_frames, stride)[:, None] + torch.arange(window)) % num_frames, num_frames)


def blend(frames: Tensor, num_frames: int) -> Windows:
    """Windows of `frames` (w, n) with triangular shares that sum to 1 for every frame."""
    weights = triangle(frames.shape[1]).expand(len(frames), -1)
    total = torch.zeros(num_frames).index_add_(0, frames.flatten(), weights.flatten())
    return Windows(frames, weights / total[frames])


def triangle(length: int) -> Tensor:
    """Weights that rise to the middle and fall: 1 2 3 2 1, or 1 2 2 1; (length,) float32."""
    places = torch.arange(length)
    return torch.minimum(places + 1, length - places).float()
