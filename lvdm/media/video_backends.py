"""What decodes video files: PyAV, or torchcodec where it is installed. One is chosen by name, never silently."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from lvdm.media.torchcodec_reader import TorchCodecReader
from lvdm.media.video_reader import VideoReader
from lvdm.suggestions import suggest

Backend = Literal["pyav", "torchcodec"]
"""The names that a configuration may give. They return identical frames, to the bit (measured on mp4, mkv and webm);
torchcodec refuses files without times (avi, raw H.264) and some with open groups of pictures (GOP)."""

Reader = VideoReader | TorchCodecReader
"""One open video; both have the attributes and methods of `VideoReader`."""


def open_video(path: str | Path, data: bytes | None = None, backend: Backend = "pyav") -> Reader:
    """Open a video file to train on, or with `data` its content (`path` then only names it). Raises `VideoError`."""
    if backend == "pyav":
        return VideoReader(path, data, "fast")
    if backend == "torchcodec":
        return TorchCodecReader(path, data)
    raise ValueError(f"unknown video reader {backend!r}; {suggest(backend, get_args(Backend))}")
