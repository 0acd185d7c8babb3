"""What lies at the place of an output: of our making, which may be made anew, or somebody else's, which stays.

A video of ours has its record beside it, which names it and holds its size and number of frames. Other files of ours
say in their first lines what they are. All else is refused unless `overwrite` is given, before anything is made.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lvdm.documents import DocumentError, read_json
from lvdm.media.atomic import OutputError
from lvdm.regular_files import open_regular

VIDEO_FORMAT, EXTENSION_FORMAT = "dynamicrafter-video/2", "dynamicrafter-extension/1"
VIDEO_FORMATS = ("dynamicrafter-video/1", VIDEO_FORMAT)
"""Format 1 has no digest; it is read as well."""
STORY_FORMAT = "dynamicrafter-story/1"
RECORD_FORMATS = (*VIDEO_FORMATS, EXTENSION_FORMAT, STORY_FORMAT)
"""What the records of videos call themselves."""

SEQUENCE_PATTERN = "frame_%05d.png"
"""The names of the frames when the output is a folder."""

COUNTER = re.compile(r"%0?\d{0,2}d")
"""In the name of an output: single frames are written, with their number here."""

_MARKS = (b"dynamicrafter-", b"dynamicrafter.")
"""In the first bytes of our JSON, HTML, Markdown, PNG and safetensors files: `"format": "dynamicrafter-video/1"`."""

_MARKED_BYTES = 4096
_MAX_RECORD_BYTES = 50_000_000


def check_replaceable(path: str | Path, overwrite: bool = False, beside: str | Path | None = None) -> None:
    """Raise `OutputError` if something lies at `path` that we did not make, unless `overwrite`.

    `path` may be a file, a pattern of single frames (shot_%03d.png) or the folder of such frames. `beside` is a file
    that was written together with it, and says what it is where `path` itself cannot, such as a table.
    """
    path = Path(path)
    if overwrite:
        return
    foreign = next(_foreign(path, None if beside is None else Path(beside)), None)
    if foreign is not None:
        raise OutputError(f"{foreign} is there and was not made here; choose another name, or allow it by --overwrite")


def check_video_replaceable(
    path: str | Path, overwrite: bool = False, contact_sheet: bool = False, depth: bool = False
) -> None:
    """The same for a video with its record, and for the contact sheet and depth that are named after the record."""
    path = Path(path)
    record = record_path(path)
    check_replaceable(path, overwrite)
    if not overwrite and not _may_be_record_of(record, path):
        raise OutputError(f"{record} is there and is not the record of {path}; choose another name, or --overwrite")
    if contact_sheet:
        check_replaceable(sheet_path(record), overwrite)
    if depth:
        check_replaceable(depth_path(record), overwrite, beside=record)


def record_path(path: Path) -> Path:
    """Where the record of the video `path` lies, or will lie: clip.json for clip.mp4.

    clip.gif has clip.gif.json if clip.json is the record of clip.mp4, or a file of another kind.
    """
    usual = path.with_name(f"{record_stem(path)}.json")
    if _may_be_record_of(usual, path):
        return usual
    return path.with_name(f"{record_stem(path)}{path.suffix or '.frames'}.json")


def record_stem(path: Path) -> str:
    """The name of the video `path` without suffix, and without the counter of single frames."""
    return re.sub(r"_?%0?\d{0,2}d", "", path.stem) if names_frames(path) else path.stem


def names_frames(path: Path) -> bool:
    """Whether an output is a pattern of single frames: a PNG with a counter. 100%done.mp4 is just a name."""
    return path.suffix.lower() == ".png" and COUNTER.search(path.name) is not None


def frame_name(pattern: str, number: int) -> str:
    """The name of a single frame: shot_007.png for shot_%03d.png."""
    return COUNTER.sub(lambda counter: counter[0] % number, pattern, count=1)


def sheet_path(record: Path) -> Path:
    """Where the contact sheet of the video with this record lies."""
    return record.with_name(f"{record.stem}_sheet.png")


def depth_path(record: Path) -> Path:
    """Where the depth lies that the video with this record was made to follow."""
    return record.with_name(f"{record.stem}_depth.npz")


def frames_at(path: Path) -> tuple[Path, str] | None:
    """Folder and pattern of the single frames that an output names; None for a file."""
    if names_frames(path):
        return path.parent, path.name
    return None if path.suffix else (path, SEQUENCE_PATTERN)


def own_frames(path: Path) -> list[Path]:
    """The single frames of our earlier video at `path`, by its record; none without such a record."""
    place = frames_at(path)
    if place is None:
        return []
    found: set[Path] = set()
    waiting = _waiting_records(path)
    for record in [*waiting, *_record_of(path)]:
        frames = (place[0] / frame_name(place[1], number) for number in range(_count_of(record)))
        there = [frame for frame in frames if frame.is_file()]
        if waiting or _fits(record, there):  # a run that was killed has moved some of its frames
            found.update(there)
    return sorted(found)


def place_frames(temporary: Path, path: Path) -> None:
    """Move the frames from the folder `temporary` to where `path` says; ours of a longer video before are removed."""
    place = frames_at(path)
    assert place is not None
    earlier = own_frames(path)
    place[0].mkdir(parents=True, exist_ok=True)
    new = {frame.name for frame in temporary.iterdir()}
    for name in sorted(new):
        os.replace(temporary / name, place[0] / name)
    for frame in earlier:
        if frame.name not in new:
            frame.unlink()


def _foreign(path: Path, beside: Path | None) -> Iterator[Path]:
    """What lies at `path` and is not ours."""
    place = frames_at(path)
    if place is not None and not (path.exists() and not path.is_dir()):
        own = set(own_frames(path))
        yield from (frame for frame in _numbered(*place) if frame not in own)
    elif path.is_symlink() or path.exists():
        records = [] if path.is_dir() else [*_record_of(path), *_waiting_records(path)]
        ours = path.is_file() and any(_fits(record, [path]) for record in records)
        if not ours and not is_marked(path) and not (beside is not None and is_marked(beside)):
            yield path


def is_marked(path: Path) -> bool:
    """Whether a file says of itself that it was made here."""
    try:
        if not path.is_file():
            return False
        with open_regular(path) as file:
            start = file.read(_MARKED_BYTES)
    except OSError:
        return False
    return any(mark in start for mark in _MARKS)


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """The files in `folder` that `pattern` names, by their numbers."""
    counter = COUNTER.search(pattern)
    if counter is None or not folder.is_dir():
        return []
    form = re.compile(re.escape(pattern[: counter.start()]) + r"(\d{1,18})" + re.escape(pattern[counter.end() :]))
    found = {}
    for path in folder.iterdir():
        match = form.fullmatch(path.name)
        if match and counter[0] % int(match[1]) == match[1]:
            found[int(match[1])] = path
    return [found[number] for number in sorted(found)]


def _record_of(path: Path) -> list[dict[str, Any]]:
    """The record beside the video `path` that names it, if there is one."""
    return _naming(path, [record_path(path)])


def _waiting_records(path: Path) -> list[dict[str, Any]]:
    """Records of the video `path` whose run was killed after it had moved the video, and before its record."""
    record = record_path(path)
    pattern = f".{glob.escape(record.stem)}.*.part{record.suffix}"
    return _naming(path, sorted(path.parent.glob(pattern)) if path.parent.is_dir() else [])


def _naming(video: Path, records: Iterable[Path]) -> list[dict[str, Any]]:
    found = []
    for record in records:
        try:
            content = read_json(record, _MAX_RECORD_BYTES)
        except (OSError, DocumentError):
            continue
        if _names(content, video):
            found.append(content)
    return found


def _names(record: Any, video: Path) -> bool:
    return isinstance(record, dict) and record.get("format") in RECORD_FORMATS and record.get("video") == video.name


def _fits(record: dict[str, Any], files: Iterable[Path]) -> bool:
    """Whether the files have the size of the record; records of versions that did not store it fit by the name."""
    size = _output(record).get("bytes")
    return size is None or size == sum(file.stat().st_size for file in files)


def _count_of(record: dict[str, Any]) -> int:
    count = _output(record).get("num_frames")
    return count if isinstance(count, int) and 0 <= count <= 10_000_000 else 0


def _output(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("output")
    return found if isinstance(found, dict) else {}


def _may_be_record_of(record: Path, video: Path) -> bool:
    """Whether `record` may be written for `video`: it is not there, is empty, or names the video already."""
    try:
        if not record.exists() and not record.is_symlink():
            return True
        if not record.is_file():
            return False
        return record.stat().st_size == 0 or _names(read_json(record, _MAX_RECORD_BYTES), video)
    except (OSError, DocumentError):
        return False
