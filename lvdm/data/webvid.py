"""Clips of a folder of videos with a CSV of captions: the training set format of WebVid.

Which frames a clip takes is `choose_frames`, number for number that of the original. Two things differ around it. The
original multiplies an already converted stride again with every retry (with `fixed_fps`), so that a clip after a broken
one runs faster than asked; here each try starts from the stride that was drawn. And it tries the next video for ever;
here `MAX_TRIES` different videos are tried, and then an error names them with their reasons.
"""

from __future__ import annotations

import csv
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lvdm.data.transforms import SpatialTransform, apply_spatial_transform
from lvdm.data.video_reader import VideoReader

logger = logging.getLogger(__name__)

MAX_TRIES = 10
"""Videos tried for one item before the dataset is given up as broken."""

REDUCED_SIZE = (300, 530)
"""Height and width at which videos are decoded unless `load_raw_resolution` is set, as in the original."""

COLUMNS = ("videoid", "page_dir", "name")

RandInt = Callable[[int, int], int]
"""`random.randint`: both ends included."""


class ClipError(ValueError):
    """No clip could be made; the message names the files and the reasons."""


@dataclass(frozen=True)
class ClipFrames:
    """Which frames of a video make a clip."""

    indices: tuple[int, ...]
    frame_stride: int
    fps: float  # of the clip: frames per second after striding


