"""Videos whose motion is known in closed form: waves that are looked up where the motion takes them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WAVES = ((0.55, 0.31), (0.37, -0.52), (-0.21, 0.66), (0.8, 0.12), (0.13, 0.43), (0.09, -0.17), (0.15, 0.05))


def picture(x: Tensor, y: Tensor) -> Tensor:
    """A smooth coloured texture at any places x, y (..., H, W): (3, ..., H, W) in [-1, 1]."""
    channels = []
    for channel in range(3):
        waves = [torch.sin(a * y + b * x + i + 2 * channel) for i, (a, b) in enumerate(WAVES)]
        channels.append(sum(waves, torch.zeros(())) / 5)
    return torch.stack(channels).float()


def grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Places (x, y) from the centre, each (H, W), float64."""
    y = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return x.expand(height, width), y.expand(height, width)


def translating(dx: float, dy: float, frames: int = 8, height: int = 64, width: int = 64) -> Tensor:
    """A texture that moves by (dx, dy) pixels a frame: (3, t, H, W)."""
    x, y = grid(height, width)
    return torch.stack([picture(x - i * dx, y - i * dy) for i in range(frames)], dim=1)


def turning(degrees: float, growth: float = 1.0, frames: int = 2, side: int = 96) -> Tensor:
    """A texture that turns clockwise about the centre and grows by a factor, a frame: (3, t, side, side)."""
    x, y = grid(side, side)
    return torch.stack([picture(*_back(x, y, i * degrees, growth**i)) for i in range(frames)], dim=1)


def turning_flow(degrees: float, growth: float = 1.0, side: int = 96) -> Tensor:
    """Where `turning` takes every pixel in one frame: (2, side, side) as (x, y)."""
    x, y = grid(side, side)
    there = _back(x, y, -degrees, 1 / growth)
    return torch.stack([there[0] - x, there[1] - y]).float()


def _back(x: Tensor, y: Tensor, degrees: float, growth: float) -> tuple[Tensor, Tensor]:
    """Where the places x, y of a turned and grown picture were before."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (x * cosine + y * sine) / growth, (y * cosine - x * sine) / growth


def jittering(video: Tensor, pixels: int, seed: int = 0) -> Tensor:
    """Every frame shifted at random by up to so many pixels, around the edges."""
    places = torch.randint(-pixels, pixels + 1, (video.shape[1], 2), generator=torch.Generator().manual_seed(seed))
    shifted = [torch.roll(video[:, i], place, (1, 2)) for i, place in enumerate(map(tuple, places.tolist()))]
    return torch.stack(shifted, dim=1)


def flickering(video: Tensor, amount: float) -> Tensor:
    """Every second frame brighter by `amount`, the others darker."""
    signs = 1 - 2 * (torch.arange(video.shape[1]) % 2)
    return video * (1 - amount) + amount * signs[:, None, None]


def shuffled(video: Tensor, seed: int = 0) -> Tensor:
    """The frames in another order."""
    return video[:, torch.randperm(video.shape[1], generator=torch.Generator().manual_seed(seed))]
