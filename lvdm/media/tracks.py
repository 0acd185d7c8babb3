"""A finished video with further tracks: sound (AAC) and subtitles (mov_text). Its frames are not encoded again."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lvdm.media.atomic import OutputError, output_error
from lvdm.media.containers import open_container
from lvdm.media.sound import RATE

_MILLISECONDS = Fraction(1, 1000)
_BLOCK = 1024
"""Samples of a frame of AAC."""


def add_tracks(
    video: Path, path: Path, sound: np.ndarray | None, subtitles: Sequence[tuple[float, float, str]] = ()
) -> None:
    """Write the mp4 `video` to `path` with `sound`, float32 (n, 2) at `RATE`, and `subtitles` (start, end, text).

    Seconds count from the first frame. Raises `OutputError`, also where this PyAV cannot write subtitles.
    """
    if subtitles:
        check_subtitles()
    try:
        with open_container(video) as source, av.open(f"file:{path}", "w", format="mp4", options=_OPTIONS) as target:
            video_stream = target.add_stream_from_template(source.streams.video[0])
            sound_stream = None if sound is None else target.add_stream("aac", rate=RATE, layout="stereo")
            text_stream = target.add_mux_stream("mov_text", time_base=_MILLISECONDS) if subtitles else None
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = video_stream
                    target.mux(packet)
            if sound is not None and sound_stream is not None:
                assert isinstance(sound_stream, av.AudioStream)
                _mux_sound(target, sound_stream, sound)
            if text_stream is not None:
                _mux_subtitles(target, text_stream, subtitles)
    except av.FFmpegError as error:
        raise output_error(path, error) from error


def check_subtitles() -> None:
    """Raise `OutputError` where subtitle tracks cannot be written."""
    if not hasattr(av.container.OutputContainer, "add_mux_stream"):
        raise OutputError(f"PyAV {av.__version__} cannot write subtitle tracks; install PyAV 17, or burn captions in")


_OPTIONS = {"fflags": "+bitexact", "movflags": "+faststart"}


def _mux_sound(target: av.container.OutputContainer, stream: av.AudioStream, sound: np.ndarray) -> None:
    for begin in range(0, len(sound), _BLOCK):
        part = np.ascontiguousarray(sound[begin : begin + _BLOCK], np.float32)
        frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="flt", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))


def _mux_subtitles(
    target: av.container.OutputContainer, stream: av.stream.Stream, subtitles: Sequence[tuple[float, float, str]]
) -> None:
    """Samples of 3GPP timed text: two bytes of length and the text; an empty one between two that do not touch."""
    shown = 0
    for start, end, text in subtitles:
        begin, stop = round(start * 1000), round(end * 1000)
        if begin > shown:
            _mux_text(target, stream, "", shown, begin)
        _mux_text(target, stream, text, begin, stop)
        shown = stop


def _mux_text(target: av.container.OutputContainer, stream: av.stream.Stream, text: str, start: int, end: int) -> None:
    coded = text.encode("utf-8")
    packet = av.Packet(len(coded).to_bytes(2, "big") + coded)
    packet.stream, packet.time_base = stream, _MILLISECONDS
    packet.pts = packet.dts = start
    packet.duration = end - start
    packet.is_keyframe = True
    target.mux(packet)
