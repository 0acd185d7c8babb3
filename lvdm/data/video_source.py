"""Clips out of video files, wherever these and their captions come from."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path

from lvdm.data.clip_frames import ClipError, ClipOptions, cut_clip
from lvdm.data.clips import Clip, ClipSize
from lvdm.data.source_files import Inventory, SourceFiles
from lvdm.data.video_header import SizeIndex
from lvdm.media.video_backends import Reader, check_reader, open_video

logger = logging.getLogger(__name__)

MAX_TRIES = 10
"""Videos tried for one clip before the source is given up as broken."""


class VideoSource:
    """A `ClipSource` over video files.

    A video that cannot be used is passed over for the next one, and named under `failures` of the clip; when
    `MAX_TRIES` in a row fail (the original tries for ever), a `ClipError` names them with their reasons.
    """

    def __init__(self, files: SourceFiles, options: ClipOptions, where: str, index_file: str | None = None) -> None:
        check_reader(options.reader)
        self.files = files
        self.where = where
        self.options = options
        self._sizes = SizeIndex(files, index_file)

    def __len__(self) -> int:
        return len(self.files)

    def native_size(self, index: int) -> ClipSize | None:
        """Frames, height and width of video `index` as its header gives them; None if it is unreadable."""
        return self._sizes[index]

    def open(self, number: int) -> Reader:
        """Video `number`, to be closed. Raises `VideoError`."""
        return open_video(self.files.path(number), self.files.content(number), self.options.reader)

    def clip(self, index: int, rng: random.Random, size: ClipSize | None = None) -> Clip:
        """A clip of video `index`, or of the next ones if that cannot be used; see `Clip`. Raises `ClipError`."""
        size = size or self.options.clip_size
        stride = self.options.draw_stride(rng)

        def cut(number: int) -> Clip:
            caption = self.files.caption(number)
            if caption is None:
                raise ClipError("has no caption")
            with self.open(number) as reader:
                video, frames = cut_clip(reader, self.options, stride, rng, size)
            return {
                "video": video,
                "caption": caption,
                "path": str(self.files.path(number)),
                "fps": frames.fps,
                "frame_stride": frames.frame_stride,
            }

        return first_usable(index, len(self), self.where, self.files.path, cut)


def first_usable(
    index: int,
    count: int,
    where: str,
    path_of: Callable[[int], str | Path],
    cut: Callable[[int], Clip],
    noun: str = "videos",
) -> Clip:
    """The clip that `cut` makes of number `index` or, if that raises, of the next one of `count`; adds `failures`.

    After `MAX_TRIES` that raise `ValueError` or OSError, raises `ClipError` with all of their reasons.
    """
    failures: list[str] = []
    for attempt in range(min(MAX_TRIES, count)):
        number = (index + attempt) % count
        path = path_of(number)
        try:
            return {**cut(number), "failures": "\n".join(failures)}
        except (ValueError, OSError) as error:  # all about this video
            reason = str(error).removeprefix(f"{path}: ")
            logger.warning("%s skipped: %s", path, reason)
            failures.append(f"{path}: {reason}")
    raise ClipError(
        f"none of {len(failures)} {noun} from number {index} of {where} can be used, "
        f"`dynamicrafter data check` looks at all of them: {'; '.join(failures)}"
    )


def usable_files(inventory: Inventory, where: str) -> SourceFiles:
    """The files of an inventory without problems; what the configuration leaves out is logged by name.

    Raises `SourceError` with all problems.
    """
    files = inventory.require(where)
    for problem in inventory.left_out:
        logger.warning("%s: left out: %s", where, problem)
    return files
