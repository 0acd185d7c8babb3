"""Images of many colours that backgrounds are cut from: what a photograph looks like to a small model, roughly.

A "collage" is a dead-leaves image: overlapping leaves whose radii r are distributed as r^-3, which gives the edges and
the scale invariance of natural images (Lee, Mumford & Huang 2001, "Occlusion Models for Natural Images"). A "cloudy"
image is noise of amplitude 1/f^a in correlated colours. All are made once per process and device, from fixed seeds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.picture_files import read_photographs
from lvdm.data.procedural_scene import IMAGES, NUM_IMAGES, PHOTOGRAPH, Scene

IMAGE_SIZE = 256
NUM_LEVELS = 3
"""Copies of an image for views of up to 1, 2 and 4 texels per pixel, so that a distant view does not flicker."""
OVERSAMPLING = 2
NUM_LEAVES = 1000
MIN_LEAF, MAX_LEAF = 4.5, 70.0
"""Radii of leaves, in texels."""
PHOTOGRAPH_LEVELS = 4
PHOTOGRAPH_CELL = 1.5
"""How much more of a photograph a frame shows than of another image: 0.3 to 0.54 of its side."""
TILT = 0.1
"""Photographs are turned by at most this many radians."""


def look_up_images(kind: str, scenes: Sequence[Scene], x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    """Colours (n, 3, f, H, W) in [0, 1] of the scenes' images at world coordinates x (n, f, 1, W), y (n, f, H, 1).

    `pixel` (n, f, 1, 1) is the size of a pixel in the same unit, the side of frame 0.
    """
    u, v = _places(kind, scenes, x, y)
    rows = [(s.background_cell, s.background_contrast, s.background_saturation) for s in scenes]
    cell, contrast, saturation = (column[:, None, None, None] for column in torch.tensor(rows, device=x.device).T)
    if kind == PHOTOGRAPH:  # more of it, and nearly in its own colours
        cell = cell * PHOTOGRAPH_CELL
        contrast, saturation = 1 + (contrast - 0.85) * 0.4, 1 + (saturation - 0.7) * 0.6
    images = image_atlas(kind, x.device)[[scene.background_image for scene in scenes]]  # (n, 3, levels, s, s)
    levels, size = images.shape[2:4]
    level = torch.log2((pixel * cell * size).clamp(1.0, 2.0 ** (levels - 1)))  # (n, f, 1, 1)
    depth = ((level + 0.5) * (2 / levels) - 1).expand(u.shape)
    colors = F.grid_sample(
        images.float().div_(255.0),
        torch.stack((u, v, depth), dim=-1),  # (n, f, H, W, 3)
        padding_mode="reflection",
        align_corners=False,
    )  # (n, 3, f, H, W)
    base = torch.tensor([scene.background_colors[0] for scene in scenes], device=x.device)[:, :, None, None, None]
    grey = colors.mean(1, keepdim=True)
    saturated = torch.lerp(grey, colors, saturation[:, None])
    tint = 0.1 if kind == PHOTOGRAPH else 0.6
    return (saturated - 0.5).mul_(contrast[:, None]).add_(0.5 + tint * (base - 0.5)).clamp_(0.0, 1.0)


def look_up_leaf_depth(scenes: Sequence[Scene], x: Tensor, y: Tensor) -> Tensor:
    """Depth (n, f, H, W) in [0, 1], near is large, of the scenes' collages; coordinates as in `look_up_images`."""
    u, v = _places("collage", scenes, x, y)
    depth = leaf_depth(x.device)[[scene.background_image for scene in scenes], None]  # (n, 1, s, s)
    grid = rearrange(torch.stack((u, v), dim=-1), "n f h w two -> n (f h) w two")
    looked_up = F.grid_sample(depth, grid, padding_mode="reflection", align_corners=False)
    return rearrange(looked_up, "n 1 (f h) w -> n f h w", f=x.shape[1])


