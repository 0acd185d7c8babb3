"""The files of a data source with their captions, and what is wrong with them: found first, judged afterwards.

A source raises what is wrong as one error before the first step; `dynamicrafter data check` reports all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lvdm.data.packed_texts import PackedTexts
from lvdm.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".webm", ".mov", ".mkv", ".avi", ".gif")
"""Files with these suffixes, in upper or lower case, are videos."""

_NAMES_SHOWN = 5


class SourceError(UserError):
    """A data source that cannot be used; the message names what is wrong, how often, where, and a hint."""


@dataclass(frozen=True)
class SourceProblem:
    """Something wrong with a source as a whole: what, which files or rows, and what to do about it."""

    what: str
    names: tuple[str, ...]
    hint: str

    def __str__(self) -> str:
        return f"{len(self.names)} {self.what} ({shorten_list(self.names)}): {self.hint}"


class SourceFiles(Protocol):
    """Files by their number."""

    def __len__(self) -> int:
        """How many there are."""

    def path(self, index: int) -> Path:
        """Where the file lies; for a file inside another one, a name that says so."""

    def caption(self, index: int) -> str | None:
        """Its caption; None when it has none."""

    def content(self, index: int) -> bytes | None:
        """The bytes of a file that lies inside another one; None for a file of its own, which `path` leads to."""

    def stamp(self, index: int) -> str:
        """Changes whenever the content changes: size and time. Raises OSError if the file is not there."""


@dataclass(frozen=True)
class Inventory:
    """What a source found. `left_out` are files that the configuration says to skip, with the reason."""

    files: SourceFiles
    problems: tuple[SourceProblem, ...] = ()
    left_out: tuple[SourceProblem, ...] = ()

    def require(self, where: str) -> SourceFiles:
        """The files, if nothing is wrong. Raises `SourceError` with all that is."""
        if self.problems:
            raise SourceError(f"{where}: {'; '.join(map(str, self.problems))}")
        return self.files


class DiskFiles:
    """Files of their own under one folder, by paths relative to it."""

    def __init__(self, folder: str | Path, names: Iterable[str], captions: Iterable[str | None]) -> None:
        self.folder = Path(folder)
        self._names = PackedTexts(names)
        self._captions = PackedTexts(captions)
        if len(self._names) != len(self._captions):
            raise ValueError(f"{len(self._names)} files for {len(self._captions)} captions")

    def __len__(self) -> int:
        return len(self._names)

    def path(self, index: int) -> Path:
        """Where the file lies."""
        return self.folder / str(self._names[index])

    def caption(self, index: int) -> str | None:
        """Its caption."""
        return self._captions[index]

    def content(self, index: int) -> None:
        """None: `path` leads to the file."""

    def stamp(self, index: int) -> str:
        """Size and time of change."""
        status = self.path(index).stat()
        return f"{status.st_size}-{status.st_mtime_ns}"


def shorten_list(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def check_folder(folder: str | Path, option: str) -> Path:
    """`folder` as a path. Raises `SourceError` if it is not a folder."""
    path = Path(folder)
    if not path.exists():
        raise SourceError(f"{option}: there is no folder {path}; give the folder that holds the data")
    if not path.is_dir():
        raise SourceError(f"{option}: {path} is a file, give the folder that holds the data")
    return path


def list_files(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Paths relative to `folder` of all files below it with one of the suffixes, sorted; hidden ones do not count."""
    found = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in relative.parts):
            found.append(relative.as_posix())
    return sorted(found)
