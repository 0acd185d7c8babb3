"""What is to know about the files of a data source before training on them: facts of each file, and a verdict."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lvdm.data.clip_frames import ClipError, ClipOptions, ImageOptions, choose_frames
from lvdm.data.image_folder import IMAGE_SUFFIXES
from lvdm.data.source_files import SourceFiles
from lvdm.documents import json_text, parse_json
from lvdm.media.images import load_image
from lvdm.media.video_backends import Backend, open_video
from lvdm.media.video_reader import VideoReader

logger = logging.getLogger(__name__)

_AT_ONCE = 16
"""Frames held at a time where a reader has to give them to show that it can."""

Status = Literal["ok", "note", "broken"]
"""ok: nothing to say. note: is used, but know this. broken: training would refuse it or pass over it."""


@dataclass(frozen=True)
class Facts:
    """What a file is, independent of how clips are cut from it.

    error         why it cannot be used, "" if it can
    presentation  what is done to its pixels so that they stand as a player shows them, "" for nothing
    reader        what decoded it; others may refuse it
    """

    name: str
    stamp: str
    quick: bool
    error: str = ""
    num_frames: int = 0
    fps: float = 0.0
    height: int = 0
    width: int = 0
    presentation: str = ""
    variable_rate: bool = False
    reader: Backend = "pyav"


@dataclass(frozen=True)
class Verdict:
    """A file in the report."""

    facts: Facts
    caption: str | None
    status: Status
    reasons: tuple[str, ...]


def examine(files: SourceFiles, index: int, quick: bool, backend: Backend = "pyav") -> Facts:
    """Open file `index` and decode all of it, or with `quick` its first, middle and last frame."""
    path = files.path(index)
    facts = Facts(str(path), stamp_of(files, index), quick, reader=backend)
    try:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            image = load_image(path)
            return dataclasses.replace(facts, num_frames=1, height=image.height, width=image.width)
        with VideoReader(path, files.content(index)) as reader:
            facts = dataclasses.replace(
                facts,
                num_frames=reader.num_frames,
                fps=reader.fps,
                height=reader.height,
                width=reader.width,
                presentation=str(reader.presentation),
                variable_rate=reader.has_variable_rate,
            )
            if backend == "pyav" and not quick:
                reader.decode_all()
                return facts
        with open_video(path, files.content(index), backend) as chosen:
            count = chosen.num_frames
            for start in (0, count // 2, count - 1) if quick else range(0, count, _AT_ONCE):
                chosen.read(range(start, min(start + (1 if quick else _AT_ONCE), count)))
    except (ValueError, OSError) as error:
        return dataclasses.replace(facts, error=str(error).removeprefix(f"{path}: "))
    return facts


def judge(facts: Facts, caption: str | None, options: ImageOptions) -> Verdict:
    """What the facts mean for clips cut with `options`."""
    broken = [facts.error] if facts.error else []
    if caption is None:
        broken.append("has no caption")
    notes = []
    if not facts.error:
        if isinstance(options, ClipOptions):
            broken += _why_no_clip(facts, options)
        height, width = options.size
        if options.spatial_transform in ("center_crop", "random_crop") and (
            facts.height < height or facts.width < width
        ):
            broken.append(f"{facts.height}x{facts.width} is smaller than the crop of {height}x{width}")
        elif facts.height < height and facts.width < width:
            notes.append(f"is enlarged: {facts.height}x{facts.width} to {height}x{width}")
        if facts.height % 2 or facts.width % 2:
            notes.append(f"odd size {facts.height}x{facts.width}")
        if facts.presentation:
            notes.append(facts.presentation)
        if facts.variable_rate:
            notes.append(f"variable frame rate, {facts.fps:.2f} on average")
    if caption == "":
        notes.append("empty caption")
    return Verdict(facts, caption, "broken" if broken else "note" if notes else "ok", (*broken, *notes))


def _why_no_clip(facts: Facts, options: ClipOptions) -> list[str]:
    strides = {options.frame_stride, options.frame_stride_min if options.random_fs else options.frame_stride}
    reasons = []
    for stride in sorted(strides):
        try:
            choose_frames(
                facts.num_frames,
                facts.fps,
                options.video_length,
                stride,
                lambda low, high: low,
                fixed_fps=options.fixed_fps,
            )
        except ClipError as error:
            reasons.append(str(error))
    return reasons[:1]


def stamp_of(files: SourceFiles, index: int) -> str:
    """The file's stamp, or that it is missing."""
    try:
        return files.stamp(index)
    except OSError:
        return "missing"


JOURNAL_FORMAT = "dynamicrafter-examination/2"
"""The first line of a journal says so, which distinguishes it from a file of the user."""


class Examination:
    """Facts of all files, kept line by line in `journal`, so that an interrupted examination goes on where it was.

    Facts hold as long as the file does not change; those of a full decoding also serve a quick look.
    """

    def __init__(self, files: SourceFiles, journal: Path, quick: bool, workers: int, reader: Backend = "pyav") -> None:
        if workers < 1:
            raise ValueError(f"there should be at least 1 worker, not {workers}")
        self.files = files
        self.quick = quick
        self.workers = workers
        self.reader = reader
        self._journal = journal
        known = {facts.name: facts for facts in _read_journal(journal)}
        self.facts: dict[int, Facts] = {}
        for index in range(len(files)):
            facts = known.get(str(files.path(index)))
            same = facts and facts.stamp == stamp_of(files, index) and facts.reader == reader
            if facts and same and (quick or not facts.quick):
                self.facts[index] = facts

    @property
    def todo(self) -> Sequence[int]:
        """Files without facts."""
        return [index for index in range(len(self.files)) if index not in self.facts]

    def run(self) -> Iterator[Facts]:
        """Examine what is left, in parallel; yields as files are finished."""
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        pool = ThreadPoolExecutor(self.workers)
        try:
            with self._journal.open("a", encoding="utf-8") as journal:
                if journal.tell():
                    journal.write("\n")  # ends a line that a kill cut off
                else:
                    journal.write(json_text({"format": JOURNAL_FORMAT}) + "\n")
                waiting = {
                    pool.submit(examine, self.files, index, self.quick, self.reader): index for index in self.todo
                }
                for done in as_completed(waiting):
                    facts = self.facts[waiting[done]] = done.result()
                    journal.write(json_text(dataclasses.asdict(facts)) + "\n")
                    journal.flush()
                    yield facts
        finally:
            pool.shutdown(cancel_futures=True)


def _read_journal(path: Path) -> Iterator[Facts]:
    """The facts of earlier runs; a line cut off by a kill ends in a file that is examined again."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():  # a regular file, by `is_file`
        if not line:
            continue
        try:
            values: dict[str, Any] = parse_json(line, str(path))
            if values == {"format": JOURNAL_FORMAT}:
                continue
            yield Facts(**values)
        except (ValueError, TypeError):
            logger.warning("%s: a line that was not finished is left out", path)
