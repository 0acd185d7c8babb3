"""Files that appear whole or not at all: written beside their place under another name, then moved there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class OutputError(UserError):
    """An output that cannot be written; the message names the file, the reason and the way out."""


_PROBE_BYTES = 65_536
"""Written to find a disk that is full already; less than any video."""


def output_error(path: Path, error: OSError | Exception) -> OutputError:
    """The one-line error for a failed write of `path`."""
    code = getattr(error, "errno", None)
    reason = _REASONS.get(code) if isinstance(code, int) else None
    return OutputError(f"{path}: nothing was written: {reason or getattr(error, 'strerror', None) or error}")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` when the block ends without an exception.

    The block may also make it a folder, and move things out of it; it is then removed at the end. On any exception,
    Ctrl-C included, the temporary file is removed and `path` stays what it was. OSError becomes `OutputError`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_file():
            _open_as_usual(temporary)
            _sync(temporary)
            os.replace(temporary, path)
            _sync_folder(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        _remove(temporary)


def check_writable(path: str | Path) -> None:
    """Make the folder of `path` and raise `OutputError` if a file cannot be made there: ask before the long work."""
    path = Path(path)
    probe = path.with_name(f".{path.stem}.{os.getpid()}.probe")
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, give the name of a file inside it")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        _remove(probe)


def write_json(path: str | Path, data: Any) -> None:
    """Write `data` as indented UTF-8 JSON, keys in their own order, so that equal data gives equal bytes.

    Raises `OutputError`; ValueError or TypeError if `data` has a value that JSON cannot hold (such as NaN).
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


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
