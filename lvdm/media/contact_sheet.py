"""All frames of a video in one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from lvdm.media.atomic import atomic_path
from lvdm.media.video_writer import to_uint8

SHEET_FORMAT = "dynamicrafter-sheet/1"

_GAP = 4
_BACKGROUND = (24, 24, 24)
_CHANGED = (230, 30, 30)
"""What a mask does not keep is shown in this colour."""
_MIN_NUMBERED_SIDE = 48
"""Smaller frames carry no number: it would hide them."""


def write_contact_sheet(video: Tensor, path: str | Path, columns: int = 4, mask: Tensor | None = None) -> None:
    """Write `contact_sheet(video, columns, mask=mask)` as one PNG file. Raises `OutputError`."""
    sheet = contact_sheet(video, columns, mask=mask)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", pnginfo=sheet_mark())


def sheet_mark() -> PngInfo:
    """What marks a sheet of ours, apart from an image of the user (`lvdm.media.ownership`)."""
    mark = PngInfo()
    mark.add_text("Software", SHEET_FORMAT)
    return mark


def contact_sheet(
    video: Tensor, columns: int = 4, numbers: Sequence[int] | None = None, mask: Tensor | None = None
) -> Image.Image:
    """The frames of `video` (as for `write_video`) as a grid, with `numbers` on them; by default 0, 1, ...

    With a `mask` (H, W) in [0, 1] the first tile is the first frame, in red where the mask does not keep it.
    """
    if columns < 1:
        raise ValueError(f"a contact sheet needs at least 1 column, not {columns}")
    pixels = to_uint8(video).cpu().numpy()
    labels = [str(number) for number in numbers or range(len(pixels))]
    if mask is not None:
        pixels, labels = np.concatenate([_masked(pixels[0], mask)[None], pixels]), ["mask", *labels]
    count, height, width = pixels.shape[:3]
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for position, (label, frame) in enumerate(zip(labels, pixels, strict=True)):
        row, column = divmod(position, columns)
        left, top = _GAP + column * (width + _GAP), _GAP + row * (height + _GAP)
        sheet.paste(Image.fromarray(frame), (left, top))
        if min(height, width) >= _MIN_NUMBERED_SIDE:
            pen.text((left + 3, top + 2), label, fill="white", stroke_width=1, stroke_fill="black")
    return sheet


def _masked(frame: np.ndarray, mask: Tensor) -> np.ndarray:
    """uint8 (H, W, 3): half of the colour of what is not kept is red."""
    changed = 0.5 * (1 - mask.cpu().numpy()[..., None])
    return np.rint(frame * (1 - changed) + np.array(_CHANGED) * changed).astype(np.uint8)
