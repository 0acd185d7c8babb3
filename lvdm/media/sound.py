"""Sound files to samples, and several of them mixed: 48 kHz stereo, float in [-1, 1]."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from lvdm.errors import UserError
from lvdm.media.containers import ContainerError, open_container, reason_of
from lvdm.regular_files import unreadable_reason

RATE = 48_000
"""Samples per second."""
MAX_SECONDS = 3600.0
"""What is longer is cut before it is held."""


class SoundError(UserError):
    """A file without sound that can be read; the message names it and the reason."""


def probe_sound(path: Path) -> float:
    """Seconds of the sound in a file, of which a little is decoded; 0 where it does not say. Raises `SoundError`."""
    with _open(path) as container:
        stream = container.streams.audio[0]
        try:
            if next(container.decode(stream), None) is None:
                raise SoundError(f"{path}: its sound is empty; give another file")
        except av.FFmpegError as error:
            raise SoundError(f"{path}: its sound is damaged ({reason_of(error)}); save it again") from error
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return 0.0 if container.duration is None else container.duration / av.time_base


def read_sound(path: Path, seconds: float) -> np.ndarray:
    """The first seconds of the sound in a file, float32 (n, 2); fewer where it is shorter. Raises `SoundError`."""
    most = round(min(seconds, MAX_SECONDS) * RATE)
    parts, count = list[np.ndarray](), 0
    with _open(path) as container:
        stream = container.streams.audio[0]
        channels = min(stream.codec_context.channels, 2)  # FFmpeg would make one channel softer on its way to two
        resampler = av.AudioResampler(format="flt", layout="mono" if channels == 1 else "stereo", rate=RATE)
        try:
            for frame in itertools.chain(container.decode(stream), [None]):
                if frame is not None:
                    frame.pts = None
                for resampled in resampler.resample(frame):
                    parts.append(resampled.to_ndarray().reshape(-1, channels))
                    count += len(parts[-1])
                if count >= most:
                    break
        except av.FFmpegError as error:
            raise SoundError(f"{path}: its sound is damaged ({reason_of(error)}); save it again") from error
    samples = np.concatenate([*parts, np.zeros((0, channels), np.float32)])[:most].astype(np.float32)
    return np.broadcast_to(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), (len(samples), 2))


def mix(sounds: Iterable[tuple[np.ndarray, float, float]], seconds: float) -> np.ndarray:
    """The sum of samples (n, 2) that begin at a second, times a volume: float32 (seconds x `RATE`, 2).

    What goes beyond the end is cut. A sum beyond 1 makes the whole softer, as much as it takes: nothing is clipped.
    """
    mixed = np.zeros((round(seconds * RATE), 2), np.float32)
    for samples, start, volume in sounds:
        begin = round(start * RATE)
        part = samples[: max(len(mixed) - begin, 0)]
        mixed[begin : begin + len(part)] += volume * part
    peak = float(np.abs(mixed).max(initial=0))
    return mixed / peak if peak > 1 else mixed


def _open(path: Path) -> av.container.InputContainer:
    reason = unreadable_reason(path)
    if reason is not None:
        raise SoundError(f"{path}: {reason}")
    try:
        container = open_container(path, sound=True)
    except ContainerError as error:
        raise SoundError(f"{path}: not a sound that can be read ({error})") from error
    if not container.streams.audio:
        container.close()
        raise SoundError(f"{path}: holds no sound; give a WAV, FLAC, MP3, Ogg or M4A file")
    return container
