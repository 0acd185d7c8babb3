"""Where the sprite and the camera of procedural scenes are in every frame, and what a pixel looks at.

Coordinates are in sides, from the centre of the frame, y down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lvdm.data.procedural_scene import (
    DIRECTIONS,
    GROWTH,
    PANS,
    PROGRESS_PER_FRAME,
    SPEEDS,
    TRAVEL,
    TURN,
    ProceduralConfig,
    Scene,
)


@dataclass(frozen=True)
class World:
    """What the camera sees of the world: coordinates x (n, f, 1, W) and y (n, f, H, 1), sides per side (n, f, 1, 1)."""

    x: Tensor
    y: Tensor
    extent: Tensor


@dataclass(frozen=True)
class Motion:
    """Per-clip rates, each (b, 1): what one unit of progress changes."""

    progress: Tensor  # (b, t), 0 at frame 0
    travel: tuple[Tensor, Tensor]  # sprite, in sides
    turn: Tensor  # radians clockwise
    growth: Tensor  # log radius
    pan: tuple[Tensor, Tensor]  # camera, in sides
    zoom: Tensor  # log magnification


@dataclass(frozen=True)
class Pose:
    """Where the sprite is in every frame, (b, t) each: centre in sides from that of the frame, radius, angle."""

    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor


def true_generators(scenes: Sequence[Scene], config: ProceduralConfig) -> tuple[Tensor, Tensor]:
    """What one unit of progress does to where a pixel looks in frame 0, and the progress of all frames (b, t).

    Generators (2, b, 2, 3) are those of the camera about the middle of the frame and of the sprite about its own:
    the matrix exponential of generator times progress is the map to frame 0.
    """
    motion = motion_of(scenes, config, torch.device("cpu"))
    generators = torch.zeros(2, len(scenes), 2, 3)
    for i, zoom, shift, turn in (
        (0, motion.zoom, motion.pan, torch.zeros_like(motion.turn)),
        (1, motion.growth, tuple(-part for part in motion.travel), motion.turn),
    ):
        generators[i, :, 0, 0] = generators[i, :, 1, 1] = -zoom[:, 0]
        generators[i, :, 0, 1], generators[i, :, 1, 0] = turn[:, 0], -turn[:, 0]
        generators[i, :, 0, 2], generators[i, :, 1, 2] = shift[0][:, 0], shift[1][:, 0]
    return generators, motion.progress


def motion_of(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Motion:
    still = (0.0, 0.0)
    rows = [
        (
            PROGRESS_PER_FRAME * SPEEDS[scene.speed] * scene.frame_stride,
            *(TRAVEL * component for component in DIRECTIONS.get(scene.motion, still)),
            TURN * _sign(scene.motion, "clockwise", "counterclockwise"),
            GROWTH * _sign(scene.motion, "grow", "shrink"),
            *(TRAVEL * component for component in PANS.get(scene.motion, still)),
            GROWTH * _sign(scene.motion, "zoom in", "zoom out"),
        )
        for scene in scenes
    ]
    rate, dx, dy, turn, growth, pan_x, pan_y, zoom = torch.tensor(rows, device=device).T.unsqueeze(-1)
    returns = torch.tensor([[scene.returns] for scene in scenes], device=device)
    frame = torch.arange(config.num_frames, device=device)
    last = max(config.num_frames - 1, 1)
    back_and_forth = last / 2 * (0.5 - 0.5 * torch.cos(2 * math.pi * frame / last))
    progress = rate * torch.where(returns, back_and_forth, frame)  # (b, t)
    return Motion(progress, (dx, dy), turn, growth, (pan_x, pan_y), zoom)


def _sign(motion: str, positive: str, negative: str) -> float:
    return float(motion == positive) - float(motion == negative)


def pixel_grid(config: ProceduralConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (W,) and y (H,) of the pixel centres, in sides from the centre of the image."""
    x = (torch.arange(config.width, device=device) + 0.5 - config.width / 2) / config.side
    y = (torch.arange(config.height, device=device) + 0.5 - config.height / 2) / config.side
    return x, y


def sprite_pose(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Pose:
    motion = motion_of(scenes, config, device)
    start = [
        ((s.x - 0.5) * config.width / config.side, (s.y - 0.5) * config.height / config.side, s.radius, s.angle)
        for s in scenes
    ]
    x0, y0, radius, angle = torch.tensor(start, device=device).T.unsqueeze(-1)
    magnification = torch.exp(motion.zoom * motion.progress)  # (b, t)
    return Pose(
        x=(x0 + (motion.travel[0] - motion.pan[0]) * motion.progress) * magnification,
        y=(y0 + (motion.travel[1] - motion.pan[1]) * motion.progress) * magnification,
        radius=radius * torch.exp(motion.growth * motion.progress) * magnification,
        angle=angle + motion.turn * motion.progress,
    )


def world_of(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device, frames: int) -> World:
    motion = motion_of(scenes, config, device)
    progress = motion.progress[:, :frames]
    extent = torch.exp(-motion.zoom * progress)[..., None]
    x, y = pixel_grid(config, device)
    x = (x * extent + (motion.pan[0] * progress)[..., None])[:, :, None, :]  # (n, frames, 1, W)
    y = (y * extent + (motion.pan[1] * progress)[..., None])[:, :, :, None]  # (n, frames, H, 1)
    return World(x, y, extent[..., None])