@dataclass(frozen=True)
class WebVidConfig:
    """The original's options.

    Videos lie at `data_dir/videos/<page_dir>/<videoid>.mp4`; the CSV `meta_path` has the columns videoid, page_dir and
    name (the caption). `frame_stride` is the stride, or with `random_fs` the largest one drawn. With `fixed_fps` the
    stride counts frames at that rate instead of the video's own. `fps_max` limits the fps that is reported.
    `crop_resolution` is what `random_crop` cuts, by default `resolution`. `subsample` keeps that many clips, always the
    same ones.
    """

    meta_path: str
    data_dir: str
    subsample: int | None = None
    video_length: int = 16
    resolution: int | tuple[int, int] = (256, 512)
    frame_stride: int = 1
    frame_stride_min: int = 1
    spatial_transform: SpatialTransform | None = None
    crop_resolution: int | tuple[int, int] | None = None
    fps_max: int | None = None
    load_raw_resolution: bool = False
    fixed_fps: float | None = None
    random_fs: bool = False

    def __post_init__(self) -> None:
        """Raise `ValueError` for numbers that cannot describe a clip."""
        for name in ("video_length", "frame_stride", "frame_stride_min", "subsample", "fps_max", "fixed_fps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} = {value} should be positive")
        if self.random_fs and self.frame_stride_min > self.frame_stride:
            raise ValueError(f"frame_stride_min = {self.frame_stride_min} is above frame_stride = {self.frame_stride}")
        if min(self.size) < 1:
            raise ValueError(f"resolution = {self.resolution} should be positive")
        if self.crop_resolution is not None and self.spatial_transform != "random_crop":
            raise ValueError("crop_resolution is only used by spatial_transform: random_crop; remove it")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the clips."""
        size = self.resolution if self.crop_resolution is None else self.crop_resolution
        return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class _Entry:
    path: Path
    caption: str


class WebVid(Dataset[dict[str, Any]]):
    """Items hold `video` (3, t, H, W) float32 in [-1, 1], `caption`, `path`, `fps` and `frame_stride`.

    Random choices come from torch's default generator, which a `DataLoader` seeds for each worker and epoch.
    Raises `ValueError` when the CSV is missing or malformed, and `ClipError` when no clip can be read.
    """

    Config = WebVidConfig

    def __init__(self, config: WebVidConfig) -> None:
        self.config = config
        self._entries = _read_meta(Path(config.meta_path), Path(config.data_dir))
        if config.subsample is not None and config.subsample < len(self._entries):
            self._entries = random.Random(0).sample(self._entries, config.subsample)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        config = self.config
        rng = random.Random(int(torch.randint(2**62, ())))
        stride = rng.randint(config.frame_stride_min, config.frame_stride) if config.random_fs else config.frame_stride
        failures = []
        for attempt in range(min(MAX_TRIES, len(self))):
            entry = self._entries[(index + attempt) % len(self)]
            try:
                video, clip = self._load(entry.path, stride, rng)
            except ValueError as error:  # of the reader, of the choice of frames or of the crop: all about this video
                logger.warning("%s skipped: %s", entry.path, error)
                failures.append(f"{entry.path.name}: {error}")
                continue
            return {
                "video": video,
                "caption": entry.caption,
                "path": str(entry.path),
                "fps": clip.fps,
                "frame_stride": clip.frame_stride,
            }
        raise ClipError(
            f"none of {len(failures)} videos from number {index} of {config.meta_path} can be used; "
            f"check data_dir = {config.data_dir} and the files: {'; '.join(failures)}"
        )

    def _load(self, path: Path, stride: int, rng: random.Random) -> tuple[Tensor, ClipFrames]:
        config = self.config
        with VideoReader(path) as reader:
            clip = choose_frames(
                reader.num_frames,
                reader.fps,
                config.video_length,
                stride,
                rng.randint,
                fixed_fps=config.fixed_fps,
                fps_max=config.fps_max,
            )
            height, width = (None, None) if config.load_raw_resolution else REDUCED_SIZE
            pixels = reader.read(clip.indices, height=height, width=width)  # uint8 (t, h, w, 3)
        frames = pixels.permute(0, 3, 1, 2).float()  # (t, 3, h, w)
        if config.spatial_transform is not None:
            frames = apply_spatial_transform(config.spatial_transform, frames, *config.size, rng)
        if tuple(frames.shape[-2:]) != config.size:
            raise ClipError(
                f"frames are {frames.shape[-2]}x{frames.shape[-1]}, not {config.size}; set spatial_transform"
            )
        return (frames / 255 - 0.5).mul_(2).transpose(0, 1).contiguous(), clip


def choose_frames(
    num_frames: int,
    fps: float,
    video_length: int,
    frame_stride: int,
    randint: RandInt,
    *,
    fixed_fps: float | None = None,
    fps_max: float | None = None,
) -> ClipFrames:
    """The frames of one clip of `video_length` from a video of `num_frames` at `fps`.

    A stride that does not fit is lowered to the largest that does, unless `fixed_fps` is set and less than half of the
    wanted span is there. The start is drawn by `randint` from all that fit. Raises `ClipError` for too short a video.
    """
    if num_frames < video_length:
        raise ClipError(f"has {num_frames} frames, a clip needs {video_length}")
    if fixed_fps is not None:
        frame_stride = convert_stride(frame_stride, fps, fixed_fps)
    span = frame_stride * (video_length - 1) + 1
    if num_frames < span:
        if fixed_fps is not None and num_frames < span * 0.5:
            raise ClipError(f"has {num_frames} frames, less than half of the {span} wanted at {fixed_fps} fps")
        frame_stride = num_frames // video_length
        span = frame_stride * (video_length - 1) + 1
    start = randint(0, num_frames - span) if num_frames > span else 0
    indices = tuple(start + frame_stride * position for position in range(video_length))
    clip_fps = fps // frame_stride
    if fps_max is not None and clip_fps > fps_max:
        clip_fps = fps_max
    return ClipFrames(indices, frame_stride, clip_fps)


def convert_stride(frame_stride: int, fps: float, fixed_fps: float) -> int:
    """A stride meant at `fixed_fps`, as a stride of a video at `fps`; at least 1."""
    return max(int(frame_stride * (fps / fixed_fps)), 1)


def _read_meta(meta_path: Path, data_dir: Path) -> list[_Entry]:
    if not meta_path.is_file():
        raise ValueError(f"meta_path: there is no file {meta_path}; give a CSV with the columns {', '.join(COLUMNS)}")
    with meta_path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"{meta_path}: no column {', '.join(missing)}; it has {', '.join(rows.fieldnames or ())}")
        entries = [_Entry(data_dir / "videos" / row["page_dir"] / f"{row['videoid']}.mp4", row["name"]) for row in rows]
    if not entries:
        raise ValueError(f"{meta_path}: lists no videos")
    return entries
