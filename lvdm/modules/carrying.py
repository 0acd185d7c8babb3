"""Pixels of frame 0 carried to other frames: affine maps, and two layers of which one moves on its own.

Coordinates are in sides, the shorter side of the frame, from its centre, x right and y down. A map (2, 3) takes a point
of a frame to the place in frame 0 that shows there.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

RIM = 0.024
"""How far beyond its mask, in sides, a thing still shows: edges are soft, and masks miss a little."""
BLUR = 0.06
"""Of what is beyond the frame nothing finer than this, in sides, is made up."""


# ---------------------------------------------------------------------- maps


def affine_maps(generators: Tensor, progress: Tensor) -> Tensor:
    """exp(progress x generator): generators (..., k, 2, 3) and progress (b, k) -> maps of their shape, in float32."""
    square = F.pad(generators.float() * progress.float()[..., None, None], (0, 0, 0, 1))  # b k 3 3
    return torch.linalg.matrix_exp(square)[..., :2, :]


def compose(after: Tensor, before: Tensor) -> Tensor:
    """The map that applies `before`, then `after`, (..., 2, 3) each."""
    turn = after[..., :2] @ before[..., :2]
    shift = after[..., :2] @ before[..., 2:] + after[..., 2:]
    return torch.cat([turn, shift], dim=-1)


def around(maps: Tensor, centre: Tensor) -> Tensor:
    """`maps` (b, k, 2, 3) about the points `centre` (b, 2) instead of the middle of the frame."""
    point = centre[:, None, :, None].to(maps.dtype)  # b 1 2 1
    return torch.cat([maps[..., :2], maps[..., 2:] + point - maps[..., :2] @ point], dim=-1)


def centroid(mask: Tensor) -> Tensor:
    """(b, 2): the centre of mass of masks (b, 1, h, w), no gradient; the middle of the frame where there is no mass."""
    mask = mask.detach().float()
    weights = mask / mask.sum((2, 3), keepdim=True).clamp(min=1e-3)  # b 1 h w
    return (weights * points(mask.shape[2], mask.shape[3], mask.device)).sum((2, 3))


def points(height: int, width: int, device: torch.device) -> Tensor:
    """(2, h, w): x and y of the pixel centres, in sides from the middle."""
    side = min(height, width)
    y = (torch.arange(height, device=device) + 0.5 - height / 2) / side
    x = (torch.arange(width, device=device) + 0.5 - width / 2) / side
    return torch.stack(torch.broadcast_tensors(x, y[:, None]))


def places(maps: Tensor, height: int, width: int) -> Tensor:
    """Where `maps` (b, k, 2, 3) take the pixels of a frame: (b, k, 2, h, w), in sides."""
    turned = torch.einsum("bkij,jhw->bkihw", maps[..., :2], points(height, width, maps.device))
    return turned + maps[..., 2, None, None]


# ---------------------------------------------------------------------- carrying


def carry(image: Tensor, mask: Tensor, camera: Tensor, thing: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (b, c, k, h, w) and visibility (b, 1, k, h, w) from frame 0 (b, c, h, w).

    mask (b, 1, h, w) in [0, 1], camera and thing (b, k, 2, 3). Two layers, the thing over what is behind it. Its edges
    are soft and hold something of both, so that the place that it has left is filled from around it up to `RIM` beyond
    its mask, and its own outermost pixel from its inside. Both are done where the two maps differ by a pixel, so that
    nothing is filled where they agree, however soft the mask. Beyond the frame its border is repeated, soon
    without what is finer than `BLUR`.
    """
    channels, (height, width) = image.shape[1], image.shape[2:]
    side = min(height, width)
    rim = max(1, round(RIM * side))
    wide = F.max_pool2d(mask, 2 * rim + 1, stride=1, padding=rim)
    edge = 1 + F.max_pool2d(-mask, 3, stride=1, padding=1)
    far, near = places(camera, height, width), places(thing, height, width)  # b k 2 h w each
    apart = ((far - near).detach().norm(dim=2) * side).clamp(max=1)[:, None]  # b 1 k h w
    split = [channels, channels, 1]
    behind, fill, left = sample(_layer(image, wide, wide), far).split(split, dim=1)
    carried, own, cover = sample(_layer(image, edge, mask), near).split(split, dim=1)
    within = inside(far, height, width)
    beyond = sample(_smooth(image.float()), far)
    sharp = inside(far, height, width, BLUR)
    behind, fill = torch.lerp(beyond, behind, sharp), torch.lerp(beyond, fill, sharp)
    left, cover = left * within * apart, cover * inside(near, height, width)
    frames = torch.lerp(torch.lerp(behind, fill, left), torch.lerp(carried, own, apart), cover)
    return frames.to(image.dtype), torch.maximum(cover, within - left).to(image.dtype)


def _layer(image: Tensor, hole: Tensor, mask: Tensor) -> Tensor:
    """(b, 2 c + 1, h, w), to be sampled together: an image, the same without its `hole`, and a mask."""
    return torch.cat([image, fill_holes(image, hole), mask], dim=1).float()


def _smooth(image: Tensor) -> Tensor:
    """Images (b, c, h, w) without what is finer than `BLUR`."""
    reach = round(BLUR * min(image.shape[2:]))
    for _ in range(2):
        image = F.avg_pool2d(F.pad(image, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)
    return image


def sample(image: Tensor, where: Tensor) -> Tensor:
    """image (b, c, h, w) at `where` (b, k, 2, h, w), in sides: (b, c, k, h, w); outside, the nearest border."""
    height, width = image.shape[2:]
    size = torch.tensor([width, height], dtype=where.dtype, device=where.device)
    grid = where.movedim(2, -1) * (2 * min(height, width) / size)  # b k h w 2
    out = F.grid_sample(
        image, rearrange(grid, "b k h w xy -> b (k h) w xy"), padding_mode="border", align_corners=False
    )
    return rearrange(out, "b c (k h) w -> b c k h w", h=height)


def inside(where: Tensor, height: int, width: int, reach: float = 0.0) -> Tensor:
    """(b, 1, k, h, w): 1 inside frame 0, falling to 0 within `reach` sides, or a pixel, of its outermost pixels."""
    side = min(height, width)
    half = torch.tensor([width, height], dtype=where.dtype, device=where.device)[:, None, None] / (2 * side)
    reach = max(reach, 1 / side)
    return ((half - 0.5 / side - where.abs()) / reach + 1).clamp(0, 1).amin(dim=2)[:, None]


def fill_holes(image: Tensor, hole: Tensor) -> Tensor:
    """image (b, c, h, w) as smooth as need be where `hole` (b, 1, h, w) in [0, 1]: from what lies around, near first.

    Everywhere is filled: what `image` itself shows there counts by 1 - hole.
    """
    levels = [(image * (1 - hole), 1 - hole)]
    while max(levels[-1][1].shape[2:]) > 1:
        size = [math.ceil(length / 2) for length in levels[-1][1].shape[2:]]
        levels.append(tuple(F.adaptive_avg_pool2d(part, size) for part in levels[-1]))  # type: ignore[arg-type]
    value, weight = levels.pop()
    filled = value / weight.clamp(min=1e-4)
    for value, weight in reversed(levels):
        above = F.interpolate(filled, size=value.shape[2:], mode="bilinear", align_corners=False)
        trust = (2 * weight).clamp(max=1)  # half of a cell is enough to believe it
        filled = above + trust * (value / weight.clamp(min=1e-4) - above)
    return filled
