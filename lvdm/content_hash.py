"""SHA-256 of what files hold, each read once: as long as path, size, time of change and inode stay, it is remembered.

`content_hash` remembers for the life of the process. A `HashStore` of a cache also writes what it knows to a file of
that cache, so that a second run over thousands of videos reads none of them again. Several threads may use either.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lvdm.documents import read_json
from lvdm.media.atomic import OutputError, write_json
from lvdm.progress import ProgressCallback, report_progress
from lvdm.regular_files import open_regular

_BLOCK = 1 << 22
_SAVE_SECONDS = 20.0


def content_hash(path: str | Path) -> str:
    """SHA-256 in hexadecimal of a file, or of a folder as `read_hash` has it. Raises `OSError`."""
    return _PROCESS.hash(path)


def read_hash(path: str | Path) -> str:
    """SHA-256 in hexadecimal of what is on the disk now, which shows whether a file is damaged. Raises `OSError`.

    Of a folder, the SHA-256 of the names and hashes of the files in it, as `sha256sum` would list them.
    """
    path = Path(path)
    if path.is_dir():
        listed = "".join(f"{read_hash(path / name)}  {name}\n" for name in _names_in(path))
        return hash_text(listed)
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_bytes(content: bytes) -> str:
    """SHA-256 in hexadecimal of bytes in memory."""
    return hashlib.sha256(content).hexdigest()


def hash_text(text: str) -> str:
    """SHA-256 in hexadecimal of a text in UTF-8; bytes of names that are no UTF-8 count as they are."""
    return hash_bytes(text.encode(errors="surrogateescape"))


def stamp(path: Path) -> str:
    """Changes with the content: size, time of change and inode; of a folder those of every file. Raises `OSError`."""
    if path.is_dir():
        listed = "".join(f"{name} {stamp(path / name)}\n" for name in _names_in(path))
        return hash_text(listed)
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


class HashStore:
    """Hashes by path and stamp; in `file` too, if one is given.

    The file is only a memory: what is not in it is read again. One that holds something else is refused, not replaced.
    Two threads that ask for the same unknown path at once may both read it.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self._file = None if file is None else Path(file)
        self._saving = threading.Lock()
        self._lock = threading.Lock()  # guards the two below
        self._known = self._stored()
        self._changed = False

    def hash(self, path: str | Path, verify: bool = False) -> str:
        """The hash of the file or folder at `path`; read even if it is known with `verify`. Raises `OSError`."""
        path = Path(path)
        return self.remember(str(path.absolute()), lambda: stamp(path), lambda: read_hash(path), verify)

    def remember(self, name: str, stamp: Callable[[], str], read: Callable[[], str], verify: bool = False) -> str:
        """The hash of what is called `name`: the known one if `stamp()` is as it was, else `read()`.

        What changes while it is read is not remembered.
        """
        before = stamp()
        with self._lock:
            entry = self._known.get(name)
        if entry is not None and entry[0] == before and not verify:
            return entry[1]
        digest = read()
        if stamp() == before:
            with self._lock:
                self._known[name] = (before, digest)
                self._changed = True
        return digest

    def hash_all(self, paths: Iterable[Path], workers: int, on_progress: ProgressCallback | None = None) -> None:
        """Read what is not known yet, several files at a time; what cannot be read is passed over."""
        wanted = sorted(set(paths))
        saved = time.monotonic()

        def read(path: Path) -> None:
            try:
                self.hash(path)
            except OSError:
                return

        with ThreadPoolExecutor(max(1, workers)) as pool:
            for done, _ in enumerate(pool.map(read, wanted), start=1):
                report_progress(on_progress, "files", done, len(wanted))
                if time.monotonic() - saved > _SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Write what is new to the file, with what other processes have written meanwhile. Raises `OutputError`."""
        with self._saving:
            with self._lock:
                known, changed = dict(self._known), self._changed
                self._changed = False
            if changed and self._file is not None:
                write_json(self._file, {**self._stored(), **known})

    def _stored(self) -> dict[str, tuple[str, str]]:
        if self._file is None:
            return {}
        try:
            known = read_json(self._file)
            return {str(name): (str(stamp), str(digest)) for name, (stamp, digest) in known.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise OutputError(f"{self._file} holds no hashes of files; remove it, or choose another folder") from error


_PROCESS = HashStore()


def _names_in(folder: Path) -> list[str]:
    """All files below a folder, relative to it, in order."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
