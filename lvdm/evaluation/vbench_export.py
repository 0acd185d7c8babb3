"""Videos laid out as VBench-I2V reads them: `PROMPT-INDEX.mp4`, five of each prompt, in one folder.

The suite needs an environment of its own, so it is run there, on this folder:
`python evaluate_i2v.py --videos_path FOLDER --dimension i2v_subject --ratio 16-9`.
"""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lvdm.errors import UserError
from lvdm.media.atomic import OutputError, atomic_path
from lvdm.suggestions import suggest

SUFFIX = ".mp4"
VIDEOS_PER_PROMPT = 5
"""The suite looks for the indices 0 to 4 of every prompt."""

LONGEST_NAME = 255
"""Bytes that common file systems take for one name."""

_FORBIDDEN = '/\\:*?"<>|' if os.name == "nt" else "/\\"

Transfer = Literal["link", "copy"]


@dataclass(frozen=True)
class ExportedVideo:
    """The `index`-th video, from 0, that was made of a prompt of the suite, to the letter; `path` is an .mp4 file."""

    prompt: str
    index: int
    path: Path


@dataclass(frozen=True)
class Export:
    """The files of the folder in the order that was given, and prompts that lack some of the indices 0 to 4."""

    files: tuple[Path, ...]
    incomplete: tuple[str, ...]


def export_videos(videos: Sequence[ExportedVideo], folder: str | Path, transfer: Transfer = "link") -> Export:
    """Fill `folder`, which may not exist or must be empty, with links to the videos or copies of them.

    "link" makes hard links, which take no space, and copies where the file system has none or the folder is on
    another. The folder appears whole or not at all. Raises `ValueError` for no videos, for two of one name, for prompts
    that are no safe file names and for sources that are not there; `OutputError` where it cannot be written.
    """
    folder = Path(folder)
    if transfer not in ("link", "copy"):
        raise UserError(f"unknown transfer {transfer!r}; {suggest(transfer, ('link', 'copy'))}")
    names = _names(videos)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: exists and is not empty, give a new folder")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for name, video in zip(names, videos, strict=True):
            _transfer(video.path.resolve(), temporary / name, transfer)
        if folder.exists():
            folder.rmdir()
        os.rename(temporary, folder)
    return Export(tuple(folder / name for name in names), _incomplete(videos))


def export_name(prompt: str, index: int) -> str:
    """`PROMPT-INDEX.mp4`; raises `ValueError` for prompts that are no safe file name."""
    if not prompt.strip():
        raise UserError("a prompt is empty: the suite finds videos by their prompts")
    if index < 0:
        raise UserError(f"prompt {_short(prompt)}: the index should be 0 or more, it is {index}")
    bad = sorted({letter for letter in prompt if letter in _FORBIDDEN or unicodedata.category(letter)[0] == "C"})
    if bad:
        raise UserError(f"prompt {_short(prompt)}: {bad[0]!r} cannot be in the name of a file")
    if prompt[0] in " ." or prompt[-1] == " ":
        raise UserError(
            f"prompt {_short(prompt)}: a name of a file should not begin with a dot or have spaces at its ends"
        )
    name = f"{prompt}-{index}{SUFFIX}"
    length = len(name.encode())
    if length > LONGEST_NAME:
        raise UserError(
            f"prompt {_short(prompt)}: its file would have a name of {length} bytes, file systems take {LONGEST_NAME}"
        )
    return name


def _names(videos: Sequence[ExportedVideo]) -> list[str]:
    if not videos:
        raise UserError("there is no video to export")
    names: dict[str, ExportedVideo] = {}
    result = []
    for video in videos:
        name = export_name(video.prompt, video.index)
        if video.path.suffix.lower() != SUFFIX:
            raise UserError(f"{video.path}: the suite reads {SUFFIX} files, convert it first")
        if not video.path.is_file():
            raise UserError(f"{video.path}: there is no such file")
        same = unicodedata.normalize("NFC", name).casefold()  # one name on systems that ignore case
        if same in names:
            raise UserError(f"{names[same].path} and {video.path} would both be {name}: give them different indices")
        names[same] = video
        result.append(name)
    return result


def _incomplete(videos: Iterable[ExportedVideo]) -> tuple[str, ...]:
    """Prompts without a video for one of the indices, in order of appearance."""
    indices: dict[str, set[int]] = {}
    for video in videos:
        indices.setdefault(video.prompt, set()).add(video.index)
    return tuple(prompt for prompt, found in indices.items() if not found.issuperset(range(VIDEOS_PER_PROMPT)))


def _transfer(source: Path, target: Path, transfer: Transfer) -> None:
    if transfer == "link":
        try:
            os.link(source, target)
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
                raise
    shutil.copyfile(source, target)


def _short(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else prompt[:57] + "...")
