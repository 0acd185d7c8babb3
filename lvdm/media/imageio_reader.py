"""Videos by imageio, which takes PyAV for them: exact, and slow where few frames are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
from imageio.core.v3_plugin_api import PluginV3

from lvdm.media.frame_reader import ForeignReader
from lvdm.media.presentation import upright_frame
from lvdm.media.video_reader import VideoError, VideoReader


class ImageioReader(ForeignReader):
    """Frames of one video file by their number, decoded through imageio.

    Its seeking goes by the rate in the header, which finds other frames where times are uneven, and its frames say no
    times. So they are counted from the first one on; the first reading goes to the end, to know that none is missing.
    """

    name = "imageio"

    def __init__(self, path: str | Path, data: bytes | None = None) -> None:
        self._file: PluginV3 | None = None
        super().__init__(path, data)
        self._source = self.path.absolute() if data is None else data
        self._frames: Iterator[np.ndarray] = iter(())
        self._position = 0
        self._known_whole = False

    def check(self, facts: VideoReader) -> None:
        """Raise `VideoError` for transparent files, which imageio lays on black; the rest is made upright here."""
        if facts.has_opacity:
            raise self.refused("it is transparent")
        self._presentation = facts.presentation

    def decode(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames with these numbers, uint8 (H, W, 3) each."""
        wanted = set(numbers)
        try:
            if self._file is None or numbers[0] < self._position:
                self._restart()
            while not self._known_whole or self._position <= numbers[-1]:
                frame = next(self._frames, None)
                if frame is None:
                    break
                self._position += 1
                if self._position - 1 in wanted:
                    yield upright_frame(frame, self._presentation)
        except (av.FFmpegError, OSError, RuntimeError) as error:
            raise VideoError(f"{self.path}: damaged ({str(error).splitlines()[0]})") from error
        if not self._known_whole and self._position != self.num_frames:
            raise VideoError(f"{self.path}: only {self._position} of {self.num_frames} frames can be decoded")
        self._known_whole = True

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()  # collects garbage of the whole process, twice: not to be called for each reading
            self._file = None

    def _restart(self) -> None:
        self.close()
        file = iio.imopen(self._source, "r", plugin="pyav")
        assert isinstance(file, PluginV3)
        self._file, self._position = file, 0
        self._frames = iter(file.iter(format="rgb24", thread_type="SLICE", thread_count=1))
