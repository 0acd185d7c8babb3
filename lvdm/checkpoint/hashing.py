"""The identity of a checkpoint: a file, or the folder of a sharded one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from lvdm.errors import CheckpointError


def checkpoint_hash(path: str | Path) -> str:
    """SHA-256 in hexadecimal, see `read_hash`. Read once per process as long as size and modification time stay.

    Raises `CheckpointError` when the file cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _hash_of_folder(path, checkpoint_hash)
        stat = path.stat()
        return _remembered(path.resolve(), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error


def read_hash(path: Path) -> str:
    """SHA-256 in hexadecimal of what is on the disk now, which tells whether a file is damaged. Raises `OSError`.

    Of a folder, the SHA-256 of the names and hashes of the files in it, as `sha256sum` would list them.
    """
    if path.is_dir():
        return _hash_of_folder(path, read_hash)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _hash_of_folder(path: Path, hash_of: Callable[[Path], str]) -> str:
    inside = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{hash_of(path / name)}  {name}\n" for name in inside)
    return hashlib.sha256(listed.encode()).hexdigest()


@lru_cache(maxsize=64)
def _remembered(path: Path, size: int, modified: int) -> str:
    return read_hash(path)
