"""Training checkpoints on disk: whole or not there, verified before an older one goes, and never trusted blindly.

A checkpoint `step-00000120.ckpt` is good when `step-00000120.json` beside it holds its SHA-256. It is written under
another name, flushed to the disk, and read back: the archive's checksums, which were computed from memory, must agree.
Then the JSON and the final name appear. A process that dies in between leaves the earlier checkpoints as they were.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.checkpoint import CheckpointError, read_checkpoint
from lvdm.checkpoint.pickles import load_pickle
from lvdm.checkpoint.zero import STAND_INS, find_model_file
from lvdm.content_hash import read_hash
from lvdm.documents import read_json
from lvdm.errors import UserError
from lvdm.media.atomic import write_json

log = logging.getLogger(__name__)

PATTERN = "step-*.ckpt"
PART = ".part"
SHARDED_PROGRESS = "meta.pt"
"""Where Lightning keeps what is no tensor beside shards."""


class StorageError(UserError, RuntimeError):
    """A checkpoint could not be written or none can be read; the message says which and why."""


@dataclass(frozen=True)
class CheckpointStore:
    """The last `keep` checkpoints of a training in `folder`."""

    folder: Path
    keep: int = 3

    def path(self, step: int) -> Path:
        """Where the checkpoint after `step` optimizer steps lies."""
        return self.folder / f"step-{step:08d}.ckpt"

    def part(self, step: int) -> Path:
        """Where it is while it is being written."""
        return self.folder / f"step-{step:08d}.ckpt{PART}"

    def save(self, step: int, write: Callable[[Path], None], about: dict[str, object]) -> Path:
        """Have `write` make the file, verify it, give it its name, and remove those beyond the last `keep`.

        `about` goes into the JSON beside it. Raises `StorageError` and removes what was written when the disk is full
        or the file does not read back as written; earlier checkpoints stay.
        """
        path, part = self.path(step), self.part(step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(part)
            flush_to_disk(part)
            check_archive(part)
            record = {"sha256": read_hash(part), "bytes": size_of(part), "step": step, **about}
            write_json(path.with_suffix(".json"), record)
            remove(path)
            part.replace(path)
            flush_to_disk(self.folder)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            remove(part)
            raise StorageError(
                f"checkpoint {path} could not be written: {error}; earlier ones are untouched"
            ) from error
        for old in self.existing()[: -self.keep]:
            if old != path and self.has_record(old):
                remove(old)
                remove(old.with_suffix(".json"))
        return path

    def has_record(self, path: Path) -> bool:
        """Whether the JSON beside a checkpoint says that it was written here; others are never removed."""
        try:
            record = read_json(path.with_suffix(".json"))
        except (OSError, ValueError):
            return False
        return isinstance(record, dict) and {"sha256", "step"} <= record.keys()

    def existing(self) -> list[Path]:
        """All checkpoints, oldest first, good or not."""
        return sorted(self.folder.glob(PATTERN))

    def remove_unfinished(self) -> None:
        """Remove what a process that was killed while writing left behind."""
        for part in self.folder.glob(f"*{PART}"):
            remove(part)

    def verify(self, path: Path) -> None:
        """Raise `StorageError` unless `path` holds what was written."""
        try:
            record = read_json(path.with_suffix(".json"))
            expected, actual = record["sha256"], read_hash(path)
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(f"{path} cannot be verified: {error}") from error
        if actual != expected:
            raise StorageError(f"{path} is damaged: its SHA-256 is {actual[:12]}..., not {expected[:12]}...")

    def newest_good(self) -> Path | None:
        """The newest checkpoint that verifies; damaged newer ones are passed over with a warning."""
        for path in reversed(self.existing()):
            try:
                self.verify(path)
            except StorageError as error:
                log.warning("%s; falling back to the checkpoint before it", error)
                continue
            return path
        return None

    def check_space(self, needed: int) -> None:
        """Raise `StorageError` when two checkpoints of `needed` bytes would not fit beside those that exist.

        One is always being written while the one before it stays.
        """
        folder = next(parent for parent in (self.folder, *self.folder.parents) if parent.exists())
        free = shutil.disk_usage(folder).free
        if free < 2 * needed:
            raise StorageError(
                f"{folder} has {free / 1e9:.2f} GB free; checkpoints of this training take {needed / 1e9:.2f} GB each "
                "and two must fit; free some space or name another --logdir"
            )


def check_archive(path: Path) -> None:
    """Raise `OSError` unless a file reads back as torch wrote it. A sharded checkpoint's folder is not looked into."""
    if path.is_dir():
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise OSError(f"it does not read back: {error}") from error
    if damaged is not None:
        raise OSError(f"{damaged} in it does not read back as it was written")


def read_resumable(path: Path) -> Mapping[Any, Any]:
    """What a checkpoint holds, of a folder of shards what lies beside them. Tensors of a file are memory-mapped.

    Raises `CheckpointError` for one that no training can go on from.
    """
    file = read_checkpoint(path)
    content: Mapping[Any, Any] = {}
    if file.format == "fsdp":
        content = load_pickle(path / SHARDED_PROGRESS)
    elif path.is_dir():
        content = load_pickle(find_model_file(path) or path, STAND_INS)
    elif file.format != "safetensors":
        content = load_pickle(path)
    if "lr_schedulers" not in content or "loops" not in content:
        raise CheckpointError(
            f"{path} holds weights only, without optimizer and progress; begin from it with "
            "model.pretrained_checkpoint, or go on from a file in the checkpoints/ of a run"
        )
    return content


def files_of(path: Path) -> list[Path]:
    """The file itself, or all files of a sharded checkpoint's folder in a fixed order."""
    return sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]


def size_of(path: Path) -> int:
    """Bytes of a file or folder."""
    return sum(file.stat().st_size for file in files_of(path))


def flush_to_disk(path: Path) -> None:
    """Wait until a file, a folder's entries or all files of a sharded checkpoint are on the disk."""
    targets = [*files_of(path), path] if path.is_dir() else [path]
    for target in targets:
        if os.name == "nt" and target.is_dir():
            continue  # Windows cannot open folders
        descriptor = os.open(target, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a sharded checkpoint's folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
