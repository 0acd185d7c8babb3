"""Features of clips on the disk: one file each, named by a hash of everything that they were made from.

A record is never changed: what is made from another file, another cut, another size or other weights has another name.
So an extraction that is started again only fills gaps, and several processes may fill one cache. A record holds its
name, so that one in the place of another is not believed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from lvdm.caching.latent_records import record_key
from lvdm.checkpoint.writing import safetensors_bytes
from lvdm.content_hash import HashStore
from lvdm.documents import parse_json, read_json
from lvdm.errors import UserError
from lvdm.evaluation.clip_files import ClipSpec, FrameScaling
from lvdm.evaluation.features.protocol import FeatureExtractor, Record
from lvdm.media.atomic import atomic_path, write_json
from lvdm.regular_files import open_regular

logger = logging.getLogger(__name__)

HASHES_FILE = "file_hashes.json"
_FORMAT = 1
"""Raised when clips are cut or scaled otherwise than before: older records are then not found any more."""

_METADATA_KEY, _METADATA = "__metadata__", "record"


class NotFiniteError(UserError):
    """Features that are no numbers; the message names the extractor."""


@dataclass(frozen=True)
class CachedRecord:
    """Features of one clip, in float of the dtype that they were made in, and the device that made them."""

    values: Record
    device: str


class FeatureCache:
    """The records below one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.hashes = HashStore(self.folder / HASHES_FILE)

    def key(self, spec: ClipSpec, scaling: FrameScaling, extractor: FeatureExtractor) -> str:
        """The name of a record. Raises `OSError` if a file of the clip cannot be read."""
        return self.keys(spec, scaling, [extractor])[0]

    def keys(self, spec: ClipSpec, scaling: FrameScaling, extractors: Sequence[FeatureExtractor]) -> list[str]:
        """The names of the records of one clip by several extractors. Raises `OSError` as `key` does."""
        clip, size = self._identity(spec), asdict(scaling)
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
            **({} if spec.reader == "pyav" else {"reader": spec.reader}),  # its colours may be a level off
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
            with open_regular(path) as file:
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); remove it, it is made anew") from error
        try:
            header, values = _header(content), load(content)
            about = parse_json(header[_METADATA_KEY][_METADATA], _METADATA)
            named, digest, device = about.get("key"), about["sha256"], str(about["device"])
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is damaged (%s), it is made anew", path, " ".join(str(error).split()))
            return None
        if named != key:
            logger.warning("%s is of another clip, or of an earlier version, it is made anew", path)
            return None
        if digest != _digest(content):
            logger.warning("%s is damaged (its content has changed), it is made anew", path)
            return None
        if not all(bool(torch.isfinite(value).all()) for value in values.values()):  # `write` makes none of these
            logger.warning("%s is damaged (it holds NaN or infinite values), it is made anew", path)
            return None
        return CachedRecord(values, device)

    def write(self, extractor_id: str, key: str, values: Record, device: str) -> None:
        """Write a record, which appears as a whole. Raises `OutputError` and `NotFiniteError`."""
        held = {name: value.detach().to("cpu") for name, value in values.items()}
        for name, value in held.items():
            if not bool(torch.isfinite(value).all()):
                raise NotFiniteError(f"{extractor_id} gave {name} that are not finite numbers")
        with atomic_path(self.path(extractor_id, key)) as temporary:
            about = json.dumps({"key": key, "device": device, "sha256": _digest(safetensors_bytes(held))})
            temporary.write_bytes(safetensors_bytes(held, {_METADATA: about}))
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
