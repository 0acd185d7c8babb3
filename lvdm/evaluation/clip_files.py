"""From a file to the frames of one clip: videos, folders of frames, NumPy arrays; one clip in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.image_folder import IMAGE_SUFFIXES
from lvdm.data.source_files import VIDEO_SUFFIXES
from lvdm.deprecation import renamed_names
from lvdm.errors import UserError, counted
from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.protocols import Protocol, Resize
from lvdm.media.arrays import ArrayFileError, read_array
from lvdm.media.file_names import natural_order
from lvdm.media.frame_reader import FrameReader
from lvdm.media.geometry import covering_size
from lvdm.media.images import load_image
from lvdm.media.video_backends import Backend, open_video
from lvdm.media.video_reader import VideoReader

ARRAY_SUFFIXES = (".npy", ".npz")
"""Arrays (t, H, W, 3), uint8 or float in [0, 1]; an .npz holds one array, or one called `video`. Never pickles."""

CLIP_SUFFIXES = (*VIDEO_SUFFIXES, *ARRAY_SUFFIXES)


class ClipFileError(UserError):
    """A clip that cannot be read; the message names the file and, in one line, the reason."""


@dataclass(frozen=True)
class ClipSpec:
    """Which frames of which file are the clip `id`, and what goes with them.

    Frames are `start`, `start` + `stride`, ...: `frames` of them. `fps` is the rate of the file, None for what the file
    itself says. A `still` is the input image, or the first frame where there is none, repeated `frames` times. What is
    compared frame by frame has the other clip as its `reference`. `reader` decodes the video.
    """

    id: str
    video: Path
    start: int
    stride: int
    frames: int
    fps: float | None = None
    prompt: str = ""
    image: Path | None = None
    last_image: Path | None = None
    still: bool = False
    reference: ClipSpec | None = None
    reader: Backend = "pyav"

    @property
    def files(self) -> list[Path]:
        """All files that the clip is made from."""
        named = [path for path in (self.video, self.image, self.last_image) if path is not None]
        return named + (self.reference.files if self.reference else [])

    @property
    def indices(self) -> list[int]:
        """The numbers of the frames that are read."""
        return [self.start] if self.still else [self.start + i * self.stride for i in range(self.frames)]


@dataclass(frozen=True)
class FrameScaling:
    """The size that every frame is brought to, and how; the fields of `Protocol`."""

    resize: Resize = "none"
    height: int | None = None
    width: int | None = None
    antialias: bool = False

    @staticmethod
    def of(protocol: Protocol) -> FrameScaling:
        """What the protocol says."""
        return FrameScaling(protocol.resize, protocol.height, protocol.width, protocol.antialias)


@dataclass(frozen=True, kw_only=True)
class ReferencedClip(LoadedClip):
    """A clip together with the frames that it should have: uint8 (t, H, W, 3), of the same shape as its own."""

    reference: Tensor


@dataclass(frozen=True)
class FileFacts:
    """Frames of a file, and their rate; None where the file has none, as folders and arrays."""

    num_frames: int
    fps: float | None


def load_clip(spec: ClipSpec, scaling: FrameScaling) -> LoadedClip:
    """The frames of `spec` at the size of `scaling`, with its images. Raises `ValueError` for what cannot be read."""
    frames, rate = _read_frames(spec.video, spec.indices, spec.reader)  # (t, H, W, 3)
    rate = spec.fps or rate
    frames = resize_frames(frames, scaling)
    size = (frames.shape[1], frames.shape[2])
    image, last_image = (
        None if path is None else _read_image(path, scaling, size) for path in (spec.image, spec.last_image)
    )
    if spec.still:
        frames = (frames[0] if image is None else image).expand(spec.frames, -1, -1, -1).contiguous()
    fps = None if rate is None else rate / spec.stride
    if spec.reference is None:
        return LoadedClip(frames, fps, spec.prompt, image, last_image)
    expected = load_clip(spec.reference, scaling).frames
    if expected.shape != frames.shape:
        raise ClipFileError(
            f"{spec.video}: {_shape(frames)} frames cannot be compared with {_shape(expected)} "
            f"of {spec.reference.video}"
        )
    return ReferencedClip(frames, fps, spec.prompt, image, last_image, reference=expected)


def has_rate(path: Path) -> bool:
    """Whether this kind of file holds its frames per second: videos do, folders of frames and arrays do not."""
    return not path.is_dir() and path.suffix.lower() not in ARRAY_SUFFIXES


def inspect_file(path: Path) -> FileFacts:
    """How many frames there are. Raises `ValueError` for what is no video."""
    if path.is_dir():
        return FileFacts(len(_frame_files(path)), None)
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return FileFacts(len(_open_array(path)), None)
    with VideoReader(path) as reader:
        _check_whole(reader)
        return FileFacts(reader.num_frames, reader.fps)


def resize_frames(frames: Tensor, scaling: FrameScaling) -> Tensor:
    """uint8 (t, H, W, 3) to the size of `scaling`, bilinear, rounded to uint8; unchanged where they have it."""
    if scaling.height is None or scaling.width is None or scaling.resize == "none":
        return frames
    target, source = (scaling.height, scaling.width), (frames.shape[1], frames.shape[2])
    if source == target:
        return frames
    scaled = covering_size(source, target) if scaling.resize == "crop" else target
    planes = frames.permute(0, 3, 1, 2).float()  # (t, 3, H, W)
    if scaled != source:
        planes = F.interpolate(planes, scaled, mode="bilinear", align_corners=False, antialias=scaling.antialias)
    top, left = round((scaled[0] - target[0]) / 2), round((scaled[1] - target[1]) / 2)
    planes = planes[..., top : top + target[0], left : left + target[1]]
    return planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _shape(frames: Tensor) -> str:
    return f"{frames.shape[0]} {frames.shape[1]}x{frames.shape[2]}"


def _read_image(path: Path, scaling: FrameScaling, size: tuple[int, int]) -> Tensor:
    """uint8 (H, W, 3) at the size of the frames; cut to their shape where the protocol keeps the sizes of files."""
    pixels = torch.from_numpy(np.array(load_image(path).convert("RGB")))[None]  # (1, h, w, 3)
    how = "crop" if scaling.resize == "none" else scaling.resize
    return resize_frames(pixels, FrameScaling(how, *size, antialias=scaling.antialias))[0]


def _read_frames(path: Path, indices: Sequence[int], backend: Backend) -> tuple[Tensor, float | None]:
    """Frames (t, H, W, 3) uint8 and the file's rate."""
    if path.is_dir():
        return _read_folder(path, indices), None
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return _read_array(path, indices), None
    with open_video(path, backend=backend, conversion="accurate") as reader:
        _check_whole(reader)
        _check_length(path, reader.num_frames, indices)
        return reader.read(indices), reader.fps


