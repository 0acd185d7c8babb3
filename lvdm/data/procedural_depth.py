"""Depth of procedural scenes: sprites before backgrounds, and the leaves of a collage one upon another.

Other backgrounds lie on a plane that leans by their angle. What the camera does, the depth does too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lvdm.data.procedural_images import look_up_leaf_depth
from lvdm.data.procedural_motion import world_of
from lvdm.data.procedural_render import in_chunks, render_mask
from lvdm.data.procedural_scene import ProceduralConfig, Scene

NEAREST_LEAF = 0.7
NEAREST_PLANE = 0.35
"""Of a background; a sprite is at 1."""


def render_depth(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device | str = "cpu") -> Tensor:
    """Depth (b, 1, t, H, W) in [0, 1], near is large, of what `render` draws."""
    return in_chunks(scenes, config, torch.device(device), _render_depth)


def _render_depth(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Tensor:
    depth = torch.empty(len(scenes), config.num_frames, config.height, config.width, device=device)
    for of_leaves in (False, True):
        rows = [row for row, scene in enumerate(scenes) if (scene.background == "collage") == of_leaves]
        if rows:
            depth[rows] = (_leaves if of_leaves else _plane)([scenes[row] for row in rows], config, device)
    return torch.lerp(depth, torch.ones_like(depth), render_mask(scenes, config, device))[:, None]


def _leaves(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Tensor:
    world = world_of(scenes, config, device, config.num_frames)
    return NEAREST_LEAF * look_up_leaf_depth(scenes, world.x, world.y)


def _plane(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Tensor:
    world = world_of(scenes, config, device, config.num_frames)
    angle = torch.tensor([scene.background_angle for scene in scenes], device=device)[:, None, None, None]
    return NEAREST_PLANE * (0.5 + 0.6 * (world.x * torch.cos(angle) + world.y * torch.sin(angle))).clamp(0.0, 1.0)
