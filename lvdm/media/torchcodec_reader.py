"""The interface of `VideoReader` on top of torchcodec, an optional dependency (`pip install torchcodec` and FFmpeg)."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import av

from lvdm.media.containers import ContainerError, open_container, reason_of
from lvdm.media.decoded_frames import has_opacity, presentation_of
from lvdm.media.frame_reader import INSTEAD, BackendError, check_indices
from lvdm.media.video_reader import VideoError, check_video_file

if TYPE_CHECKING:
    from torch import Tensor

_FINEST_CLOCK = 1_000_000
"""Times that torchcodec gives as floats are taken for multiples of one part of so many of a second, or coarser."""

_LIBRARY = "libtorchcodec"
"""Named by torchcodec's error when the library that binds it to FFmpeg cannot be loaded, and by no other."""

_NO_FFMPEG = (
    "torchcodec is installed but finds no FFmpeg libraries that it can use: install FFmpeg "
    f"(Debian and Ubuntu: apt install ffmpeg), {INSTEAD}"
)


class TorchCodecReader:
    """Frames of one video file by their number; a context manager. The attributes are those of `VideoReader`.

    Raises `BackendError` where torchcodec does not run, `VideoError` when the file is not a readable video.
    """

    def __init__(self, path: str | Path, data: bytes | None = None) -> None:
        self.path = Path(path)
        check_video_file(self.path, data)
        decoder_class = load_torchcodec()
        check_container(self.path, data)  # torchcodec has no options for what FFmpeg may open
        try:
            self._decoder: Any = decoder_class(
                str(self.path.absolute()) if data is None else data, dimension_order="NHWC"
            )
            self.num_frames = len(self._decoder)
            if not self.num_frames:
                raise VideoError(f"{self.path}: the video stream holds no frames")
            ends = self._decoder.get_frames_at([0, self.num_frames - 1])
        except (RuntimeError, IndexError) as error:
            raise VideoError(f"{self.path}: not a video that torchcodec reads ({_reason(error)})") from error
        self.height, self.width = ends.data.shape[1:3]
        self.fps = _average_fps(self.num_frames, ends.pts_seconds.tolist(), self._decoder.metadata.average_fps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_frames

    def close(self) -> None:
        """Let go of the file."""
        self._decoder = None

    def read(self, indices: Sequence[int], height: int | None = None, width: int | None = None) -> Tensor:
        """Frames `indices`, in the order asked for, as uint8 (n, H, W, 3). Scaling is not offered: it would differ."""
        if height is not None or width is not None:
            raise ValueError(f"torchcodec does not scale as PyAV does; read whole frames, {INSTEAD}")
        check_indices(self.path, indices, self.num_frames)
        if not indices:
            import torch

            return torch.empty((0, self.height, self.width, 3), dtype=torch.uint8)
        try:
            frames: Tensor = self._decoder.get_frames_at(list(indices)).data  # (n, H, W, 3)
        except RuntimeError as error:
            raise VideoError(f"{self.path}: damaged ({_reason(error)})") from error
        return frames


@functools.cache
def load_torchcodec() -> Any:
    """The class `VideoDecoder`. Raises `BackendError` where torchcodec is not installed or finds no FFmpeg."""
    try:
        decoder_class = importlib.import_module("torchcodec.decoders").VideoDecoder
    except ModuleNotFoundError as error:
        raise BackendError(f"torchcodec is not installed: pip install torchcodec, {INSTEAD}") from error
    except (ImportError, OSError, RuntimeError) as error:  # older releases look for FFmpeg here
        raise BackendError(_NO_FFMPEG) from error
    try:
        decoder_class(b"no video")
    except (RuntimeError, ValueError) as error:  # newer ones look here, and refuse the content only when they have it
        if _LIBRARY in str(error):
            raise BackendError(_NO_FFMPEG) from error
    return decoder_class


def check_container(path: Path, data: bytes | None) -> None:
    """Raise `VideoError` for what leads to other files or addresses, such as a playlist, by its content.

    Also for what torchcodec does not show as a player does: it turns frames, and neither mirrors them, nor makes their
    pixels square, nor lays them on white (torchcodec 0.17).
    """
    try:
        with open_container(path, data) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise VideoError(f"{path}: holds no video stream")
            frame = next(container.decode(stream), None)
            if frame is None:
                raise VideoError(f"{path}: no frame can be decoded, the file is damaged or incomplete")
            presentation = replace(presentation_of(stream, frame, path), turns=0)
            if not presentation.is_plain or has_opacity(stream, frame):
                what = str(presentation) or "transparent"
                raise VideoError(f"{path}: torchcodec does not show it as a player does ({what}); choose reader: pyav")
    except (ContainerError, av.FFmpegError) as error:
        reason = reason_of(error) if isinstance(error, av.FFmpegError) else error
        raise VideoError(f"{path}: not a readable video ({reason})") from error


def _average_fps(num_frames: int, times: list[float], claimed: float | None) -> float:
    """As `VideoReader` computes it, from the first and the last time, exact where the clock ticks are."""
    span = Fraction(times[-1] - times[0]).limit_denominator(_FINEST_CLOCK)
    return float((num_frames - 1) / span) if span > 0 else float(claimed or 1)


def _reason(error: Exception) -> str:
    """The first line, without the place in torchcodec's sources."""
    return re.sub(r"^.*\.cpp:\d+, ", "", (str(error).splitlines() or [type(error).__name__])[0]).strip()
