"""The files of a latent cache: one tensor each, named by a hash of everything that it was made from.

A record is never changed: what is made from other things has another name. So a cache that is made again only fills its
gaps, several machines may fill it at once, and what is stale is simply no longer named by the index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lvdm.checkpoint.writing import TensorLayout, safetensors_header, tensor_bytes
from lvdm.errors import UserError
from lvdm.media.atomic import atomic_path
from lvdm.regular_files import check_regular

Kind = Literal["moments", "tokens", "text"]
"""moments (frames, 2c, h, w): mean and log-variance of the autoencoder's posterior; tokens (frames, m, e) of the image
encoder; text (n, d) of a caption."""

StoredDtype = Literal["fp32", "fp16", "bf16"]
DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

_TENSOR = "values"


class CacheError(UserError):
    """A latent cache that cannot be made or used; the message names the reason and a hint."""


def record_key(**inputs: Any) -> str:
    """The name of a record: a hash of all that it is made from, and of the words for that, which therefore stay."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


class RecordWriter:
    """Takes the rows of a record one piece after the other, so that a long video needs no memory of its length."""

    def __init__(self, file: BinaryIO, shape: Sequence[int], dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
        self._file, self._dtype, self._row = file, dtype, tuple(shape[1:])
        self.missing = shape[0]
        file.write(safetensors_header({_TENSOR: TensorLayout(dtype, shape)}, metadata))

    def append(self, rows: Tensor) -> None:
        """Write `rows` (k, ...). Raises `CacheError` for values that the dtype cannot hold."""
        if tuple(rows.shape[1:]) != self._row:
            raise CacheError(f"rows of shape {tuple(rows.shape[1:])} in a record of {self._row}; encoders changed size")
        stored = rows.detach().to("cpu", self._dtype).contiguous()
        if not torch.isfinite(stored).all():
            raise CacheError(
                f"the encoders gave values up to {rows.abs().max():.3g}, which {self._dtype} cannot hold; "
                "use --dtype bf16 or fp32, or look at the weights if they are not finite"
            )
        self._file.write(tensor_bytes(stored))
        self.missing -= len(rows)


class RecordStore:
    """The records below one folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, kind: Kind, key: str) -> Path:
        """Where a record lies. Raises `CacheError` for a key that is none, such as a way to another folder."""
        if not key.isalnum():
            raise CacheError(f"{self.folder}: {key[:40]!r} is no key of a record; make the cache again")
        return self.folder / kind / key[:2] / f"{key}.safetensors"

    def has(self, kind: Kind, key: str) -> bool:
        """Whether a record is there. It is whole then: records appear all at once."""
        return self.path(kind, key).is_file()

    @contextmanager
    def writing(
        self, kind: Kind, key: str, shape: Sequence[int], dtype: torch.dtype, metadata: Mapping[str, str] | None = None
    ) -> Iterator[RecordWriter]:
        """A writer of a new record of `shape`, whose rows are to be appended; it appears when the block ends."""
        with atomic_path(self.path(kind, key)) as temporary:
            with temporary.open("wb") as file:
                writer = RecordWriter(file, shape, dtype, metadata or {})
                yield writer
            if writer.missing:
                raise CacheError(f"{self.path(kind, key)}: {writer.missing} of {shape[0]} rows were not written")

    def read(self, kind: Kind, key: str, rows: Sequence[int] | None = None) -> Tensor:
        """All of a record, or some of its rows: only these are read from the disk."""
        with self._open(kind, key) as file:
            values = file.get_tensor(_TENSOR)  # memory-mapped
            return values.clone() if rows is None else values[torch.tensor(rows)]

    def header(self, kind: Kind, key: str) -> tuple[tuple[int, ...], dict[str, str]]:
        """Shape and metadata of a record."""
        with self._open(kind, key) as file:
            return tuple(file.get_slice(_TENSOR).get_shape()), file.metadata() or {}

    def records(self) -> Iterator[tuple[Kind, str]]:
        """All records that are there."""
        for kind in get_args(Kind):
            for path in sorted((self.folder / kind).glob("*/*.safetensors")):
                if not path.name.startswith("."):
                    yield kind, path.stem

    def unfinished(self) -> list[Path]:
        """What processes that were killed left behind, and what others are writing just now."""
        return [path for kind in get_args(Kind) for path in (self.folder / kind).glob("*/.*.part.safetensors")]

    @contextmanager
    def _open(self, kind: Kind, key: str) -> Iterator[Any]:
        path = self.path(kind, key)
        try:
            check_regular(path)
            with safe_open(path, framework="pt") as file:
                yield file
        except FileNotFoundError as error:
            raise CacheError(f"{path} is missing from the cache; run `dynamicrafter data cache` again") from error
        except (SafetensorError, OSError) as error:
            raise CacheError(f"{path} is damaged ({error}); delete it and run `dynamicrafter data cache`") from error
