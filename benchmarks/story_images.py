"""Images of stories: characters with transparency around them, and places, in shapes that the embedded model knows.

    python benchmarks/story_images.py

draws those of `examples/story`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from lvdm.data.procedural_scene import COLORS, SHAPES
from lvdm.data.procedural_shapes import shape_atlas

FOLDER = Path(__file__).parents[1] / "examples/story"
SIDE = 128


def character(shape: str, color: str) -> Image.Image:
    """A shape in its colour, darker towards its edge, RGBA."""
    atlas = shape_atlas(torch.device("cpu"))[SHAPES.index(shape)]
    distance = F.interpolate(atlas[None, None], (SIDE, SIDE), mode="bicubic")[0, 0].numpy()
    alpha = np.clip(0.5 - distance * 40, 0, 1)
    shade = np.clip(0.72 - 2.2 * distance, 0.72, 1)
    pixels = np.concatenate([np.array(COLORS[color]) * shade[..., None], alpha[..., None]], axis=-1)
    return Image.fromarray(np.rint(255 * pixels).astype(np.uint8))


def place(top: tuple[float, float, float], bottom: tuple[float, float, float]) -> Image.Image:
    """A background that goes from one colour to another, RGB."""
    share = np.linspace(0, 1, SIDE)[:, None, None]
    pixels = np.broadcast_to(np.array(top) * (1 - share) + np.array(bottom) * share, (SIDE, SIDE, 3))
    return Image.fromarray(np.rint(255 * pixels).astype(np.uint8))


if __name__ == "__main__":
    character("heart", "orange").save(FOLDER / "heart.png", optimize=True)
    character("star", "red").save(FOLDER / "star.png", optimize=True)
    place((0.72, 0.82, 0.90), (0.55, 0.66, 0.80)).save(FOLDER / "morning.png", optimize=True)
    place((0.36, 0.46, 0.50), (0.25, 0.33, 0.38)).save(FOLDER / "evening.png", optimize=True)
