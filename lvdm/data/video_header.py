"""Sizes of many video files from their headers, to sort them without decoding, and an index of these on the disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av

from lvdm.data.clip_size import ClipSize
from lvdm.data.source_files import SourceError, SourceFiles
from lvdm.documents import read_json
from lvdm.media.atomic import write_json
from lvdm.media.containers import open_container
from lvdm.media.decoded_frames import presentation_of

logger = logging.getLogger(__name__)

_VERSION = 1
_SAVE_SECONDS = 20.0
"""While many files are read, what is known is written this often, so that an interrupted start is not lost."""
_THREADS = 8


def probe_size(path: Path, content: bytes | None = None) -> ClipSize | None:
    """Frames, height and width as shown, from the header and the orientation of the first frame; None if unreadable.

    Where a header does not hold the number of frames, it is length times rate.
    """
    try:
        with open_container(path, content) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream) or stream.codec_context is None:  # none of an empty track
                return None
            stream.codec_context.thread_count = 1  # starting threads takes longer than one frame
            frame = next(container.decode(stream), None)
            if frame is None:
                return None
            size = presentation_of(stream, frame, path).shown_size(frame.height, frame.width)
            return ClipSize(max(stream.frames or _frames_by_length(container, stream), 1), *size)
    except (av.FFmpegError, OSError, ValueError):
        return None


class SizeIndex:
    """Sizes of a source's files, read when asked for; with `index_file`, all at once and kept there.

    An entry holds as long as the file's size and time of change. Unreadable files are known as such (None).
    """

    def __init__(
        self,
        files: SourceFiles,
        index_file: str | None,
        probe: Callable[[Path, bytes | None], ClipSize | None] = probe_size,
    ) -> None:
        self._files = files
        self._probe = probe
        self._index_file = None if index_file is None else Path(index_file)
        self._sizes: dict[int, ClipSize | None] = {}

    def __getitem__(self, index: int) -> ClipSize | None:
        if index not in self._sizes:
            if self._index_file is None:
                self._sizes[index] = self._probe(self._files.path(index), self._files.content(index))
            else:
                self._read_all(self._index_file)
        return self._sizes[index]

    def _read_all(self, index_file: Path) -> None:
        known = _read_index(index_file)
        entries: dict[str, list[str | list[int] | None]] = {}
        unknown = []
        for index in range(len(self._files)):
            name, stamp = str(self._files.path(index)), self._stamp(index)
            entry = known.get(name)
            if entry is not None and entry[0] == stamp:
                entries[name] = entry
                self._sizes[index] = None if entry[1] is None else ClipSize(*entry[1])
            else:
                unknown.append((index, name, stamp))
        if not unknown:
            return
        logger.info("reading the headers of %d files into %s", len(unknown), index_file)
        saved = time.monotonic()
        with ThreadPoolExecutor(_THREADS) as pool:
            sizes = pool.map(lambda item: self._probe(self._files.path(item[0]), self._files.content(item[0])), unknown)
            for (index, name, stamp), size in zip(unknown, sizes, strict=True):
                self._sizes[index] = size
                entries[name] = [stamp, None if size is None else [size.num_frames, size.height, size.width]]
                if time.monotonic() - saved > _SAVE_SECONDS:
                    write_json(index_file, {"version": _VERSION, "files": entries})
                    saved = time.monotonic()
        write_json(index_file, {"version": _VERSION, "files": entries})

    def _stamp(self, index: int) -> str:
        try:
            return self._files.stamp(index)
        except OSError:
            return "missing"


def _frames_by_length(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        return 1
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * rate)
    return round(container.duration / av.time_base * rate) if container.duration else 1


def _read_index(path: Path) -> dict[str, list]:
    """The entries of an index file; none if it is absent or of another version: it is then made again.

    Raises `SourceError` for another file, which would be replaced.
    """
    if not path.exists():
        return {}
    try:
        content = read_json(path)
        version, files = content["version"], dict(content["files"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise SourceError(f"index_file: {path} is there and is no index of sizes; name another file") from error
    if version != _VERSION:
        logger.warning("%s is an index of sizes of another version, it is made again", path)
        return {}
    return files
