"""The index of a latent cache: which records belong to which video, and what they were made with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from lvdm.caching.latent_records import CacheError, StoredDtype
from lvdm.data.packed_texts import PackedTexts
from lvdm.deprecation import renamed_names
from lvdm.documents import read_json
from lvdm.media.atomic import write_json

INDEX_FILE = "index.json"
CODE_VERSION = 1
"""Raised when the code changes what it makes of the same files and weights; older records are then stale."""

Rule = Literal["cut", "whole", "still"]
"""How clips come out of an entry: cut from its frames, all of its frames, or its one frame repeated."""


@dataclass(frozen=True)
class EncoderHashes:
    """Hashes of weights and options of what encodes: autoencoder, text encoder, image encoder."""

    vae: str
    text: str
    image: str


@dataclass(frozen=True)
class CacheFormat:
    """What all records of a cache share. `token_every`: image tokens of every so many frames, 0 the first."""

    hashes: EncoderHashes
    dtype: StoredDtype
    token_every: int
    code: int = CODE_VERSION


@dataclass(frozen=True)
class CacheEntry:
    """One video: its frames, the size that they were brought to, the keys of its records; or why it has none."""

    path: str
    caption: str = ""
    num_frames: int = 0
    height: int = 0
    width: int = 0
    fps: float = 0.0
    frame_stride: int = 1
    moments: str = ""
    tokens: str = ""
    text: str = ""
    broken: str = ""


class PackedEntries(Sequence[CacheEntry]):
    """Entries in a few arrays: millions of them, shared by the workers of a loader."""

    def __init__(self, entries: Sequence[CacheEntry]) -> None:
        self._length = len(entries)
        self._columns: dict[str, Any] = {}
        for field in fields(CacheEntry):
            values = [getattr(entry, field.name) for entry in entries]
            self._columns[field.name] = PackedTexts(values) if field.type == "str" else np.array(values)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> CacheEntry: ...

    @overload
    def __getitem__(self, index: slice) -> list[CacheEntry]: ...

    def __getitem__(self, index: int | slice) -> CacheEntry | list[CacheEntry]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        values = {name: column[index] for name, column in self._columns.items()}
        return CacheEntry(**{k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()})

    def __iter__(self) -> Iterator[CacheEntry]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class CacheIndex:
    """A whole cache. `null_text` and `null_tokens` are the records of the empty caption and the grey image."""

    format: CacheFormat
    rule: Rule
    null_text: str
    null_tokens: str
    entries: Sequence[CacheEntry]

    def write(self, folder: str | Path) -> None:
        """Write the index into `folder`, whole or not at all."""
        names = [field.name for field in fields(CacheEntry)]
        tree = {
            "recipe": asdict(self.format),
            "rule": self.rule,
            "null_text": self.null_text,
            "null_tokens": self.null_tokens,
            "columns": names,
            "entries": [[getattr(entry, name) for name in names] for entry in self.entries],
        }
        write_json(Path(folder) / INDEX_FILE, tree)


def check_cache_place(folder: str | Path) -> None:
    """Raise `CacheError` if the index of a cache in `folder` would replace another file."""
    path = Path(folder) / INDEX_FILE
    try:
        tree = read_json(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise CacheError(f"{path} is there and is no index of a latent cache; choose another folder") from error
    if not (isinstance(tree, dict) and "recipe" in tree and "entries" in tree):
        raise CacheError(f"{path} is there and is no index of a latent cache; choose another folder")


def read_index(folder: str | Path) -> CacheIndex:
    """The index in `folder`. Raises `CacheError` for a folder that holds none, or one of another version."""
    path = Path(folder) / INDEX_FILE
    if not path.is_file():
        raise CacheError(f"folder: {folder} holds no finished latent cache; make it with `dynamicrafter data cache`")
    try:
        tree = read_json(path)
        format_ = dict(tree["recipe"])
        format_["hashes"] = EncoderHashes(**format_["hashes"])
        entries = PackedEntries([CacheEntry(**dict(zip(tree["columns"], row, strict=True))) for row in tree["entries"]])
        index = CacheIndex(CacheFormat(**format_), tree["rule"], tree["null_text"], tree["null_tokens"], entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CacheError(f"{path}: is not the index of a latent cache ({error}); make it again") from error
    if index.format.code != CODE_VERSION:
        raise CacheError(
            f"{path}: was made by version {index.format.code} of the cache, this is {CODE_VERSION}; "
            "run `dynamicrafter data cache` again"
        )
    return index


def changed_encoders(cache_format: CacheFormat, hashes: EncoderHashes) -> list[str]:
    """Names of the encoders whose weights or options are not those that the cache was made with."""
    names = {"vae": "autoencoder", "text": "text encoder", "image": "image encoder"}
    return [
        names[field.name]
        for field in dataclasses.fields(EncoderHashes)
        if getattr(cache_format.hashes, field.name) != getattr(hashes, field.name)
    ]


__getattr__ = renamed_names(__name__, {"CacheRecipe": "CacheFormat"})