def _check_length(path: Path, there: int, indices: Sequence[int]) -> None:
    if max(indices) >= there:
        raise ClipFileError(
            f"{path}: has {counted(there, 'frame')}, the clip needs frames {min(indices)} to {max(indices)}"
        )


def _check_whole(reader: FrameReader) -> None:
    if reader.lost_frames:
        announced = reader.num_frames + reader.lost_frames
        raise ClipFileError(
            f"{reader.path}: cut off, its header announces {announced} frames and it has {reader.num_frames}"
        )


def _frame_files(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    if not names:
        raise ClipFileError(f"{folder}: holds no frames (looked for {' '.join(IMAGE_SUFFIXES)})")
    return natural_order(names)


def _read_folder(folder: Path, indices: Sequence[int]) -> Tensor:
    names = _frame_files(folder)
    _check_length(folder, len(names), indices)
    images = [np.array(load_image(folder / names[index]).convert("RGB")) for index in indices]
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        listed = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise ClipFileError(f"{folder}: its frames have different sizes ({listed})")
    return torch.from_numpy(np.stack(images))


def _read_array(path: Path, indices: Sequence[int]) -> Tensor:
    array = _open_array(path)
    _check_length(path, len(array), indices)
    frames = np.array(array[list(indices)])
    if frames.dtype != np.uint8:
        if not bool(((frames >= 0) & (frames <= 1)).all()):
            raise ClipFileError(f"{path}: floats should lie in [0, 1]; values outside, or not finite, were found")
        frames = np.rint(frames.astype(np.float64) * 255).astype(np.uint8)
    return torch.from_numpy(frames)


def _open_array(path: Path) -> np.ndarray:
    """An array of the right shape and kind; an .npy is not read but mapped."""
    try:
        array = read_array(path, "video", alone=True)
    except ArrayFileError as error:
        raise ClipFileError(str(error)) from error
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ClipFileError(f"{path}: should be (t, H, W, 3), it is {array.shape}")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise ClipFileError(f"{path}: should be uint8 or float, it is {array.dtype}")
    return array


__getattr__ = renamed_names(__name__, {"Picture": "FrameScaling"})
