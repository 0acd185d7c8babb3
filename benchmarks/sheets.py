"""Several videos in one image: a row for each, under its caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from lvdm.media.atomic import atomic_path
from lvdm.media.video_writer import to_uint8

SHEET_FRAMES = 8
_TEXT_HEIGHT, _GAP = 14, 4


def file_name(row: str) -> str:
    """The name of the sheet of a row."""
    return f"{row.replace(' ', '_').replace(',', '')}.png"


def write_rows(path: Path, rows: Sequence[tuple[str, Tensor]]) -> None:
    """Write videos (3, t, H, W) in [-1, 1], each with its caption, as one PNG file. Raises `OutputError`."""
    height, width = rows[0][1].shape[-2:]
    scale = max(1, 96 // height)
    height, width = height * scale, width * scale
    row_height = height + _TEXT_HEIGHT + _GAP
    sheet = Image.new("RGB", (SHEET_FRAMES * (width + _GAP) + _GAP, len(rows) * row_height + _GAP), (24, 24, 24))
    pen = ImageDraw.Draw(sheet)
    for number, (caption, video) in enumerate(rows):
        top = _GAP + number * row_height
        pen.text((_GAP, top), caption, fill="white")
        pixels = to_uint8(video).cpu().numpy()
        for column in range(SHEET_FRAMES):
            frame = round(column * (len(pixels) - 1) / (SHEET_FRAMES - 1))
            image = Image.fromarray(pixels[frame]).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(image, (_GAP + column * (width + _GAP), top + _TEXT_HEIGHT))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
