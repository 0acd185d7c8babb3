"""The small textures that sprites and noise are made of, computed once per device.

Shapes are signed distances to an outline (negative inside), in radii, over the square [-ATLAS_EXTENT, ATLAS_EXTENT]^2
with y down. All outlines fit into the unit circle, roughly.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.procedural_scene import SHAPES, TEXTURES

ATLAS_EXTENT = 1.35
ATLAS_SIZE = 128
NOISE_CELLS = 40


@functools.lru_cache(maxsize=4)
def shape_atlas(device: torch.device) -> Tensor:
    """Signed distances of all shapes, (len(SHAPES), n, n)."""
    x, y = _atlas_grid()
    distance = {
        "circle": torch.hypot(x, y) - 0.88,
        "ring": (torch.hypot(x, y) - 0.70).abs() - 0.24,
        "moon": torch.maximum(torch.hypot(x + 0.12, y) - 0.95, 0.78 - torch.hypot(x - 0.34, y + 0.10)),
        "square": _polygon_distance(_regular(4, 1.08, math.pi / 4), x, y),
        "triangle": _polygon_distance(_regular(3, 1.12, -math.pi / 2) + torch.tensor([0.0, 0.12]), x, y),
        "diamond": _polygon_distance(torch.tensor([(0.0, -1.1), (0.72, 0.0), (0.0, 1.1), (-0.72, 0.0)]), x, y),
        "hexagon": _polygon_distance(_regular(6, 0.98, 0.0), x, y),
        "star": _polygon_distance(_star(5, 1.14, 0.50), x, y),
        "cross": _polygon_distance(_cross(1.0, 0.36), x, y),
        "heart": _polygon_distance(_heart(), x, y),
        "flower": _polygon_distance(_flower(5, 0.86, 0.19), x, y),
        "drop": _polygon_distance(_drop(), x, y),
    }
    return torch.stack([distance[name] for name in SHAPES]).to(device)


@functools.lru_cache(maxsize=4)
def texture_atlas(device: torch.device) -> Tensor:
    """Additions to the brightness of a sprite, (len(TEXTURES), n, n), on the same square as the shapes."""
    x, y = _atlas_grid()
    stripes = torch.sin(x * (2 * math.pi / 0.75)) * 6
    spots = (torch.cos(x * (2 * math.pi / 0.95)) * torch.cos(y * (2 * math.pi / 0.95)) - 0.3) * 12
    mark = (0.30 - torch.hypot(x - 0.42, y + 0.22)) * 24
    pattern = {"solid": torch.full_like(x, -1.0), "striped": stripes, "spotted": spots, "marked": mark}
    return torch.stack([(0.5 + pattern[name]).clamp(0.0, 1.0) * -0.38 for name in TEXTURES]).to(device)


@functools.lru_cache(maxsize=4)
def noise_atlas(device: torch.device) -> Tensor:
    """Smooth noise in [0, 1], (1, n, n)."""
    generator = torch.Generator().manual_seed(20231)
    coarse = torch.rand(1, 1, NOISE_CELLS, NOISE_CELLS, generator=generator)
    smooth = F.interpolate(coarse, scale_factor=8, mode="bicubic", align_corners=False)[0]
    return smooth.clamp(0.0, 1.0).to(device)


def _atlas_grid() -> tuple[Tensor, Tensor]:
    """x and y, (n, n) each, of the texel centres."""
    line = ((torch.arange(ATLAS_SIZE) + 0.5) / ATLAS_SIZE * 2 - 1) * ATLAS_EXTENT
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y


def _polygon_distance(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance of the points (n, n) to a closed polygon (m, 2), negative inside."""
    distance, inside = torch.full_like(x, math.inf), torch.zeros_like(x, dtype=torch.bool)
    for start, end in zip(corners, corners.roll(-1, dims=0), strict=True):  # (n, n) at a time stays in the cache
        edge, dx, dy = end - start, x - start[0], y - start[1]
        along = ((dx * edge[0] + dy * edge[1]) / edge.square().sum()).clamp_(0.0, 1.0)
        distance = torch.minimum(distance, torch.hypot(dx - along * edge[0], dy - along * edge[1]))
        # Even-odd rule: a ray to the right crosses the outline an odd number of times when it starts inside.
        straddles = (dy < 0) != (y < end[1])
        inside ^= straddles & (x < start[0] + dy * edge[0] / (edge[1] if edge[1] else 1.0))
    return torch.where(inside, -distance, distance)


def _points(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1)


def _regular(sides: int, radius: float, first_angle: float) -> Tensor:
    angle = first_angle + torch.arange(sides) * (2 * math.pi / sides)
    return _points(torch.full((sides,), radius), angle)


def _star(tips: int, outer: float, inner: float) -> Tensor:
    angle = -math.pi / 2 + torch.arange(2 * tips) * (math.pi / tips)
    return _points(torch.tensor([outer, inner]).repeat(tips), angle)


def _cross(arm: float, half_width: float) -> Tensor:
    a, w = arm, half_width
    corners = [
        (-w, -a),
        (w, -a),
        (w, -w),
        (a, -w),
        (a, w),
        (w, w),
        (w, a),
        (-w, a),
        (-w, w),
        (-a, w),
        (-a, -w),
        (-w, -w),
    ]
    return torch.tensor(corners)


def _heart() -> Tensor:
    """The usual sixteen-sine-cubed curve, scaled into the unit circle."""
    s = torch.arange(96) * (2 * math.pi / 96)
    x = 16 * torch.sin(s) ** 3
    y = -(13 * torch.cos(s) - 5 * torch.cos(2 * s) - 2 * torch.cos(3 * s) - torch.cos(4 * s))
    return torch.stack((x, y - 2.0), dim=-1) / 16.5


def _flower(petals: int, mean: float, depth: float) -> Tensor:
    angle = torch.arange(180) * (2 * math.pi / 180)
    return _points(mean + depth * torch.cos(petals * angle), angle)


def _drop() -> Tensor:
    """A tear: a point at the top and a round bottom."""
    s = torch.arange(96) * (2 * math.pi / 96)
    return torch.stack((0.92 * torch.sin(s) * torch.sin(s / 2) ** 1.5, -1.05 * torch.cos(s)), dim=-1)
