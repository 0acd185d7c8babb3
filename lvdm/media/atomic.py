"""Files that appear whole or not at all: written beside their place under another name, then moved there."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.documents import cut_line, json_text
from lvdm.errors import UserError

_REASONS = {
    errno.ENOSPC: "the disk is full, free some space",
    errno.EDQUOT: "the disk quota is used up, free some space",
    errno.EFBIG: "the file would be larger than this system allows",
    errno.EACCES: "permission denied, choose another folder",
    errno.EPERM: "permission denied, choose another folder",
    errno.EROFS: "the file system is read-only, choose another folder",
    errno.ENAMETOOLONG: "the name is too long, choose a shorter one",
    errno.EEXIST: "a file stands where its folder should be, choose another folder",
    errno.ENOTDIR: "a file stands where its folder should be, choose another folder",
    errno.ENOENT: "no folder can be made there, choose another one",
}


_MAX_PATH = 200
"""Characters of a path in a message."""


class OutputError(UserError):
    """An output that cannot be written; the message names the file, the reason and a hint."""


_MAX_STEM = 200
"""Bytes of a name in that of its temporary file, which has a few more: file systems take 255."""

_LEFTOVER = re.compile(r"\..*\.\d+-[0-9a-f]{8}\.(part|before|probe)(\.[^.]*)?", re.DOTALL)
"""The names that `name_beside` gives."""

_LEFTOVER_SECONDS = 86_400
"""A file that was not written to for so long is taken for that of a killed process; other machines write here too."""

_PROBE_BYTES = 65_536
"""Written to find a disk that is full already; less than any video."""


def name_beside(path: Path, state: str) -> Path:
    """A hidden name beside `path`, of its own for each call: other threads, processes and machines write there too.

    The names of files that a killed process left begin with `.STEM.` and end with `.STATE` and the suffix.
    """
    return path.with_name(f".{_short_stem(path)}.{os.getpid()}-{secrets.token_hex(4)}.{state}{path.suffix}")


def _short_stem(path: Path) -> str:
    coded = os.fsencode(path.stem)
    return path.stem if len(coded) <= _MAX_STEM else coded[:_MAX_STEM].decode("utf-8", "ignore")


def output_error(path: Path, error: OSError | Exception) -> OutputError:
    """The one-line error for a failed write of `path`."""
    code = getattr(error, "errno", None)
    reason = _REASONS.get(code) if isinstance(code, int) else None
    return OutputError(
        f"{cut_line(str(path), _MAX_PATH)}: nothing was written: {reason or getattr(error, 'strerror', None) or error}"
    )


@dataclass(frozen=True)
class _Waiting:
    """A file that is whole and waits for the others; `place` moves the files of a folder to where they belong."""

    temporary: Path
    path: Path
    place: Callable[[Path], None] | None


class Together:
    """Files that appear together or not at all, such as a video and its record; see `together`."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._beside: list[Path] = []

    @contextmanager
    def path(self, path: str | Path, place: Callable[[Path], None] | None = None) -> Iterator[Path]:
        """A temporary path beside `path` to write to; it becomes `path` when `together` ends.

        The block may also make it a folder: `place` then moves what is in it, when `together` ends, and it is removed.
        OSError becomes `OutputError`.
        """
        path = Path(path)
        temporary = self._name_beside(path, "part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if temporary.is_file():
                _open_as_usual(temporary)
                _sync(temporary)
        except OSError as error:
            raise output_error(path, error) from error
        self._waiting.append(_Waiting(temporary, path, place))

    def appear(self) -> None:
        """Move all files to their places, in the order of writing; what stood there is back if one cannot be moved."""
        before: list[tuple[_Waiting, Path | None]] = []
        for waiting in self._waiting:
            try:
                if waiting.temporary.is_file():
                    kept = self._kept(waiting.path) if len(self._waiting) > 1 else None
                    before.append((waiting, kept))
                    os.replace(waiting.temporary, waiting.path)
                    _sync_folder(waiting.path.parent)
                elif waiting.place is not None and waiting.temporary.is_dir():
                    waiting.place(waiting.temporary)
            except BaseException as error:
                if len(self._waiting) > 1:
                    _put_back(before)
                if isinstance(error, OSError):
                    raise output_error(waiting.path, error) from error
                raise
        if len(self._waiting) > 1:  # a video: a look at its folder costs nothing beside it
            for waiting in self._waiting:
                _remove_leftovers(waiting.path)

    def clean(self) -> None:
        """Remove everything that is not at its place."""
        for temporary in self._beside:
            _remove(temporary)

    def _kept(self, path: Path) -> Path | None:
        """A second name for what stands at `path`; None if nothing does, or if the file system has no such names."""
        if not path.is_file():
            return None
        kept = self._name_beside(path, "before")
        try:
            _remove(kept)
            os.link(path, kept)
        except OSError:
            shutil.copy2(path, kept)
        return kept

    def _name_beside(self, path: Path, state: str) -> Path:
        self._beside.append(name_beside(path, state))
        return self._beside[-1]


@contextmanager
def together() -> Iterator[Together]:
    """Files that are written one after the other and appear when the block ends without an exception.

    On any exception, Ctrl-C included, none appears, and what stood in their places stays. A kill between the first and
    the last of the moves, which take no time, leaves those that were moved.
    """
    files = Together()
    try:
        yield files
        files.appear()
    finally:
        files.clean()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` when the block ends without an exception.

    The block may also make it a folder, and move things out of it; it is then removed at the end. On any exception,
    Ctrl-C included, the temporary file is removed and `path` stays what it was. OSError becomes `OutputError`.
    """
    with together() as files, files.path(path) as temporary:
        yield temporary


def check_writable(path: str | Path) -> None:
    """Raise `OutputError` if `path`, and folders above it, cannot be made: ask before the long work. Leaves nothing."""
    path = Path(path)
    place = path.parent
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    probe = name_beside(place / path.name, "probe")
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, give the name of a file inside it")
        for missing in path.parts[len(place.parts) :]:
            (place / missing).exists()  # raises where the name itself is too long
        path.exists()  # or all of it
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        _remove(probe)


def write_json(path: str | Path, data: Any, files: Together | None = None) -> None:
    """Write `data` as indented UTF-8 JSON, keys in their own order, so that equal data gives equal bytes.

    A name of a file with bytes that are no UTF-8 is written so that `json` reads the same name again. With `files` it
    appears together with these. Raises `OutputError`, also if `data` has a value that JSON cannot hold (such as NaN).
    """
    try:
        text = json_text(data, indent=2)
    except (ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{path}: nothing was written: it cannot be stored as JSON ({error})") from error
    with atomic_path(path) if files is None else files.path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def _put_back(before: Sequence[tuple[_Waiting, Path | None]]) -> None:
    """Undo the moves that were made: each file and what stood in its place."""
    for waiting, kept in reversed(before):
        if waiting.temporary.exists():  # it was not moved
            continue
        if kept is None:
            waiting.path.unlink(missing_ok=True)
        else:
            os.replace(kept, waiting.path)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left beside `path`, which is whole now; what is younger may be in the making."""
    pattern = f".{glob.escape(_short_stem(path))}.*-????????.*{glob.escape(path.suffix)}"
    for leftover in path.parent.glob(pattern):
        try:
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS and _LEFTOVER.fullmatch(leftover.name):
                _remove(leftover)
        except OSError:
            continue  # another process was faster


def _open_as_usual(path: Path) -> None:
    """Give `path` the access that new files have here: safetensors makes its files for the owner alone."""
    ordinary = path.with_suffix(".access")
    ordinary.touch()
    path.chmod(ordinary.stat().st_mode & 0o777)
    ordinary.unlink()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return  # the folder itself is gone or closed to us, or the name impossible: nothing of ours is there