def _places(kind: str, scenes: Sequence[Scene], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where world coordinates lie in the scenes' images, whose middle is 0 and whose edges are at -1 and 1."""
    rows = [(s.background_angle, s.background_cell, *s.background_phase) for s in scenes]
    angle, cell, phase_x, phase_y = (column[:, None, None, None] for column in torch.tensor(rows, device=x.device).T)
    if kind == PHOTOGRAPH:  # nearly upright
        angle, cell = (angle - math.pi) * (TILT / math.pi), cell * PHOTOGRAPH_CELL
    cos, sin = 2 * cell * torch.cos(angle), 2 * cell * torch.sin(angle)  # an image spans 2 units of the grid
    # The view is centred in the middle half; reflection makes the rest endless.
    return x * cos + y * sin + (phase_x - 0.5), y * cos - x * sin + (phase_y - 0.5)


@functools.lru_cache(maxsize=8)
def image_atlas(kind: str, device: torch.device) -> Tensor:
    """All images of a kind, (NUM_IMAGES, 3, NUM_LEVELS, n, n) uint8, each level blurred twice as far."""
    if kind == PHOTOGRAPH:
        return coarser_levels(read_photographs(), PHOTOGRAPH_LEVELS, mode="reflect").to(device)
    if kind not in IMAGES:
        raise ValueError(f"there are no images of kind {kind!r}; choose one of {', '.join((*IMAGES, PHOTOGRAPH))}")
    sharp = _collages() if kind == "collage" else _clouds(_generator(kind))
    return coarser_levels(sharp, NUM_LEVELS, mode="circular").to(device)


@functools.lru_cache(maxsize=4)
def leaf_depth(device: torch.device) -> Tensor:
    """Depth of all collages, (NUM_IMAGES, n, n) in [0, 1]: the share of the pixels whose leaf was laid before."""
    leaf = _leaves().top.long()
    number = torch.arange(NUM_IMAGES)[:, None] * NUM_LEAVES
    counts = torch.bincount((leaf.flatten(1) + number).flatten(), minlength=NUM_IMAGES * NUM_LEAVES)
    below = counts.view(NUM_IMAGES, NUM_LEAVES).cumsum(1) / leaf[0].numel()
    depth = below.gather(1, leaf.flatten(1)).view(leaf.shape)
    return F.avg_pool2d(depth[:, None], OVERSAMPLING)[:, 0].to(device)


def _generator(kind: str) -> torch.Generator:
    return torch.Generator().manual_seed(20_240 + IMAGES.index(kind))


def coarser_levels(sharp: Tensor, count: int, mode: str) -> Tensor:
    """Images (n, c, s, s) in [0, 1] as (n, c, count, s, s) uint8, each level blurred twice as far as the last."""
    levels = [sharp]
    for level in range(1, count):
        coarse = F.avg_pool2d(F.pad(sharp, (2**level,) * 4, mode=mode), 2**level)
        fine = F.interpolate(coarse, scale_factor=2**level, mode="bilinear", align_corners=False)
        levels.append(fine[..., 2**level : -(2**level), 2**level : -(2**level)])
    return (torch.stack(levels, dim=2) * 255).round().to(torch.uint8)


@dataclass(frozen=True)
class _Leaves:
    """Centres of the leaves (p, NUM_LEAVES, 2) in pixels, the topmost leaf of every pixel (p, n, n), and `state` of the

    generator after them.
    """

    centres: Tensor
    top: Tensor
    state: Tensor


@functools.lru_cache(maxsize=1)
def _leaves() -> _Leaves:
    generator = _generator("collage")
    centres, top = _leaf_map(IMAGE_SIZE * OVERSAMPLING, generator)
    return _Leaves(centres, top.short(), generator.get_state())


def _collages() -> Tensor:
    """(NUM_IMAGES, 3, n, n) in [0, 1]: leaves with a colour, a slope of brightness and some cloud of their own."""
    size = IMAGE_SIZE * OVERSAMPLING
    centres, leaf = _leaves().centres, _leaves().top.long()
    generator = torch.Generator()
    generator.set_state(_leaves().state)
    shape = (NUM_IMAGES, NUM_LEAVES)
    mean, spread = (
        torch.rand(NUM_IMAGES, 1, 3, generator=generator),
        torch.rand(NUM_IMAGES, 1, 1, generator=generator),
    )
    colors = torch.lerp(mean, torch.rand(*shape, 3, generator=generator), 0.5 + 0.5 * spread)
    slope = torch.randn(*shape, 2, generator=generator) * (0.35 / size * 4)
    roughness = torch.rand(shape, generator=generator).square() * 0.35

    number = torch.arange(NUM_IMAGES)[:, None, None]
    line = torch.arange(size)
    cx, cy = (centres[number, leaf, axis] for axis in (0, 1))  # (p, size, size)
    dx, dy = (_wrapped(pixel - centre, size) for pixel, centre in ((line, cx), (line[:, None], cy)))
    light = dx * slope[number, leaf, 0] + dy * slope[number, leaf, 1]
    cloud = _clouds(generator).mean(1) - 0.5
    light += F.interpolate(cloud[:, None], scale_factor=OVERSAMPLING)[:, 0] * roughness[number, leaf]
    image = rearrange(colors[number, leaf], "p h w c -> p c h w") + light[:, None].clamp(-0.3, 0.3)
    return F.avg_pool2d(image.clamp(0.0, 1.0), OVERSAMPLING)


def _leaf_map(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centres of the leaves (p, NUM_LEAVES, 2) in pixels, and the topmost leaf of every pixel (p, size, size)."""
    shape = (NUM_IMAGES, NUM_LEAVES)
    centres = torch.randint(size, (*shape, 2), generator=generator)
    # The inverse of the cumulative distribution of r^-3 between the two radii; one radius for a leaf of all images.
    inverse_square = torch.rand(NUM_LEAVES, generator=generator).mul_(MIN_LEAF**-2 - MAX_LEAF**-2).add_(MAX_LEAF**-2)
    radii = inverse_square.rsqrt() * OVERSAMPLING
    angles = torch.rand(shape, generator=generator) * math.pi
    aspects = torch.exp(torch.rand(shape, generator=generator) * 2 - 1)
    norms = torch.randint(3, shape, generator=generator)  # ellipse, rectangle, diamond
    top = torch.zeros(NUM_IMAGES, size * size, dtype=torch.int64)
    for leaf, radius in enumerate(radii.tolist()):
        reach = min(math.ceil(radius * 1.8), size // 2)
        line = torch.arange(-reach, reach)
        x, y = line.float(), line.float()[:, None]
        cos, sin = (function(angles[:, leaf])[:, None, None] for function in (torch.cos, torch.sin))
        stretch = aspects[:, leaf].sqrt()[:, None, None]
        u, v = (x * cos + y * sin).abs() * stretch, (y * cos - x * sin).abs() / stretch  # (p, 2 reach, 2 reach)
        norm = norms[:, leaf][:, None, None]
        distance = torch.where(norm == 0, torch.hypot(u, v), torch.where(norm == 1, torch.maximum(u, v), u + v))
        columns = (centres[:, leaf, :1] + line) % size
        rows = (centres[:, leaf, 1:] + line) % size
        index = (rows[:, :, None] * size + columns[:, None, :]).flatten(1)
        covered = torch.where((distance < radius).flatten(1), leaf, top.gather(1, index))
        top.scatter_(1, index, covered)
    return centres, top.view(NUM_IMAGES, size, size)


def _wrapped(distance: Tensor, size: int) -> Tensor:
    """The shortest way around: images repeat."""
    return (distance + size // 2) % size - size // 2


def _clouds(generator: torch.Generator) -> Tensor:
    """(NUM_IMAGES, 3, n, n) in [0, 1]: noise whose amplitude falls as frequency^-a, a from 1 to 1.7."""
    frequency = torch.hypot(torch.fft.fftfreq(IMAGE_SIZE)[:, None], torch.fft.rfftfreq(IMAGE_SIZE))
    frequency[0, 0] = math.inf  # no constant part
    exponent = 1 + 0.7 * torch.rand(NUM_IMAGES, 1, 1, 1, generator=generator)
    white = torch.randn(NUM_IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    smooth = torch.fft.irfft2(torch.fft.rfft2(white) * frequency**-exponent, s=white.shape[-2:])
    smooth = smooth / smooth.std(dim=(1, 2, 3), keepdim=True)
    shared, own = smooth.mean(1, keepdim=True), torch.rand(NUM_IMAGES, 1, 1, 1, generator=generator)
    return (0.5 + 0.25 * (1.2 * shared + own * (smooth - shared))).clamp(0.0, 1.0)
