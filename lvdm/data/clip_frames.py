"""Cutting a clip out of a video: which frames, at what size. The options and the rule are the same for every source.

Which frames a clip takes is `choose_frames`, number for number that of the original's WebVid. One thing differs: the
original multiplies an already converted stride again with every retry (with `fixed_fps`), so that a clip after a broken
video runs faster than asked; here each try starts from the stride that was drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lvdm.data.clips import ClipSize
from lvdm.data.transforms import SpatialTransform, apply_spatial_transform
from lvdm.declaration.ranges import FrameRate, Frames, Side, Stride
from lvdm.errors import UserError, counted
from lvdm.media.video_backends import Backend, Reader, reader_backend

REDUCED_SIZE = (300, 530)
"""Height and width at which videos are decoded unless `load_raw_resolution` is set, as in the original."""

RandInt = Callable[[int, int], int]
"""`random.randint`: both ends included."""


class ClipError(UserError):
    """No clip could be made; the message names the files and the reasons."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are brought to the trained size.

    `resolution` is (height, width), or one number for both. `crop_resolution` is what `random_crop` cuts, by default
    `resolution`.
    """

    resolution: Side | tuple[Side, Side] = (256, 512)
    spatial_transform: SpatialTransform | None = "resize_center_crop"
    crop_resolution: Side | tuple[Side, Side] | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for sizes that cannot be."""
        if self.crop_resolution is not None and self.spatial_transform != "random_crop":
            raise ValueError("crop_resolution is only used by spatial_transform: random_crop; remove it")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the clips."""
        size = self.resolution if self.crop_resolution is None else self.crop_resolution
        return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """Which frames of a video make a clip: the original's options.

    `frame_stride` is the stride, or with `random_fs` the largest one drawn. With `fixed_fps` the stride counts frames
    at that rate instead of the video's own. `fps_max` limits the fps that is reported.
    """

    video_length: Frames = 16
    frame_stride: Stride = 1
    frame_stride_min: Stride = 1
    fps_max: Stride | None = None
    fixed_fps: FrameRate | None = None
    random_fs: bool = False

    def __post_init__(self) -> None:
        """Raise `ValueError` for numbers that cannot describe a clip."""
        if self.random_fs and self.frame_stride_min > self.frame_stride:
            raise ValueError(f"frame_stride_min = {self.frame_stride_min} is above frame_stride = {self.frame_stride}")

    def draw_stride(self, rng: random.Random) -> int:
        """The stride of one clip, before `fixed_fps`."""
        return rng.randint(self.frame_stride_min, self.frame_stride) if self.random_fs else self.frame_stride


@dataclass(frozen=True, kw_only=True)
class ClipOptions(ImageOptions, FrameOptions):
    """How a clip is cut out of a video file.

    Without `load_raw_resolution` every video is first squeezed to 300x530, as in the original. `reader` names what
    decodes the files.
    """

    load_raw_resolution: bool = True
    reader: Backend = "pyav"

    def __post_init__(self) -> None:
        """Raise `ValueError` for numbers that cannot describe a clip."""
        ImageOptions.__post_init__(self)
        FrameOptions.__post_init__(self)
        if not self.load_raw_resolution and not reader_backend(self.reader).scales:
            raise ValueError(
                f"reader: {self.reader} does not squeeze videos as the original; set load_raw_resolution: true"
            )

    @property
    def clip_size(self) -> ClipSize:
        """Frames, height and width of a clip."""
        return ClipSize(self.video_length, *self.size)


@dataclass(frozen=True)
class ClipFrames:
    """Which frames of a video make a clip."""

    indices: tuple[int, ...]
    frame_stride: int
    fps: float  # of the clip: frames per second after striding


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
        raise ClipError(f"has {counted(num_frames, 'frame')}, a clip needs {video_length}")
    if fixed_fps is not None:
        frame_stride = convert_stride(frame_stride, fps, fixed_fps)
    span = frame_stride * (video_length - 1) + 1
    if num_frames < span:
        if fixed_fps is not None and num_frames < span * 0.5:
            raise ClipError(
                f"has {counted(num_frames, 'frame')}, less than half of the {span} wanted at {fixed_fps} fps"
            )
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


def cut_clip(
    reader: Reader, options: ClipOptions, stride: int, rng: random.Random, size: ClipSize
) -> tuple[Tensor, ClipFrames]:
    """A clip of an open video: float32 (3, t, H, W) in [-1, 1] of `size`, and which frames it shows.

    Raises `ClipError` or another `ValueError` for a video that does not serve.
    """
    frames = choose_frames(
        reader.num_frames,
        reader.fps,
        size.num_frames,
        stride,
        rng.randint,
        fixed_fps=options.fixed_fps,
        fps_max=options.fps_max,
    )
    return read_frames(reader, options, frames.indices, rng, (size.height, size.width)), frames


def read_frames(
    reader: Reader, options: ClipOptions, indices: Sequence[int], rng: random.Random, size: tuple[int, int]
) -> Tensor:
    """Frames `indices` of an open video as float32 (3, n, height, width) in [-1, 1]."""
    height, width = (None, None) if options.load_raw_resolution else REDUCED_SIZE
    pixels = reader.read(indices, height=height, width=width)  # uint8 (n, h, w, 3)
    return fit_frames(pixels, options.spatial_transform, size, rng)


def fit_frames(
    pixels: Tensor, spatial_transform: SpatialTransform | None, size: tuple[int, int], rng: random.Random
) -> Tensor:
    """uint8 (t, h, w, 3) to float32 (3, t, height, width) in [-1, 1]. Only `random_crop` draws from `rng`."""
    frames = pixels.permute(0, 3, 1, 2).float()  # (t, 3, h, w)
    if spatial_transform is not None:
        frames = apply_spatial_transform(spatial_transform, frames, *size, rng)  # (t, 3, height, width)
    if tuple(frames.shape[-2:]) != size:
        raise ClipError(
            f"frames are {frames.shape[-2]}x{frames.shape[-1]}, not {size[0]}x{size[1]}; set spatial_transform"
        )
    return (frames / 255 - 0.5).mul_(2).transpose(0, 1).contiguous(memory_format=torch.contiguous_format)
