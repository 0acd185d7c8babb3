"""The one way in to video files: containers that hold their own frames, and never a reference to something else.

FFmpeg decides by the content of a file, not by its name, what it is. A playlist, a concat script or a session
description named holiday.mp4 makes it open the files and the addresses in it. So the containers are a fixed list, and
none of these leads anywhere else: QuickTime's external references are ignored (`enable_drefs`), and no protocol but the
plain file is known. A name is always a file: without `file:` before it, FFmpeg takes 12:30.mp4 for a protocol.
"""

from __future__ import annotations

import io
from pathlib import Path

import av

from lvdm.errors import UserError
from lvdm.media.animated_webp import WebpError, as_container

CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2"),  # one demuxer with six names, each of which counts
    *("matroska", "webm", "avi", "gif", "apng", "flv", "asf", "ogg", "mpegts", "mpeg", "mpegvideo", "mxf"),
    *("nut", "ivf", "dv", "m4v", "h264", "hevc", "obu", "av1", "yuv4mpegpipe"),
)
"""FFmpeg's names of the containers that are opened."""

SOUND_CONTAINERS = (*CONTAINERS, "wav", "w64", "aiff", "flac", "mp3", "aac")
"""The same where sound is wanted."""


class ContainerError(UserError):
    """A file that is no video which holds its own frames; the message is the reason, without the file's name."""


def open_container(
    path: str | Path, data: bytes | None = None, ignore_edits: bool = False, sound: bool = False
) -> av.container.InputContainer:
    """Open a video file, or with `data` its content. Raises `ContainerError`; what it names or refers to stays shut.

    `ignore_edits` reads frames that QuickTime's edit list cuts away, for files whose list is nonsense; `sound` opens
    files of sound alone, too. WebP is opened as `readable_content` has it.
    """
    data = readable_content(path, data)
    known = ",".join(SOUND_CONTAINERS if sound else CONTAINERS)
    options = {"format_whitelist": known, "enable_drefs": "0", "ignore_editlist": str(int(ignore_edits))}
    try:
        if data is None:
            return av.open(f"file:{path}", mode="r", options={**options, "protocol_whitelist": "file"})
        return av.open(io.BytesIO(data), mode="r", options={**options, "protocol_whitelist": "none"})
    except av.ArgumentError as error:
        raise ContainerError("of a kind that is not opened, such as a playlist; give mp4, mov, mkv or webm") from error
    except (av.FFmpegError, OSError) as error:
        raise ContainerError(reason_of(error)) from error


def readable_content(path: str | Path, data: bytes | None = None) -> bytes | None:
    """`data`, or for a WebP, which FFmpeg does not read, the same frames in a container that it does.

    Whoever opens a file several times asks once. Raises `ContainerError`.
    """
    try:
        return as_container(path, data) or data
    except (WebpError, OSError) as error:
        raise ContainerError(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system says, without the file's name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
