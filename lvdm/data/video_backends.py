"""What decodes video files: PyAV, or torchcodec where it is installed. One is chosen by name, never silently."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from lvdm.data.torchcodec_reader import TorchCodecReader
from lvdm.data.video_reader import VideoReader

Backend = Literal["pyav", "torchcodec"]
"""The names that a configuration may give. Both count the same frames and times and decode the same pictures, but they
turn YUV into RGB differently (torchcodec does not interpolate colour between pixels), so their pixels differ."""

Reader = VideoReader | TorchCodecReader
"""One open video; both have the attributes and methods of `VideoReader`."""


def open_video(path: str | Path, data: bytes | None = None, backend: Backend = "pyav") -> Reader:
    """Open a video file, or with `data` its content (`path` then only names it). Raises `VideoError`."""
    if backend == "pyav":
        return VideoReader(path, data)
    if backend == "torchcodec":
        return TorchCodecReader(path, data)
    raise ValueError(f"unknown video reader {backend!r}, choose from {', '.join(get_args(Backend))}")
