"""Do sprites keep their shape, leave nothing behind, and do unseen emoji go where they should? Rows of

`embedded_quality.py` beside those of `embedded_rows.py`. The camera is static in all scenes, so that the background
behind a sprite is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

import torch
from embedded_generation import animate, round_trip
from embedded_rows import Bench, direction_row
from sheets import write_rows
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.procedural import ProceduralConfig, Scene, caption, render, render_mask
from lvdm.data.procedural_scene import COLORS, DIRECTIONS, NO_SPRITE, PATTERNS, PHOTOGRAPH


def shape(bench: Bench) -> dict[str, Any]:
    """The sprite at the last frame against the true one, and what is left of it where it began.

    A pixel counts as the sprite's when it is nearer to the sprite's colour than to the background behind it. `iou` is
    the intersection of those pixels with the true sprite over their union, at the last frame; `ghost` the share of such
    pixels among those that the sprite covered in frame 0 and should have left by then.
    """
    space = dataclasses.replace(bench.space, textures=("solid",), backgrounds=(*PATTERNS, PHOTOGRAPH))
    scenes, truth = bench.drawn(tuple(DIRECTIONS), bench.count, space)
    videos = {
        "truth": truth,
        "autoencoder": round_trip(bench.pipe, truth),
        "frozen first frame": [video[:, :1].expand_as(video) for video in truth],
        "generated": animate(bench.pipe, truth, scenes, [caption(scene) for scene in scenes], bench.settings),
    }
    write_rows(
        bench.sheets / "shape.png",
        [(caption(s), v) for s, v in zip(scenes[:16], videos["generated"][:16], strict=True)],
    )
    rows = {
        name: [sprite_left(v, s, space) for v, s in zip(some, scenes, strict=True)] for name, some in videos.items()
    }
    return {
        name: {"n": len(some), "iou": fmean(iou for iou, _ in some), "ghost": fmean(ghost for _, ghost in some)}
        for name, some in rows.items()
    }


def glyphs(bench: Bench) -> dict[str, Any]:
    """Emoji that no training showed, on patterns and photographs: do they go where the caption says?"""
    space = dataclasses.replace(bench.space, backgrounds=(*PATTERNS, PHOTOGRAPH), glyph_probability=1.0)
    scenes, truth = bench.drawn(tuple(DIRECTIONS), bench.count, space)
    made = animate(bench.pipe, truth, scenes, [caption(scene) for scene in scenes], bench.settings)
    write_rows(bench.sheets / "glyphs.png", [(caption(s), v) for s, v in zip(scenes[:16], made[:16], strict=True)])
    videos = {"truth": truth, "autoencoder": round_trip(bench.pipe, truth), "generated": made}
    return {name: direction_row(some, truth, scenes, space) for name, some in videos.items()}


def sprite_left(video: Tensor, scene: Scene, space: ProceduralConfig) -> tuple[float, float]:
    """Intersection over union at the last frame, and the ghost's share; `video` is (3, t, H, W) in [-1, 1]."""
    bare = render([dataclasses.replace(scene, shape=NO_SPRITE)], space)[0, :, 0]
    color = torch.tensor(COLORS[scene.color])[:, None, None].clamp(min=0.1) * 2 - 1
    last = video[:, -1].float()
    found = (last - color).square().sum(0) < (last - bare).square().sum(0)
    mask = render_mask([scene], space)[0]
    true = mask[-1] > 0.5
    iou = (found & true).sum() / (found | true).sum().clamp(min=1)
    near = F.max_pool2d(mask[-1][None, None], 5, stride=1, padding=2)[0, 0] > 0.05
    gone = (mask[0] > 0.95) & ~near
    return iou.item(), ((found & gone).sum() / gone.sum().clamp(min=1)).item()


SPRITE_ROWS: Mapping[str, Callable[[Bench], dict[str, Any]]] = {"shape": shape, "glyphs": glyphs}
