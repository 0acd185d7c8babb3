"""Exact random access to the frames of a video file, in presentation order.

Opening reads the packets (not the frames) of the file once, so that the number of frames and their times are facts
and not claims of the header; reading seeks to the key frame before each frame read and decodes from there.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import av
import numpy as np

from lvdm.errors import UserError
from lvdm.media.containers import ContainerError, open_container, reason_of

if TYPE_CHECKING:
    from torch import Tensor

_SEEK_GAP = 16
"""Decoding on is cheaper than seeking when the next key frame is this close (frames)."""

_EVEN = 0.05
"""Times between frames that differ by less than this part come from rounding or jitter, not from another rate."""

_HIDDEN_PACKET_CODECS = frozenset({"vp8"})
"""Codecs with packets that show no frame: their frames are counted by decoding."""

_UNTIMED_FORMATS = frozenset({"avi"})
"""Formats that store no presentation times, although their packets seem to carry some."""

_HD_LINES = 720
"""Players take untagged video with at least so many lines as BT.709, and smaller video as BT.601."""

_SCALER = 0x4 | 0x2000 | 0x40000
"""swscale's flags bicubic, full chroma interpolation, accurate rounding: without them frames turn 1 level darker."""

_FAST_SCALER = 0x4
"""swscale's plain bicubic: what it does to colours by default, and so what decord and torchcodec do."""

Conversion = Literal["accurate", "fast"]
"""How frames become RGB.

accurate  colour is interpolated between pixels, sums are rounded, untagged HD is taken for BT.709: what a player shows
fast      none of these: 1 level darker, coarser at the edges of colours; what the released models were trained on
"""

_UNSPECIFIED = 2
"""The colour space code of video without one of its own (ITU-T H.273, table 4)."""


class VideoError(UserError):
    """A video that cannot be read; the message names the file and the reason."""


