"""The one way in to files of others: a pipe, a device or a socket in their place is waited for without end.

Also what an archive unpacks to, which is asked of its directory before a byte of it is read.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

NOT_REGULAR = "is not a regular file"

PLAUSIBLE_RATIO = 10
"""A part of an archive may always unpack to so many times its size."""


def check_regular(path: str | Path) -> None:
    """Raise `OSError` unless a regular file lies at `path`, whose `strerror` follows the name in a message.

    Links are followed. Nothing is opened: opening a named pipe waits until somebody writes to it.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a null byte
        raise OSError(errno.EINVAL, "is no name of a file", str(path)) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, give a file", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))


def open_regular(path: str | Path) -> BinaryIO:
    """A regular file, opened for reading bytes. Raises `OSError` as `check_regular` does, and for what is not there."""
    check_regular(path)
    return open(path, "rb", opener=_open_without_waiting)


def real_path(path: str | Path) -> Path:
    """The absolute path without links, as `Path.resolve`, which raises for a link that leads back to itself."""
    return Path(os.path.realpath(path))


def unreadable_reason(path: str | Path) -> str | None:
    """Why no file can be read at `path`, to follow its name in a message; None where a regular file lies there."""
    try:
        check_regular(path)
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads back to itself"
        known = error.strerror in (NOT_REGULAR, "is no name of a file") or isinstance(error, IsADirectoryError)
        return str(error.strerror) if known else f"cannot be read ({error.strerror or error})"
    return None


def absence_reason(path: str | Path) -> str | None:
    """`unreadable_reason` after the kind and the name of a file: "does not exist" where nothing lies there."""
    return unreadable_reason(path) if os.path.lexists(path) else "does not exist"


def check_unpacked_sizes(path: str | Path, allowed: int) -> None:
    """Raise `OSError` for a zip archive that unpacks to more than `allowed` bytes and far more than it has.

    It is a bomb, or damaged. Files that are no archives pass: whoever reads them says what they are.
    """
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [(part.filename, part.compress_size, part.file_size) for part in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    parts.append(("all of it", os.stat(path).st_size, sum(unpacked for *_, unpacked in parts)))
    for name, packed, unpacked in parts:
        if unpacked > max(allowed, PLAUSIBLE_RATIO * packed):
            raise OSError(
                errno.EFBIG,
                f"{name[:60]!r} in it would unpack from {packed:,} to {unpacked:,} bytes, which is no such file's",
                str(path),
            )


def _open_without_waiting(path: str, flags: int) -> int:
    """Should a pipe have taken the file's place since it was looked at, opening it does not wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
