"""Dense optical flow: how far every pixel of a frame goes until the next one.

`ClassicalFlow` needs no weights and is the default; `lvdm.evaluation.raft` has the learned one.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.quality.warping import look_up

COARSEST = 16
"""Pixels that the shorter side of the smallest level of the pyramid has, or up to twice as many."""

_PIXELS_AT_ONCE = 2**18
_WARPS, _FINEST_WARPS = 5, 2
_SWEEPS = 4
_SMOOTHNESS = 0.016
"""Weight of the pull to the neighbours' flow, against squared grey differences of frames in [-1, 1]."""
_NOISE = 2.0 / 255
"""Differences of one grey level are taken for noise."""


class Flow(Protocol):
    """Optical flow of pairs of frames. One pair's flow depends on that pair alone, not on its batch.

    id              names the flow in every metric made of it, such as flow-v1; changes when the numbers change
    weights_sha256  hash of the weight file; None without one
    """

    id: str
    weights_sha256: str | None

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """(n, 3, H, W) and (n, 3, H, W) in [-1, 1] -> (n, 2, H, W) float32 as (x, y) in pixels.

        What is at p in `first` is at p + flow(p) in `second`.
        """


class ClassicalFlow:
    """Flow of frames without a network: local and global evidence, coarse to fine (Bruhn et al. 2005).

    On each level of a pyramid the second frame is warped by the flow so far. Every pixel then takes the step that a
    window of 5x5 pixels around it asks for (Lucas and Kanade 1981), pulled to the mean flow of its neighbourhood
    (Horn and Schunck 1981): strong texture decides for itself, flat places follow their surroundings. Last, a pixel
    rests where resting explains its window as well, up to one grey level; so flat areas rest, and stills are exactly 0.

    Displacements of up to about an eighth of the shorter side are found.
    """

    id = "flow-v1"
    weights_sha256: str | None = None

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Flow`. Raises `ValueError` for frames that are not pairs of (n, 3, H, W)."""
        if first.ndim != 4 or first.shape[1] != 3 or first.shape != second.shape:
            raise ValueError(
                f"flow needs two equal batches of frames (n, 3, H, W), not {tuple(first.shape)}, {tuple(second.shape)}"
            )
        if first.numel() == 0:
            return first.new_zeros(len(first), 2, *first.shape[-2:])
        pairs = max(1, _PIXELS_AT_ONCE // (first.shape[-2] * first.shape[-1]))
        parts = zip(first.float().split(pairs), second.float().split(pairs), strict=True)
        return torch.cat([_flow_of_pairs(a, b) for a, b in parts])


def following_pairs(frames: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
    """Frames (t, ...) as first and second of the pairs (0, step), (step, 2 step), ..."""
    chosen = frames[::step]
    return chosen[:-1], chosen[1:]


def _flow_of_pairs(first: Tensor, second: Tensor) -> Tensor:
    levels = list(zip(_pyramid(first), _pyramid(second), strict=True))
    coarsest = levels[-1][0]
    flow = coarsest.new_zeros(len(coarsest), 2, *coarsest.shape[-2:])
    for level, (a, b) in reversed(list(enumerate(levels))):
        height, width = a.shape[-2:]
        if flow.shape[-2:] != a.shape[-2:]:
            doubled = F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
            flow = 2 * doubled[..., :height, :width]
        flow = _refined(_blurred(a), _blurred(b), flow, _WARPS if level else _FINEST_WARPS)
    return flow * _moved(first, second, flow)


def _refined(first: Tensor, second: Tensor, flow: Tensor, warps: int) -> Tensor:
    """The flow (n, 2, h, w) of one level, from that of the coarser one at the same size."""
    gradient_x, gradient_y = _gradients(first)  # n 3 h w
    products = ((gradient_x, gradient_x), (gradient_x, gradient_y), (gradient_y, gradient_y))
    structure = _box_mean(torch.stack([_over_colours(a * b) for a, b in products], dim=1))  # n 3 h w
    for _ in range(warps):
        warped, inside = look_up(second, flow)
        error = (warped - first) * inside
        slope = torch.stack([_over_colours(gradient_x * error), _over_colours(gradient_y * error)], dim=1)
        # Places whose window has left the frame have no evidence: they follow their neighbours.
        evidence = structure * _box_mean(inside)
        flow = _solved(evidence, _box_mean(slope), flow)
    return flow


def _solved(evidence: Tensor, slope: Tensor, flow: Tensor) -> Tensor:
    """The flow that both the windows' evidence (n, 3, h, w: xx, xy, yy) and the neighbours' mean agree to, by Jacobi.

    Minimises d' E d + 2 slope' d over steps d from `flow`, plus the smoothness times the squared distance to the mean.
    """
    xx, xy, yy = evidence.unbind(1)  # n h w
    x, y = flow.unbind(1)
    wanted_x = xx * x + xy * y - slope[:, 0]
    wanted_y = xy * x + yy * y - slope[:, 1]
    xx, yy = xx + _SMOOTHNESS, yy + _SMOOTHNESS
    scale = 1 / (xx * yy - xy * xy)
    xx, xy, yy = yy * scale, xy * scale, xx * scale  # the inverse, but for the sign of xy
    for _ in range(_SWEEPS):
        pull = _SMOOTHNESS * _box_mean(flow)
        x, y = wanted_x + pull[:, 0], wanted_y + pull[:, 1]
        flow = torch.stack([xx * x - xy * y, yy * y - xy * x], dim=1)
    return flow


def _moved(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """(n, 1, H, W): 1 where the flow explains a window better than rest does, by more than noise; else 0."""
    warped, inside = look_up(second, flow)
    gain = (second - first).square() - (warped - first).square() * inside
    return (_box_mean(_over_colours(gain)[:, None] / 3) > _NOISE**2).to(flow)


def _pyramid(frames: Tensor) -> list[Tensor]:
    """(n, 3, H, W), then means of 2x2 pixels of the level before; a lone last row or column is doubled first."""
    levels = [frames]
    while min(levels[-1].shape[-2:]) >= 2 * COARSEST:
        height, width = levels[-1].shape[-2:]
        even = F.pad(levels[-1], (0, width % 2, 0, height % 2), mode="replicate")
        rows = even[..., 0::2, :] + even[..., 1::2, :]
        levels.append((rows[..., 0::2] + rows[..., 1::2]) / 4)
    return levels


def _gradients(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, each of the shape of `frames`."""
    padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
    x = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    y = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return x / 2, y / 2


def _blurred(frames: Tensor) -> Tensor:
    """Binomial weights 1 2 1 along both axes."""
    padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return (rows[..., :-2, :] + 2 * rows[..., 1:-1, :] + rows[..., 2:, :]) / 16


def _over_colours(planes: Tensor) -> Tensor:
    """(n, 3, H, W) -> (n, H, W): the sum, several times as fast as a reduction along that axis."""
    red, green, blue = planes.unbind(1)
    return red + green + blue


def _box_mean(planes: Tensor) -> Tensor:
    """Mean over 5x5 pixels, the border repeated; sums of slices, ten times as fast as pooling on CPUs."""
    rows = _sum_of_five(F.pad(planes, (2, 2, 0, 0), mode="replicate"), -1)
    return _sum_of_five(F.pad(rows, (0, 0, 2, 2), mode="replicate"), -2).mul_(1 / 25)


def _sum_of_five(planes: Tensor, dim: int) -> Tensor:
    """Sums of five neighbours along a dimension, which gets shorter by 4: three additions for five terms."""
    size = planes.shape[dim]
    two = planes.narrow(dim, 0, size - 1) + planes.narrow(dim, 1, size - 1)
    total = two.narrow(dim, 0, size - 4) + two.narrow(dim, 2, size - 4)
    return total.add_(planes.narrow(dim, 4, size - 4))
