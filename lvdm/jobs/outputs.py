"""Where videos are written to: their names, what a format can hold, and what may be replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lvdm.data.prompts import Request
from lvdm.declaration.run_parameters import OutputParameters
from lvdm.declaration.values import MAX_FRAMES
from lvdm.errors import Problems
from lvdm.media.ownership import check_video_replaceable, names_frames

if TYPE_CHECKING:
    from lvdm.jobs.plan import PlannedVideo

WHOLE_FORMATS = (".gif", ".webp", ".apng", ".png")
"""Animations: their frames are packed together, and so all held."""
SUFFIXES = {"png": "_%05d.png"}
"""Formats whose suffix is not their name."""


def check_length(output: Path, written: OutputParameters, num_frames: int) -> None:
    """Raise `ValueError` for a video whose frames would all have to be held, and are too many."""
    if num_frames <= MAX_FRAMES:
        return
    if output.suffix.lower() in WHOLE_FORMATS and "%" not in output.name:
        raise ValueError(f"{output}: {num_frames} frames are too many for {output.suffix}; use mp4 or webm")
    if written.contact_sheet:
        raise ValueError(f"{num_frames} frames are too many for a contact sheet; leave out --contact-sheet")


def suffix_of(output: OutputParameters) -> str:
    """The end of a file's name in the format that is asked for; mp4 when none is."""
    if output.format is None:
        return ".mp4"
    return SUFFIXES.get(output.format, f".{output.format}")


def check_suffix(output: OutputParameters) -> None:
    """Raise `ValueError` for a file whose name is not that of the format that is asked for."""
    path = output.output
    if path is None or output.format is None:
        return
    frames, suffix = names_frames(path), path.suffix.lower()
    fits = {"png": frames or not suffix, "apng": suffix in (".apng", ".png") and not frames}
    if not fits.get(output.format, suffix == suffix_of(output)):
        raise ValueError(f"--output {output.output} is not a {output.format} file; leave out --format")


def numbered_path(output: Path, number: int) -> Path:
    """The name of one of several videos, counted from 0: clip_01.mp4 for clip.mp4."""
    return output.with_name(f"{output.stem}_{number + 1:02d}{output.suffix}")


class ListLayout(Protocol):
    """How the rows of a list are read, and where their videos go."""

    def row(self, row: Request) -> Request:
        """The row as it is made."""
        ...

    def paths(self, folder: Path, row: Request, suffix: str, copies: int) -> tuple[Path, list[Path]]:
        """The place of a single video of the row, and those of several."""
        ...


class UsualLayout:
    """NAME.mp4, or NAME_01.mp4 and so on."""

    def row(self, row: Request) -> Request:
        """As it is."""
        return row

    def paths(self, folder: Path, row: Request, suffix: str, copies: int) -> tuple[Path, list[Path]]:
        """See `ListLayout`."""
        return folder / f"{row.name}{suffix}", [folder / f"{row.name}_{i + 1:02d}{suffix}" for i in range(copies)]


def check_places(videos: Sequence[PlannedVideo], written: OutputParameters) -> None:
    """Raise `OutputError` if one of these videos would replace what was not made here."""
    problems = Problems()
    for output in dict.fromkeys(video.place for video in videos):
        with problems.of_row():
            structure = videos[0].request.settings.mode == "structure"
            check_video_replaceable(output, written.overwrite, written.contact_sheet, depth=structure)
    for group in dict.fromkeys(video.candidates for video in videos):
        with problems.of_row():
            if group:
                group.check_folder(written.overwrite)
    problems.check()
