"""Features of clips on the disk: one file each, named by a hash of everything that they were made from.

A record is never changed: what is made from another file, another cut, another size or other weights has another name.
So an extraction that is started again only fills gaps, and several processes may fill one cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from lvdm.checkpoint.hashing import read_hash
from lvdm.data.atomic import OutputError, atomic_path, write_json
from lvdm.data.latent_records import record_key
from lvdm.documents import parse_json, read_json
from lvdm.evaluation.clip_files import ClipSpec, Picture
from lvdm.evaluation.features.protocol import FeatureExtractor, Record

logger = logging.getLogger(__name__)

HASHES_FILE = "file_hashes.json"
_FORMAT = 1
"""Raised when clips are cut or scaled otherwise than before: older records are then not found any more."""

_METADATA_KEY, _METADATA = "__metadata__", "record"
"""One entry for all: safetensors writes several in an order that changes from process to process."""

_SAVE_SECONDS = 20.0


class NotFiniteError(ValueError):
    """Features that are no numbers; the message names the extractor."""


@dataclass(frozen=True)
class CachedRecord:
    """Features of one clip, in float of the dtype that they were made in, and the device that made them."""

    values: Record
    device: str


class FileHashes:
    """SHA-256 of files (and of folders of frames), remembered by path, size and time of change.

    `file` is only a memory: a path whose stamp changed is read again, and so is everything if it is lost.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[str]] = self._remembered()
        self._changed = False

    def hash(self, path: Path) -> str:
        """The hash of what lies at `path`. Raises `OSError`."""
        name, stamp = str(path.absolute()), _stamp(path)
        entry = self._known.get(name)
        if entry is None or entry[0] != stamp:
            entry = self._known[name] = [stamp, read_hash(path)]
            self._changed = True
        return entry[1]

    def hash_all(self, paths: Iterable[Path], workers: int, tell: Callable[[int, int], None] | None = None) -> None:
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
                if tell is not None:
                    tell(done, len(wanted))
                if time.monotonic() - saved > _SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Write what is known, with what other processes have written meanwhile."""
        if self._changed:
            write_json(self._file, {**self._remembered(), **self._known})
            self._changed = False

    def _remembered(self) -> dict[str, list[str]]:
        """What the file holds; nothing where there is none. Raises `OutputError` for another file, which stays."""
        try:
            known = read_json(self._file)
            return {str(name): [str(stamp), str(digest)] for name, (stamp, digest) in known.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise OutputError(f"{self._file} holds no hashes of files; remove it, or choose another folder") from error


class FeatureCache:
    """The records below one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.hashes = FileHashes(self.folder / HASHES_FILE)

    def key(self, spec: ClipSpec, picture: Picture, extractor: FeatureExtractor) -> str:
        """The name of a record. Raises `OSError` if a file of the clip cannot be read."""
        return self.keys(spec, picture, [extractor])[0]

    def keys(self, spec: ClipSpec, picture: Picture, extractors: Sequence[FeatureExtractor]) -> list[str]:
        """The names of the records of one clip by several extractors. Raises `OSError` as `key` does."""
        clip, size = self._identity(spec), asdict(picture)
        return [
            record_key(
                format=_FORMAT,
                clip=clip,
                picture=size,
                extractor=extractor.id,
                weights=extractor.weights_sha256,
                dtype=extractor.dtype,
            )
            for extractor in extractors
        ]

    def _identity(self, spec: ClipSpec) -> dict[str, Any]:
        """All that a clip is, but for its id and the places of its files."""
        return {
            "video": self.hashes.hash(spec.video),
            "images": [None if path is None else self.hashes.hash(path) for path in (spec.image, spec.last_image)],
            "reference": None if spec.reference is None else self._identity(spec.reference),
            **{name: getattr(spec, name) for name in ("start", "stride", "frames", "fps", "prompt", "still")},
        }

    def path(self, extractor_id: str, key: str) -> Path:
        """Where a record lies."""
        return self.folder / re.sub(r"[^\w.-]", "_", extractor_id) / key[:2] / f"{key}.safetensors"

    def has(self, extractor_id: str, key: str) -> bool:
        """Whether there is a record. It was written whole; whether it still is, `read` finds out."""
        return self.path(extractor_id, key).is_file()

    def read(self, extractor_id: str, key: str) -> CachedRecord | None:
        """A record; None where there is none, and with a warning where it is damaged: it is then to be made anew."""
        path = self.path(extractor_id, key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            header, values = _header(content), load(content)
            about = parse_json(header[_METADATA_KEY][_METADATA], _METADATA)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s), it is made anew", path, " ".join(str(error).split()))
            return None
        if about["sha256"] != _digest(content):
            logger.warning("%s is damaged (its content has changed), it is made anew", path)
            return None
        if not all(bool(torch.isfinite(value).all()) for value in values.values()):  # `write` makes none of these
            logger.warning("%s is damaged (it holds NaN or infinite values), it is made anew", path)
            return None
        return CachedRecord(values, about["device"])

    def write(self, extractor_id: str, key: str, values: Record, device: str) -> None:
        """Write a record, which appears as a whole. Raises `OutputError` and `NotFiniteError`."""
        held = {name: value.detach().to("cpu").contiguous() for name, value in values.items()}
        for name, value in held.items():
            if not bool(torch.isfinite(value).all()):
                raise NotFiniteError(f"{extractor_id} gave {name} that are not finite numbers")
        with atomic_path(self.path(extractor_id, key)) as temporary:
            about = json.dumps({"device": device, "sha256": _digest(save(held))})
            temporary.write_bytes(save(held, {_METADATA: about}))
        self._failure_path(extractor_id, key).unlink(missing_ok=True)

    def write_failure(self, extractor_id: str, key: str, reason: str) -> None:
        """Note why there is no record, for whoever looks for it; a record that is made later takes the note away."""
        write_json(self._failure_path(extractor_id, key), {"reason": reason})

    def failure(self, extractor_id: str, key: str) -> str | None:
        """Why there is no record; None where that was not noted."""
        try:
            note = read_json(self._failure_path(extractor_id, key))
            return str(note["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def unfinished(self) -> list[Path]:
        """What killed processes left behind, and what others are writing just now."""
        return sorted(self.folder.glob("*/*/.*.part.safetensors"))

    def _failure_path(self, extractor_id: str, key: str) -> Path:
        return self.path(extractor_id, key).with_suffix(".failed.json")


def _stamp(path: Path) -> str:
    """Changes with the content: size and time, of a folder those of every file in it."""
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("".join(f"{file.name} {_stamp(file)}\n" for file in inside).encode()).hexdigest()
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def _header(content: bytes) -> dict[str, Any]:
    """The JSON at the beginning of a safetensors file: dtype, shape and place of each tensor, and the metadata."""
    length = int.from_bytes(content[:8], "little")
    return dict(parse_json(content[8 : 8 + length], "header"))


def _digest(content: bytes) -> str:
    """Of the tensors of a safetensors file, with their names, dtypes and shapes, but without the metadata."""
    tensors = {name: about for name, about in _header(content).items() if name != _METADATA_KEY}
    digest = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
    digest.update(content[8 + int.from_bytes(content[:8], "little") :])
    return digest.hexdigest()