class VideoReader:
    """Frames of one video file by their number; a context manager.

    With `data`, the file's content, nothing is read from the disk and `path` is only its name in messages.
    `conversion` says how frames become RGB. `num_frames` is exact; `fps` is the average over the whole file;
    `height` and `width` are those of the frame as shown, after the rotation that phones store beside it
    (`rotation`, in degrees). `has_open_groups`: frames behind a key frame are shown before it.
    Raises `VideoError` when the file is not a readable video.
    """

    def __init__(self, path: str | Path, data: bytes | None = None, conversion: Conversion = "accurate") -> None:
        self.path = Path(path)
        self._data = data
        self._conversion = conversion
        check_video_file(self.path, data)
        self._container = self._open()
        try:
            self._scan()
            first = next(self._decode(0), None)
            if first is None:
                raise VideoError(f"{self.path}: no frame can be decoded, the file is damaged or incomplete")
            self.height, self.width = _to_rgb(first[1], conversion).shape[:2]
            self.rotation = first[1].rotation
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_frames

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, indices: Sequence[int], height: int | None = None, width: int | None = None) -> Tensor:
        """Frames `indices`, in the order asked for, as uint8 (n, H, W, 3), scaled to `height` x `width` if given.

        Raises `VideoError` if a frame cannot be decoded, IndexError if there is no such frame.
        """
        import torch  # places and formats of videos are checked without

        if (height is None) != (width is None):
            raise ValueError(f"give both height and width or neither, got height={height}, width={width}")
        for index in indices:
            if not 0 <= index < self.num_frames:
                raise IndexError(f"{self.path}: there is no frame {index}, the video has {self.num_frames} frames")
        shape = (self.height, self.width) if height is None or width is None else (height, width)
        frames: dict[int, np.ndarray] = {}
        for number, frame in self._select(sorted(set(indices))):
            frames[number] = _to_rgb(frame, self._conversion, *shape)
        if not frames:
            return torch.empty((0, *shape, 3), dtype=torch.uint8)
        return torch.from_numpy(np.stack([frames[index] for index in indices]))

    @property
    def has_times(self) -> bool:
        """Whether the packets say when each frame is shown; without that, frames are found by counting."""
        return self._times is not None

    @property
    def has_variable_rate(self) -> bool:
        """Whether frames are shown for times that differ by more than rounding; False where the file has no times."""
        if self._times is None or len(self._times) < 3:
            return False
        lengths = [after - before for before, after in itertools.pairwise(self._times)]
        return max(lengths) - min(lengths) > max(2, _EVEN * min(lengths))

    def decode_all(self) -> None:
        """Decode every frame, without turning it into RGB. Raises `VideoError` for the first damaged or missing one."""
        decoded = -1
        for number, frame in self._decode(0):
            if frame.is_corrupt or number != decoded + 1:
                raise VideoError(f"{self.path}: frame {decoded + 1} of {self.num_frames} is damaged")
            decoded = number
        if decoded + 1 != self.num_frames:
            raise VideoError(f"{self.path}: only {decoded + 1} of {self.num_frames} frames can be decoded")

    def _open(self) -> av.container.InputContainer:
        try:
            container = open_container(self.path, self._data)
        except ContainerError as error:
            raise VideoError(f"{self.path}: not a readable video ({error})") from error
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            container.close()
            raise VideoError(f"{self.path}: holds no video stream")
        self._stream = stream
        return container

    def _scan(self) -> None:
        """Set `num_frames`, `fps` and the index of presentation times.

        `_times` is None where packets do not say which frames there are; frames are then found by counting.
        """
        self._times: list[int] | None = None
        self._key_times: list[int] = []
        self.has_open_groups = False
        times: list[int | None] = []
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:  # the flush packet at the end
                    continue
                if packet.is_keyframe and packet.pts is not None:
                    self._key_times.append(packet.pts)
                elif self._key_times and packet.pts is not None and packet.pts < self._key_times[-1]:
                    self.has_open_groups = True
                if not packet.is_discard:  # cut away by an edit list: needed to decode others, never shown
                    times.append(packet.pts)
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged after {len(times)} frames ({reason_of(error)})") from error
        if not times:
            raise VideoError(f"{self.path}: the video stream holds no frames")
        known = [time for time in times if time is not None]
        trusted = (
            self._stream.codec_context.name not in _HIDDEN_PACKET_CODECS
            and self._container.format.name not in _UNTIMED_FORMATS
        )
        if trusted and len(set(known)) == len(times) and self._key_times:
            start = self._key_times[0]  # nothing shown before the first key frame can be decoded
            self._times = sorted(time for time in known if time >= start)
            self._key_times.sort()
            self.num_frames = len(self._times)
        else:
            self.num_frames = sum(1 for _ in self._decode(0))
        self.fps = self._average_fps(sorted(known) if self._times is None else self._times)

    def _average_fps(self, times: list[int]) -> float:
        if len(times) > 1 and times[-1] > times[0] and self._stream.time_base:
            return float((len(times) - 1) / ((times[-1] - times[0]) * self._stream.time_base))
        return float(self._stream.average_rate or 1)

    def _select(self, indices: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames `indices` (ascending, unique) with their numbers."""
        frames: Iterator[tuple[int, av.VideoFrame]] = iter(())
        position: int | None = None
        for number in indices:
            if position is None or self._key_before(number) - position > _SEEK_GAP:
                frames = self._decode(self._key_before(number))
            for position, frame in frames:  # noqa: B007
                if position >= number:
                    break
            else:
                position = None
            if position != number:
                raise VideoError(f"{self.path}: frame {number} of {self.num_frames} cannot be decoded, it is damaged")
            yield number, frame

    def _key_before(self, number: int) -> int:
        """The number of the last shown key frame at or before frame `number`; 0 without an index."""
        if self._times is None:
            return 0
        key = self._key_times[max(bisect.bisect_right(self._key_times, self._times[number]) - 1, 0)]
        return bisect.bisect_left(self._times, key)

    def _decode(self, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their numbers, from the key frame `start` on (or earlier, where the format seeks badly)."""
        try:
            if self._times is None or start == 0:
                self._container.close()
                self._container = self._open()
                packets = self._container.demux(self._stream)
            else:
                packets = self._seek(self._times[start])
            count = 0
            for packet in packets:
                for frame in packet.decode():
                    assert isinstance(frame, av.VideoFrame)
                    number = count if self._times is None else self._number_of(frame)
                    count += 1
                    if number is not None:
                        yield number, frame
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged ({reason_of(error)})") from error

    def _seek(self, time: int) -> Iterator[av.Packet]:
        """Packets from the key frame shown at `time`, or from an earlier one."""
        self._container.seek(time, stream=self._stream)
        packets = self._container.demux(self._stream)
        first = next(packets)
        if first.pts is None or first.pts > time:  # some formats land behind: begin again
            self._container.close()
            self._container = self._open()
            yield from self._container.demux(self._stream)
            return
        yield first
        yield from packets

    def _number_of(self, frame: av.VideoFrame) -> int | None:
        assert self._times is not None
        if frame.pts is None:
            return None
        number = bisect.bisect_left(self._times, frame.pts)
        return number if number < len(self._times) and self._times[number] == frame.pts else None


def check_video_file(path: Path, data: bytes | None) -> None:
    """Raise `VideoError` for what cannot be a video, before a decoder sees it: missing, a folder, empty."""
    if data is not None:
        if not data:
            raise VideoError(f"{path}: the file is empty")
        return
    if not path.exists():
        raise VideoError(f"{path}: there is no such file")
    if path.is_dir():
        raise VideoError(f"{path}: is a folder, not a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")


def _to_rgb(
    frame: av.VideoFrame, conversion: Conversion, height: int | None = None, width: int | None = None
) -> np.ndarray:
    """uint8 (H, W, 3) as shown: colours by the file's tags, turned upright, scaled if a size is given."""
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    if turns % 2:
        height, width = width, height
    untagged_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_LINES
    converted = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace="ITU709" if untagged_hd and conversion == "accurate" else None,
        interpolation=_SCALER if conversion == "accurate" else _FAST_SCALER,
    )
    return np.ascontiguousarray(np.rot90(converted.to_ndarray(), turns))
