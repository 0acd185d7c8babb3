"""The identity of a checkpoint file."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from lvdm.checkpoint.errors import CheckpointError


def checkpoint_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal. Read once per process as long as size and modification time stay.

    Of a folder, the SHA-256 of the names and hashes of the files in it, as `sha256sum` would list them.
    """
    path = Path(path)
    try:
        if path.is_dir():
            inside = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
            listed = "".join(f"{checkpoint_hash(path / name)}  {name}\n" for name in inside)
            return hashlib.sha256(listed.encode()).hexdigest()
        stat = path.stat()
        return _hash(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=64)
def _hash(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
