"""Animated WebP, which FFmpeg does not read, as a container that it does: Pillow decodes, and nothing is lost."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from lvdm.errors import UserError
from lvdm.media.images import DAMAGED
from lvdm.media.presentation import Presentation, upright_frame
from lvdm.regular_files import open_regular

_ORIENTATION = 0x0112
"""EXIF's tag."""
_MAX_PIXELS = 2_000_000_000
"""Of all frames together; more is taken for a mistake."""


class WebpError(UserError):
    """A WebP that cannot be read; the message is the reason, without the file's name."""


def as_container(path: str | Path, data: bytes | None = None) -> bytes | None:
    """The content of a WebP, at `path` or `data`, as lossless video with its times; None for what is no WebP.

    Frames are upright and on white. Raises `WebpError`, and OSError for a file that cannot be read.
    """
    if not _is_webp(path, data):
        return None
    content = io.BytesIO(data) if data is not None else io.BytesIO(Path(path).read_bytes())
    try:
        with Image.open(content, formats=("WEBP",)) as image:
            frames = getattr(image, "n_frames", 1)
            if frames * image.width * image.height > _MAX_PIXELS:
                raise WebpError(f"{frames} frames of {image.width}x{image.height} are too many; use mp4 or webm")
            return _written(image, frames)
    except (*DAMAGED, Image.DecompressionBombError, av.FFmpegError) as error:
        if isinstance(error, WebpError):
            raise
        reason = "it cannot be decoded" if isinstance(error, UnidentifiedImageError) else str(error)
        raise WebpError(f"a damaged or incomplete WebP: {reason}") from error


def _is_webp(path: str | Path, data: bytes | None) -> bool:
    if data is None:
        with open_regular(path) as file:
            data = file.read(12)
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _written(image: Image.Image, frames: int) -> bytes:
    presentation, buffer, time = Presentation.of_exif(image.getexif().get(_ORIENTATION)), io.BytesIO(), 0
    height, width = presentation.shown_size(image.height, image.width)
    with av.open(buffer, "w", format="mov") as container:
        stream = container.add_stream("png", rate=1000)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "rgb24"
        for number in range(frames):
            image.seek(number)
            pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
            frame = av.VideoFrame.from_ndarray(upright_frame(pixels, presentation), format="rgb24")
            frame.pts = time
            container.mux(stream.encode(frame))
            time += max(int(image.info.get("duration", 100)), 1)  # milliseconds
        container.mux(stream.encode())
    return buffer.getvalue()
