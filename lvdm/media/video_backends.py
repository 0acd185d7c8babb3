"""What decodes video files: PyAV, or another library where it runs. One is chosen by name, never silently.

All give the same frames under the same numbers. PyAV alone also converts colours accurately, finds its way in files
without times, and scales; the others give the colours of swscale's default, which training has with PyAV too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lvdm.declaration.values import Reader as Backend
from lvdm.media.decord_reader import DecordReader, load_decord
from lvdm.media.frame_reader import BackendError, FrameReader
from lvdm.media.imageio_reader import ImageioReader
from lvdm.media.torchcodec_reader import TorchCodecReader, load_torchcodec
from lvdm.media.video_reader import Conversion, VideoReader
from lvdm.suggestions import suggest

Reader = FrameReader
"""One open video, whoever decodes it."""


@dataclass(frozen=True)
class ReaderBackend:
    """One way to decode videos.

    opened    opens a file, or with data its content; the conversion is read by PyAV alone
    load      raises `BackendError` where it does not run
    notes     what it is good at, and what it refuses, in a line
    scales    whether it scales as PyAV does: the original's squeezing
    """

    opened: Callable[[str | Path, bytes | None, Conversion], FrameReader]
    load: Callable[[], object]
    notes: str
    scales: bool = False


READERS: Mapping[Backend, ReaderBackend] = MappingProxyType(
    {
        "pyav": ReaderBackend(VideoReader, lambda: None, "reads every file, with the colours that players show", True),
        "torchcodec": ReaderBackend(
            lambda path, data, _: TorchCodecReader(path, data),
            load_torchcodec,
            "for training; no files without times (avi)",
        ),
        "decord": ReaderBackend(
            lambda path, data, _: DecordReader(path, data),
            load_decord,
            "for training; no turned videos, open GOPs, files without times",
        ),
        "imageio": ReaderBackend(
            lambda path, data, _: ImageioReader(path, data),
            lambda: None,
            "reads from the beginning: slow where few frames are wanted",
        ),
    }
)
"""By the names that a configuration may give."""


def open_video(
    path: str | Path, data: bytes | None = None, backend: Backend = "pyav", conversion: Conversion = "fast"
) -> FrameReader:
    """Open a video file, or with `data` its content (`path` then only names it).

    conversion: how PyAV makes RGB; other readers make it `fast`. Raises `VideoError`, `BackendError`.
    """
    return reader_backend(backend).opened(path, data, conversion)


def reader_backend(name: str) -> ReaderBackend:
    """The reader called `name`. Raises `ValueError`."""
    found = next((reader for known, reader in READERS.items() if known == name), None)
    if found is None:
        raise ValueError(f"unknown video reader {name!r}; {suggest(name, READERS)}")
    return found


def check_reader(name: str) -> None:
    """Raise `BackendError` where the reader does not run here, and `ValueError` for a name that is none."""
    reader_backend(name).load()


def why_not(name: Backend) -> str:
    """Why the reader does not run here; "" where it does."""
    try:
        check_reader(name)
    except BackendError as error:
        return str(error)
    return ""
