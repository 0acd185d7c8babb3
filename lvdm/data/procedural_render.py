"""Pixels of procedural scenes, vectorised over clips, on any device.

A sprite is looked up in two small textures, a signed distance to its outline and a tone, at coordinates that turn,
grow and travel with it; a background is a formula, a noise texture or an image of world coordinates. The camera moves
the world coordinates. Coordinates are in sides, from the centre of the frame, y down.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.picture_files import glyph_names, read_glyphs
from lvdm.data.procedural_images import coarser_levels, look_up_images
from lvdm.data.procedural_motion import Pose, World, pixel_grid, sprite_pose, world_of
from lvdm.data.procedural_scene import (
    BACKGROUNDS,
    CAMERA_MOTIONS,
    COLORS,
    IMAGES,
    NO_SPRITE,
    PHOTOGRAPH,
    SHAPES,
    TEXTURES,
    ProceduralConfig,
    Scene,
)
from lvdm.data.procedural_shapes import ATLAS_EXTENT, noise_atlas, shape_atlas, texture_atlas

GLYPH_LEVELS = 3
"""Copies of an emoji for views of up to 1, 2 and 4 texels per pixel."""
CHUNK = 4
"""Clips rendered at once on the CPU, so that intermediate results stay in its cache."""


def render(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device | str = "cpu") -> Tensor:
    """Video (b, 3, t, H, W), float32 in [-1, 1]."""
    return in_chunks(scenes, config, torch.device(device), _render)


def render_mask(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device | str = "cpu") -> Tensor:
    """Coverage of each pixel by the sprite, (b, t, H, W), float32 in [0, 1]."""
    return in_chunks(scenes, config, torch.device(device), _render_mask)


def render_flow(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device | str = "cpu") -> Tensor:
    """Where frame 0 shows what a pixel shows, less where the pixel is: (b, 2, t, H, W), x and y in sides.

    It is that of the sprite where the sprite covers half of the pixel or more, and may point beyond frame 0.
    """
    return in_chunks(scenes, config, torch.device(device), _render_flow)


def moving_mask(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device | str = "cpu") -> Tensor:
    """Coverage by what moves on its own, (b, t, H, W): that of the sprite, nothing where only the camera moves."""
    on_its_own = [float(scene.motion not in (*CAMERA_MOTIONS, "still")) for scene in scenes]
    return render_mask(scenes, config, device) * torch.tensor(on_its_own, device=device)[:, None, None, None]


def in_chunks(
    scenes: Sequence[Scene],
    config: ProceduralConfig,
    device: torch.device,
    draw: Callable[[Sequence[Scene], ProceduralConfig, torch.device], Tensor],
) -> Tensor:
    if not scenes:
        raise ValueError("there are no scenes to render; give at least one")
    size = CHUNK if device.type == "cpu" else len(scenes)
    chunks = [draw(scenes[start : start + size], config, device) for start in range(0, len(scenes), size)]
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


def _render(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Tensor:
    distance, radius_px, tone, light = _sprite_lookup(scenes, config, device)
    coverage = _coverage(scenes, distance, radius_px)
    # A darker rim of about 1.5 px keeps sprites apart from backgrounds of similar brightness.
    rim = (1.0 + (distance * radius_px + 1.0) / 1.5).clamp_(0.0, 1.0)
    shade = (tone + light).sub_(rim, alpha=0.3).add_(1.0)  # (b, t, H, W), about 0.5 .. 1.25
    color = torch.tensor([COLORS[scene.color] for scene in scenes], device=device)
    # Black cannot get darker and white cannot get lighter: lift the one, and let the other keep its darker tones.
    color = color.clamp(min=0.10)
    sprite = (color[:, :, None, None, None] * shade[:, None]).clamp_(0.0, 1.0)  # (b, 3, t, H, W)
    background = _background(scenes, config, device)
    video = torch.lerp(background, sprite, coverage[:, None])
    rows, glyphs = _glyphs(scenes, config, device)
    if rows:
        video[rows] = (background[rows] * (1 - glyphs[:, 3:]) + glyphs[:, :3]).clamp_(max=1.0)  # sums round
    return video.mul_(2.0).sub_(1.0)


def _render_mask(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Tensor:
    distance, radius_px, _, _ = _sprite_lookup(scenes, config, device)
    coverage = _coverage(scenes, distance, radius_px)
    rows, glyphs = _glyphs(scenes, config, device)
    if rows:
        coverage[rows] = glyphs[:, 3]
    return coverage


def _render_flow(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Tensor:
    world = world_of(scenes, config, device, config.num_frames)
    x, y = pixel_grid(config, device)
    shape = (len(scenes), config.num_frames, config.height, config.width)
    own = torch.stack(torch.broadcast_tensors(x, y[:, None]))[:, None]  # (2, 1, H, W)
    flow = torch.stack((world.x.expand(shape), world.y.expand(shape)), dim=1) - own  # (b, 2, t, H, W)
    pose = sprite_pose(scenes, config, device)
    turn = (pose.angle[:, :1] - pose.angle)[..., None, None]  # back to frame 0
    scale = (pose.radius[:, :1] / pose.radius)[..., None, None]
    dx, dy = x - pose.x[..., None, None], y[:, None] - pose.y[..., None, None]  # (b, t, 1, W) and (b, t, H, 1)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    there_x = pose.x[:, :1, None, None] + dx * cos - dy * sin  # (b, t, H, W)
    there_y = pose.y[:, :1, None, None] + dx * sin + dy * cos
    moved = torch.stack((there_x, there_y), dim=1) - own
    return torch.where(_render_mask(scenes, config, device)[:, None] > 0.5, moved, flow)


def _coverage(scenes: Sequence[Scene], distance: Tensor, radius_px: Tensor) -> Tensor:
    """Soft edge one pixel wide, from the distance to the outline in radii; nothing where there is no sprite."""
    shown = torch.tensor([float(scene.shape != NO_SPRITE) for scene in scenes], device=distance.device)
    return (0.5 - distance * radius_px).clamp_(0.0, 1.0).mul_(shown[:, None, None, None])


def _sprite_axes(pose: Pose, config: ProceduralConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels in radii from the sprite's centre, u (b, t, 1, W) and v (b, t, H, 1); in its own axes, (b, t, H, W, 2)."""
    x, y = pixel_grid(config, pose.x.device)
    u = ((x - pose.x[..., None]) / pose.radius[..., None])[:, :, None, :]
    v = ((y - pose.y[..., None]) / pose.radius[..., None])[:, :, :, None]
    cos, sin = (f(pose.angle)[..., None, None] for f in (torch.cos, torch.sin))
    return u, v, torch.stack((u * cos + v * sin, v * cos - u * sin), dim=-1)


