"""The clips with the highest and the lowest values, as small contact sheets."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lvdm.evaluation.clip_files import ClipSpec, FrameScaling, load_clip, resize_frames
from lvdm.evaluation.results import FAKE, Results, VideoRow
from lvdm.media.contact_sheet import contact_sheet

_FRAMES, _COLUMNS = 16, 8
_SIDE = 96
"""Height of a frame on a sheet, at most."""

_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Sheet:
    """A clip and its frames as a JPEG of `width` pixels; `missing` says why there is none."""

    video: VideoRow
    jpeg: bytes = b""
    width: int = 0
    missing: str = ""


def extremes(results: Results, name: str, count: int) -> tuple[list[VideoRow], list[VideoRow]]:
    """The evaluated clips with the highest and with the lowest values, `count` each; none is in both."""
    found = [(value, video.id, video) for video in results.videos if (value := _value(video, name)) is not None]
    ordered = [video for _, _, video in sorted(found, key=lambda item: item[:2])]
    low = min(count, len(ordered) // 2)
    high = min(count, len(ordered) - low)
    return ordered[len(ordered) - high :][::-1], ordered[:low]


def _value(video: VideoRow, name: str) -> float | None:
    return video.values.get(name) if video.set == FAKE else None


def make_sheet(video: VideoRow, roots: Sequence[Path]) -> Sheet:
    """The frames of a clip, from the first of the folders `roots` that has its file."""
    path = next((root / video.video for root in roots if (root / video.video).exists()), None)
    if path is None:
        return Sheet(video, missing=f"{video.video} was not found; give the manifest's folder as --videos-root")
    spec = ClipSpec(video.id, path, video.start, video.stride, video.frames, fps=1.0)  # the rate does not show
    try:
        frames = load_clip(spec, FrameScaling()).frames  # (t, H, W, 3)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split()).replace(str(path), video.video)
        return Sheet(video, missing=reason)
    numbers = _spread(len(frames), _FRAMES)
    sheet = contact_sheet(_shrink(frames[numbers]), _COLUMNS, numbers)
    file = io.BytesIO()
    sheet.save(file, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return Sheet(video, file.getvalue(), sheet.width)


def _spread(available: int, limit: int) -> list[int]:
    """Up to `limit` numbers below `available`, evenly spread, the first and the last among them."""
    count = min(available, limit)
    return [round(position * (available - 1) / max(count - 1, 1)) for position in range(count)]


def _shrink(frames: Tensor) -> Tensor:
    """uint8 (t, H, W, 3) to a height of at most `_SIDE`."""
    height, width = frames.shape[1:3]
    if height <= _SIDE:
        return frames
    return resize_frames(frames, FrameScaling("stretch", _SIDE, max(1, round(width * _SIDE / height)), antialias=True))
