"""Photographs and emoji that come with the code, see NOTICE: parts of the clips that the embedded model learns from."""

from __future__ import annotations

import functools
from importlib import resources

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

GLYPH_SIDE = 64
"""Pixels along a side of an emoji in `emoji.png`."""


def read_photographs() -> Tensor:
    """All photographs, (n, 3, s, s) float32 in [0, 1], in the order of their names."""
    folder = resources.files(__name__) / "photographs"
    images = []
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".jpg")), key=lambda f: f.name):
        with file.open("rb") as stream:
            images.append(pil_to_tensor(Image.open(stream).convert("RGB")))
    return torch.stack(images).float() / 255


@functools.cache
def glyph_names() -> tuple[str, ...]:
    """What the emoji of `emoji.png` show, in their order."""
    return tuple((resources.files(__name__) / "emoji.txt").read_text(encoding="utf-8").splitlines())


@functools.lru_cache(maxsize=1)
def read_glyphs() -> Tensor:
    """All places of the sheet of emoji, (n, 4, s, s) float32 in [0, 1]: red, green, blue times opacity, and opacity."""
    with (resources.files(__name__) / "emoji.png").open("rb") as stream:
        sheet = pil_to_tensor(Image.open(stream).convert("RGBA")).float() / 255
    glyphs = rearrange(sheet, "c (rows h) (columns w) -> (rows columns) c h w", h=GLYPH_SIDE, w=GLYPH_SIDE)
    return torch.cat([glyphs[:, :3] * glyphs[:, 3:], glyphs[:, 3:]], dim=1)