def _glyphs(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> tuple[list[int], Tensor]:
    """Which scenes show an emoji; its colours times opacity, and opacity, (n, 4, t, H, W) in [0, 1]."""
    rows = [row for row, scene in enumerate(scenes) if scene.glyph]
    if not rows:
        return [], torch.empty(0, device=device)
    shown = [scenes[row] for row in rows]
    pose = sprite_pose(shown, config, device)
    _, _, grid = _sprite_axes(pose, config)
    atlas = glyph_atlas(device)[[glyph_names().index(scene.glyph) for scene in shown]].float().div_(255.0)
    levels, size = atlas.shape[2:4]
    level = torch.log2((size / (2 * config.side * pose.radius)).clamp(1.0, 2.0 ** (levels - 1)))  # (n, t)
    depth = ((level + 0.5) * (2 / levels) - 1)[..., None, None].expand(grid.shape[:-1])
    return rows, F.grid_sample(atlas, torch.cat((grid, depth[..., None]), dim=-1), align_corners=False)


@functools.lru_cache(maxsize=4)
def glyph_atlas(device: torch.device) -> Tensor:
    """All emoji, (n, 4, levels, n, n) uint8, colours times opacity, and opacity."""
    return coarser_levels(read_glyphs()[: len(glyph_names())], GLYPH_LEVELS, mode="constant").to(device)


def _sprite_lookup(
    scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distance to the outline in radii (b, t, H, W), radius in pixels (b, t, 1, 1), tone and light (b, t, H, W)."""
    pose = sprite_pose(scenes, config, device)
    u, v, grid = _sprite_axes(pose, config)
    grid = grid / ATLAS_EXTENT
    atlas = torch.stack(
        (
            shape_atlas(device)[[0 if scene.shape == NO_SPRITE else SHAPES.index(scene.shape) for scene in scenes]],
            texture_atlas(device)[[TEXTURES.index(scene.texture) for scene in scenes]],
        ),
        dim=1,
    )  # (b, 2, n, n)
    looked_up = F.grid_sample(
        atlas, rearrange(grid, "b t h w two -> b (t h) w two"), padding_mode="border", align_corners=False
    )
    distance, tone = rearrange(looked_up, "b c (t h) w -> c b t h w", t=config.num_frames)
    light = (u + v).mul_(-0.12)  # from the upper left, whatever way the sprite turns
    return distance, pose.radius[..., None, None] * config.side, tone, light


def _background(scenes: Sequence[Scene], config: ProceduralConfig, device: torch.device) -> Tensor:
    """(b, 3, t, H, W) in [0, 1]; t is 1 when the camera of no clip moves."""
    colors = torch.tensor([scene.background_colors for scene in scenes], device=device)  # (b, 2, 3)
    background = colors.new_empty(len(scenes), 3, config.num_frames, config.height, config.width)
    groups: dict[tuple[str, bool], list[int]] = {}
    for index, scene in enumerate(scenes):
        groups.setdefault((scene.background, scene.motion in CAMERA_MOTIONS), []).append(index)
    for (kind, moving), rows in groups.items():
        chosen = [scenes[row] for row in rows]
        world = world_of(chosen, config, device, frames=config.num_frames if moving else 1)
        if kind in (*IMAGES, PHOTOGRAPH):
            background[rows] = look_up_images(kind, chosen, world.x, world.y, world.extent / config.side)
            continue
        mix = _pattern(kind, chosen, config, world)[:, None]
        first, second = colors[rows, :, :, None, None, None].unbind(1)  # (n, 3, 1, 1, 1) each
        background[rows] = first + (second - first) * mix
    return background


def _pattern(kind: str, scenes: Sequence[Scene], config: ProceduralConfig, world: World) -> Tensor:
    """How much of the second background colour each pixel has: (n, frames, H, W) in [0, 1]."""
    x, y = world.x, world.y
    rows = [(s.background_angle, s.background_cell, *s.background_phase) for s in scenes]
    angle, cell, phase_x, phase_y = (column[:, None, None, None] for column in torch.tensor(rows, device=x.device).T)
    cell_px = cell * config.side / world.extent
    if kind == "plain":
        return (x + y) * 0.0
    if kind == "gradient":
        return (0.5 + 0.6 * (x * torch.cos(angle) + y * torch.sin(angle))).clamp_(0.0, 1.0)
    if kind == "striped":
        along = (x * torch.cos(angle) + y * torch.sin(angle)) / cell + phase_x
        return (0.5 + _wave(along) * cell_px).clamp_(0.0, 1.0)
    if kind == "checkered":
        across = (_wave(x / cell + phase_x) * cell_px * 2).clamp_(-1.0, 1.0)
        return 0.5 + 0.5 * across * (_wave(y / cell + phase_y) * cell_px * 2).clamp_(-1.0, 1.0)
    if kind == "dotted":
        distance = torch.hypot(_centred(x / cell + phase_x), _centred(y / cell + phase_y))
        return (0.5 + (0.27 - distance) * cell_px).clamp_(0.0, 1.0)
    assert kind == "noisy", f"background {kind!r} is not one of {BACKGROUNDS}"
    # The noise texture spans four sides around a random point; reflection makes it endless.
    shape = torch.broadcast_shapes(x.shape, y.shape)
    grid = torch.stack(((x / 2 + phase_x).expand(shape), (y / 2 + phase_y).expand(shape)), dim=-1)
    noise = noise_atlas(x.device).expand(len(scenes), 1, -1, -1)
    looked_up = F.grid_sample(
        noise, rearrange(grid, "n f h w two -> n (f h) w two"), padding_mode="reflection", align_corners=False
    )
    return rearrange(looked_up, "n 1 (f h) w -> n f h w", f=shape[1])


def _centred(periods: Tensor) -> Tensor:
    """Position within the period, in [-0.5, 0.5)."""
    return periods - torch.floor(periods) - 0.5


def _wave(periods: Tensor) -> Tensor:
    """Triangle wave: signed distance, in periods, to the nearest edge between the two halves of a period."""
    return 0.25 - _centred(periods).abs()
