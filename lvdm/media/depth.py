"""The depth of every frame, as people have it: a video, a folder of images, or an array in an NPZ file.

Near is large (white); unit and range do not matter, and neither does the size. What cannot be used is a `DepthError`
that names the file, before any weights are loaded.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from lvdm.declaration.values import MAX_SIDE
from lvdm.errors import UserError, counted
from lvdm.media.arrays import ArrayFileError, read_array
from lvdm.media.atomic import Together
from lvdm.media.file_names import natural_order
from lvdm.media.images import DAMAGED, FORMATS, MAX_PIXELS
from lvdm.media.video_reader import VideoReader
from lvdm.regular_files import unreadable_reason

KEY = "depth"
"""Of the array in an NPZ file."""
IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".bmp")
MAX_VALUES = 1_000_000_000
"""Of all frames together; more is taken for a mistake."""


class DepthError(UserError):
    """Depth, or a driving or guide video, that cannot be used; the message names the file, the reason and a hint."""


def read_depth(path: Path, num_frames: int, stride: int = 1) -> np.ndarray:
    """Every `stride`-th frame of the depth at `path`, float32 (num_frames, H, W). Raises `DepthError`, `VideoError`.

    There are to be exactly `num_frames` of them, all finite, and not the same everywhere.
    """
    if not path.exists():
        raise DepthError(f"{path}: there is no such file or folder")
    frames = (_of_folder if path.is_dir() else _of_file)(path, num_frames, stride)
    return _checked(path, frames)


def read_video(path: Path, num_frames: int, stride: int = 1) -> np.ndarray:
    """The first `num_frames` of every `stride`-th frame, uint8 (t, H, W, 3). Raises `DepthError`, `VideoError`.

    A shorter video is refused: the original silently repeats its first frame.
    """
    with VideoReader(path) as reader:
        count = len(range(0, reader.num_frames, stride))
        if count < num_frames:
            smaller = ", a smaller --depth-stride" if stride > 1 else ""
            raise DepthError(
                f"{path}: has {counted(reader.num_frames, 'frame')}{_every(stride)}, fewer than the {num_frames} "
                f"of the video; use --num-frames {count}{smaller}, or a longer video"
            )
        return reader.read(range(0, num_frames * stride, stride)).numpy()


def write_depth(path: Path, depth: np.ndarray, files: Together) -> None:
    """Write what the network was given, float32 (t, h, w) in [-1, 1], as an NPZ that `read_depth` reads again."""
    with files.path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, depth=depth.astype(np.float32))


def _of_file(path: Path, num_frames: int, stride: int) -> np.ndarray:
    reason = unreadable_reason(path)
    if reason is not None:
        raise DepthError(f"{path}: {reason}")
    if path.suffix.lower() == ".npz" or zipfile.is_zipfile(path):
        depth = _of_npz(path)[::stride]
        _check_length(path, len(depth), num_frames, stride)
        return depth
    with VideoReader(path) as reader:
        chosen = range(0, reader.num_frames, stride)
        _check_length(path, len(chosen), num_frames, stride)
        frames = reader.read(chosen).numpy()
    return frames.astype(np.float32).mean(axis=-1)


def _of_npz(path: Path) -> np.ndarray:
    try:
        depth = read_array(path, KEY)
    except ArrayFileError as error:
        raise DepthError(f"{error}; write it with numpy.savez(path, {KEY}=...)") from error
    if depth.ndim != 3 or depth.dtype.kind not in "fiu" or not depth.size:
        raise DepthError(
            f"{path}: `{KEY}` should be numbers (frames, height, width), it is {depth.dtype} {depth.shape}"
        )
    return depth


def _of_folder(path: Path, num_frames: int, stride: int) -> np.ndarray:
    """Images in the natural order of their names; their grey values, of 16 bits too, are the depth."""
    found = [file.name for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
    names = [path / name for name in natural_order(found)]
    if not names:
        raise DepthError(f"{path}: holds no images ({', '.join(IMAGE_SUFFIXES)}); name the folder that does")
    _check_length(path, len(names[::stride]), num_frames, stride)
    frames = [_grey(name) for name in names[::stride]]
    other = next((i for i, frame in enumerate(frames) if frame.shape != frames[0].shape), None)
    if other is not None:
        raise DepthError(f"{names[other * stride]}: is of another size than {names[0].name}; make all images alike")
    return np.stack(frames)


def _grey(path: Path) -> np.ndarray:
    reason = unreadable_reason(path)
    if reason is not None:
        raise DepthError(f"{path}: {reason}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DepthError(f"{path}: has more than {MAX_PIXELS // 10**6} megapixels; scale it down")
            grey = image if image.mode.startswith(("I", "F")) else image.convert("L")
            return np.asarray(grey, dtype=np.float32)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        if isinstance(error, DepthError):
            raise
        raise DepthError(f"{path}: is no image that can be read; save it as PNG") from error


def _check_length(path: Path, count: int, num_frames: int, stride: int) -> None:
    if count == num_frames:
        return
    if count == 1:
        raise DepthError(f"{path}: is the depth of one frame; give that of each of the {num_frames} frames")
    raise DepthError(
        f"{path}: is the depth of {counted(count, 'frame')}{_every(stride)} and the video has {num_frames}; "
        f"use --num-frames {count}, or give that of {num_frames} frames"
    )


def _checked(path: Path, depth: np.ndarray) -> np.ndarray:
    if max(depth.shape[1:]) > MAX_SIDE or depth.size > MAX_VALUES:
        raise DepthError(f"{path}: {depth.shape[2]}x{depth.shape[1]} is larger than any video here; scale it down")
    depth = depth.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(depth).all(axis=(1, 2)))
    if len(bad):
        raise DepthError(f"{path}: frame {bad[0]} holds values that are no numbers (NaN or infinite); fill them")
    if depth.min() == depth.max():
        raise DepthError(f"{path}: the depth is {depth.flat[0]:g} everywhere, which shows no structure; give another")
    return depth


def _every(stride: int) -> str:
    return "" if stride == 1 else f", of which one in {stride} counts,"
