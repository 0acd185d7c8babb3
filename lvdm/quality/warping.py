"""Frames looked up along a flow, and where a flow can be trusted."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_CYCLE_SHARE, _CYCLE_PIXELS = 0.01, 0.5
_EDGE_SHARE, _EDGE_PIXELS = 0.01, 0.002


def look_up(frames: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """`frames` (n, c, H, W) at every pixel's place plus `flow` (n, 2, H, W) as (x, y) in pixels, and where that lies.

    Bilinear between pixels; outside the frame the nearest pixel. The second is (n, 1, H, W): 1 inside, 0 outside.
    """
    height, width = frames.shape[-2:]
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device)
    x = (columns + flow[:, 0] + 0.5) * (2 / width) - 1  # n H W, the frame's edges at -1 and 1
    y = (rows + flow[:, 1] + 0.5) * (2 / height) - 1
    inside = (x.abs() <= 1) & (y.abs() <= 1)
    found = F.grid_sample(frames, torch.stack([x, y], dim=-1), padding_mode="border", align_corners=False)
    return found, inside[:, None].to(frames)


def lengths(flow: Tensor) -> Tensor:
    """(n, 2, H, W) -> (n, H, W): how far each pixel goes; many times as fast as a norm along that axis."""
    x, y = flow.unbind(1)
    return (x * x + y * y).sqrt()


def visible(forward: Tensor, backward: Tensor) -> Tensor:
    """(n, 1, H, W): 1 where a pixel of the first frame is seen in the second, 0 where it is hidden or has left.

    forward, backward: flows (n, 2, H, W) from the first frame to the second and back. A pixel counts as hidden where
    the way forward and backward ends elsewhere, |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5, and at the edges of the flow,
    |grad f|^2 > 0.01 |f|^2 + 0.002 (Sundaram et al. 2010; Lai et al. 2018 mask so).
    """
    returned, inside = look_up(backward, forward)
    length = _squared(forward)
    cycle = _squared(forward + returned) <= _CYCLE_SHARE * (length + _squared(returned)) + _CYCLE_PIXELS
    steepness = _squared(_differences(forward, -1)) + _squared(_differences(forward, -2))
    even = steepness <= _EDGE_SHARE * length + _EDGE_PIXELS
    return inside * cycle * even


def _squared(vectors: Tensor) -> Tensor:
    """(n, c, H, W) -> (n, 1, H, W): squared length."""
    return vectors.square().sum(dim=1, keepdim=True)


def _differences(field: Tensor, dim: int) -> Tensor:
    """Central differences along the rows (-1) or the columns (-2), one-sided halves at the border; same shape."""
    padded = F.pad(field, (1, 1, 0, 0) if dim == -1 else (0, 0, 1, 1), mode="replicate")
    size = field.shape[dim]
    return (padded.narrow(dim, 2, size) - padded.narrow(dim, 0, size)) / 2
