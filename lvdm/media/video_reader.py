"""Exact random access to the frames of a video file, in presentation order.

Opening reads the packets (not the frames) of the file once, so that the number of frames and their times are facts
and not claims of the header; reading seeks to the key frame before each frame read and decodes from there.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
import numpy as np

from lvdm.declaration.values import MAX_FPS, MIN_FPS
from lvdm.errors import UserError, counted
from lvdm.media.containers import ContainerError, open_container, readable_content, reason_of
from lvdm.media.decoded_frames import Conversion, alpha_decoder, has_opacity, presentation_of, shown_frame, transfer_of
from lvdm.regular_files import unreadable_reason

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_CUT_OFF = 0.9
"""A file with less than this part of the frames that its header announces (which may round) was cut off."""

_SEEK_GAP = 16
"""Decoding on is cheaper than seeking when the next key frame is this close (frames)."""

_EVEN = 0.05
"""Times between frames that differ by less than this part come from rounding or jitter, not from another rate."""

_HIDDEN_PACKET_CODECS = frozenset({"vp8"})
"""Codecs with packets that show no frame: their frames are counted by decoding."""

_UNTIMED_FORMATS = frozenset({"avi"})
"""Formats that store no presentation times, although their packets seem to carry some."""

_MAX_PIXELS = 100_000_000
"""Larger frames are refused from the header, as images are."""


class VideoError(UserError):
    """A video that cannot be read; the message names the file and the reason."""


class VideoReader:
    """Frames of one video file by their number; a context manager.

    With `data`, the file's content, nothing is read from the disk and `path` is only its name in messages.
    `conversion` says how frames become RGB. `num_frames` is exact; `fps` is the average over the whole file;
    `height` and `width` are those of the frame as shown: upright, with square pixels (`presentation`).
    `has_open_groups`: frames behind a key frame are shown before it; `has_opacity`: they are laid on white;
    `transfer`: HDR, shown as on an ordinary screen; `is_converted`: WebP, which other libraries read otherwise.
    Of a damaged file what is there is read; `lost_frames` of those that its header announces are not.
    Raises `VideoError` when the file is not a readable video.
    """

    def __init__(self, path: str | Path, data: bytes | None = None, conversion: Conversion = "accurate") -> None:
        self.path = Path(path)
        self._data = data
        self._conversion = conversion
        self._ignore_edits = False
        check_video_file(self.path, data)
        self._container = self._open(first=True)
        try:
            self._scan()
            if self.num_frames == 1 < self._stream.frames:  # an edit list or a clock that is nonsense
                self._container.close()
                self._ignore_edits = True
                self._container = self._open()
                self._scan()
            first = next(self._decode(0), None)
            if first is None:
                raise VideoError(f"{self.path}: no frame can be decoded, the file is damaged or incomplete")
            self.presentation = presentation_of(self._stream, first[1], self.path)
            self.has_opacity = has_opacity(self._stream, first[1])
            self.transfer = transfer_of(first[1])
            self._stored = first[1].height, first[1].width
            self.height, self.width = self.presentation.shown_size(*self._stored)
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
                raise IndexError(
                    f"{self.path}: there is no frame {index}, the video has {counted(self.num_frames, 'frame')}"
                )
        shape = (self.height, self.width) if height is None or width is None else (height, width)
        frames = dict[int, np.ndarray]()
        for number, frame in self._select(sorted(set(indices))):
            same = height is None and (frame.height, frame.width) == self._stored
            frames[number] = shown_frame(frame, self.presentation, self._conversion, *((0, 0) if same else shape))
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

    def _open(self, first: bool = False) -> av.container.InputContainer:
        try:
            if first:
                content = readable_content(self.path, self._data)
                self.is_converted, self._data = content is not self._data, content
            container = open_container(self.path, self._data, self._ignore_edits)
        except ContainerError as error:
            raise VideoError(f"{self.path}: not a readable video ({error})") from error
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            container.close()
            raise VideoError(f"{self.path}: holds no video stream")
        if stream.codec_context is None:  # of an empty track, whose codec nothing says
            container.close()
            raise VideoError(f"{self.path}: the video stream holds no frames")
        size = stream.codec_context.width, stream.codec_context.height
        if size[0] * size[1] > _MAX_PIXELS:
            container.close()
            raise VideoError(f"{self.path}: its frames are {size[0]}x{size[1]}, more than {_MAX_PIXELS / 1e6:.0f} MP")
        self._stream, self._alpha = stream, alpha_decoder(stream)
        return container

    def _scan(self) -> None:
        """Set `num_frames`, `fps` and the index of presentation times.

        `_times` is None where packets do not say which frames there are; frames are then found by counting.
        """
        self._times: list[int] | None = None
        self._key_times: list[int] = []
        self.has_open_groups = False
        times, count = list[int | None](), 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:  # the flush packet at the end
                    continue
                if packet.is_keyframe and packet.pts is not None:
                    self._key_times.append(packet.pts)
                elif self._key_times and packet.pts is not None and packet.pts < self._key_times[-1]:
                    self.has_open_groups = True
                count += 1
                if not packet.is_discard:  # cut away by an edit list: needed to decode others, never shown
                    times.append(packet.pts)
        except av.FFmpegError as error:
            if not times:
                raise VideoError(f"{self.path}: damaged ({reason_of(error)})") from error
            whole = counted(len(times), "frame")
            logger.warning("%s: damaged after %s, to where it is read (%s)", self.path, whole, reason_of(error))
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
        rate = self._measured_rate(sorted(known) if self._times is None else self._times)
        self.fps = self._usable_rate(rate)
        announced, there = self._announced_frames(rate), max(count, self.num_frames)
        cut_off = announced - there if there < _CUT_OFF * announced - 1 else 0
        self.lost_frames = max(cut_off, self._frames_without_data(count))
        if self._times is not None and len(known) > self.num_frames:
            logger.warning(
                "%s: %s before the first key frame cannot be decoded, and are left out",
                *(self.path, counted(len(known) - self.num_frames, "frame")),
            )
        if self.lost_frames:
            logger.warning(
                "%s: is cut off or damaged: read are %s, and %d more that its header announces are lost",
                *(self.path, counted(self.num_frames, "frame"), self.lost_frames),
            )

    def _measured_rate(self, times: list[int]) -> Fraction | None:
        if len(times) < 2 or times[-1] <= times[0] or not self._stream.time_base:
            return None
        return (len(times) - 1) / ((times[-1] - times[0]) * self._stream.time_base)

    def _usable_rate(self, measured: Fraction | None) -> float:
        """Frames per second by the times; where these are absurd, by the header, and 1 where that is as well."""
        rates = (measured, self._stream.average_rate, self._stream.guessed_rate)
        usable = [float(rate) for rate in rates if rate is not None and MIN_FPS <= rate <= MAX_FPS]
        if not usable:
            logger.warning("%s: has no usable times, it is taken for 1 frame per second", self.path)
        return usable[0] if usable else 1.0

    def _announced_frames(self, measured: Fraction | None) -> int:
        """As many frames as fill the length in the header, or their number where it holds no length; else 0."""
        stream, container = self._stream, self._container
        if measured is not None and stream.duration and stream.time_base:
            return round(stream.duration * stream.time_base * measured)
        alone = len(container.streams) == 1  # sound may be longer
        if measured is not None and alone and container.duration:
            return round(container.duration * measured / av.time_base)
        return stream.frames

    def _frames_without_data(self, packets: int) -> int:
        """How many frames of an MP4's table are not there. Those that an edit list leaves out are, and count."""
        listed = self._stream.frames if "mp4" in self._container.format.name else 0
        if listed <= packets:
            return 0
        with open_container(self.path, self._data, ignore_edits=True) as whole, contextlib.suppress(av.FFmpegError):
            there = 0
            for packet in whole.demux(self._stream.index):
                there += packet.size > 0
        return max(listed - there, 0)

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
            if position != number or frame.is_corrupt:
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
                for frame in self._frames_of(packet):
                    number = count if self._times is None else self._number_of(frame)
                    count += 1
                    if number is not None:
                        yield number, frame
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged ({reason_of(error)})") from error

    def _frames_of(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        """The frames that come out when `packet` goes in; none for a damaged one."""
        try:
            if self._alpha is not None:
                yield from self._alpha.decode(packet if packet.size else None)
                return
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                yield frame
        except av.InvalidDataError:
            return  # the frame's number is missing, which is an error where it is asked for

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
    reason = None if data is not None else unreadable_reason(path)
    if reason is not None:
        raise VideoError(f"{path}: {reason}")
    if not data if data is not None else path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
