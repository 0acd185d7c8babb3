"""The contact sheet of a dry run: a row of frames for each clip, with what the model reads beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from lvdm.fit.dry_run_clips import SeenClip
from lvdm.media.atomic import atomic_path
from lvdm.media.contact_sheet import sheet_mark
from lvdm.media.video_writer import to_uint8

GAP, TEXT_WIDTH, LINE = 6, 330, 14
FRAME_HEIGHT = 112
BACKGROUND, TEXT, DROPPED, INPUT = (24, 24, 24), (235, 235, 235), (240, 110, 90), (90, 210, 120)
CHARACTERS = 52


def write_sheet(clips: Sequence[SeenClip], path: Path) -> None:
    """Write one PNG. Frames that the model is given as images have a green border, a red one if they are dropped."""
    rows = [_row(clip) for clip in clips]
    width = max(row.width for row in rows)
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)), BACKGROUND)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", pnginfo=sheet_mark())


def describe(clip: SeenClip) -> list[tuple[str, bool]]:
    """Lines about a clip, each with whether it is about something that the model does not get."""
    size = "x".join(map(str, clip.size))
    lines = [
        (f"batch {clip.batch}, sample {clip.number}, {size}{' latents, as colours' if clip.cached else ''}", False),
        (f"...{clip.path[-CHARACTERS + 3 :]}" if len(clip.path) > CHARACTERS else clip.path, False),
        (f"stride {clip.frame_stride}, {clip.fps:g} fps after it", False),
    ]
    draws = clip.draws
    if draws is not None:
        lines.append((f"the model reads {draws.fs_meaning} {draws.fs}, t = {draws.t}", False))
        image = f"frame {draws.conditioning_frame}"
        both = f"latents of the first and last frame, image tokens of {image}"
        lines.append((f"given: {both if draws.interpolation else image}", False))
        if draws.image_dropped:
            lines.append(("image tokens dropped; latents stay", True))
    dropped = draws is not None and draws.caption_dropped
    caption = f"caption dropped: {clip.caption}" if dropped else f'"{clip.caption}"'
    lines += [(line, dropped) for line in textwrap.wrap(caption, CHARACTERS) or [""]]
    if clip.failures:
        lines += [(line, True) for line in textwrap.wrap(f"given up before it: {clip.failures}", CHARACTERS)]
    return lines


def _row(clip: SeenClip) -> Image.Image:
    thumbnails = _thumbnails(clip.frames)
    lines = describe(clip)
    height = max(FRAME_HEIGHT, LINE * len(lines)) + 2 * GAP
    step = thumbnails[0].width + GAP
    row = Image.new("RGB", (TEXT_WIDTH + 2 * GAP + step * len(thumbnails), height), BACKGROUND)
    pen = ImageDraw.Draw(row)
    for number, (line, dropped) in enumerate(lines):
        pen.text((GAP, GAP + LINE * number), line, fill=DROPPED if dropped else TEXT)
    draws = clip.draws
    inputs = set()
    if draws is not None:
        inputs = {0, len(thumbnails) - 1} if draws.interpolation else {draws.conditioning_frame}
    for number, thumbnail in enumerate(thumbnails):
        left = TEXT_WIDTH + GAP + step * number
        row.paste(thumbnail, (left, GAP))
        if number in inputs and draws is not None:
            colour = DROPPED if draws.image_dropped else INPUT
            box = (left - 3, GAP - 3, left + thumbnail.width + 2, GAP + thumbnail.height + 2)
            pen.rectangle(box, outline=colour, width=3)
    return row


def _thumbnails(frames: Tensor) -> list[Image.Image]:
    """Frames (3, t, h, w) as images of one height."""
    pixels = to_uint8(frames).cpu().numpy()
    height, width = pixels.shape[1:3]
    size = (max(1, round(FRAME_HEIGHT * width / height)), FRAME_HEIGHT)
    method = Image.Resampling.LANCZOS if height > FRAME_HEIGHT else Image.Resampling.NEAREST
    return [Image.fromarray(thumbnail).resize(size, method) for thumbnail in pixels]
