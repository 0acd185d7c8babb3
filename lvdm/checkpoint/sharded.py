"""Folders of torch.distributed.checkpoint, which FSDP writes: tensors in chunks over `.distcp` files, and an index.

The index, `.metadata`, is a pickle of torch's own records. It is read here without any of torch's classes: each becomes
an `Inert` stand-in, so that nothing in the file can run. Each chunk is a `torch.save` of one tensor at the byte range
that the index gives.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvdm.checkpoint.pickles import DAMAGE, Inert, damaged, load_tensor
from lvdm.checkpoint.sources import TensorSource
from lvdm.errors import CheckpointError
from lvdm.regular_files import open_regular

INDEX = ".metadata"

ROOTS = ("state_dict.", "model.")
"""What Lightning's ModelParallelStrategy and FSDPStrategy put before the keys of the model."""

OPTIMIZER = "optimizer_"
SCALE = ".attn2.alpha"

PLAIN = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("collections", "OrderedDict"): dict,
    ("torch", "Size"): tuple,
    ("builtins", "getattr"): Inert,  # so Python before 3.11.4 names the members of torch's enumerations
}
INERT_MODULES = ("torch", "collections", "pathlib")
"""Packages whose classes an index may name. They are not imported: `Inert` stands for all of them."""


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor: where it begins, its size, and the bytes of `file` that hold it."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int


@dataclass(frozen=True)
class ShardedTensor:
    """A tensor in chunks."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: tuple[Chunk, ...]


class ShardedSource(TensorSource):
    """Tensors in the chunks of a folder, each put together when asked for."""

    def __init__(self, folder: Path, tensors: Mapping[str, ShardedTensor]) -> None:
        super().__init__({})
        self._folder = folder
        self._sharded = tensors

    def tensor(self, key: str) -> Tensor:
        """The tensor, put together from its chunks."""
        entry = self._sharded[key]
        if sum(chunk.length for chunk in entry.chunks) < math.prod(entry.shape) * entry.dtype.itemsize:
            raise CheckpointError(f"{self._folder / INDEX} says that {key} has more values than its parts hold")
        whole = torch.empty(entry.shape, dtype=entry.dtype)
        for chunk in entry.chunks:
            piece = self._read(chunk)
            if tuple(piece.shape) != chunk.sizes:
                raise CheckpointError(
                    f"{self._folder / chunk.file} holds a {tuple(piece.shape)} piece of {key}, not {chunk.sizes}"
                )
            box = tuple(slice(begin, begin + size) for begin, size in zip(chunk.offsets, chunk.sizes, strict=True))
            whole[box] = piece.detach()
        return whole.reshape(self.shape(key))

    def shape(self, key: str) -> tuple[int, ...]:
        """Its shape, from the index; a learned scale is a vector of one there, since FSDP2 cannot split a scalar."""
        shape = self._sharded[key].shape
        return () if shape == (1,) and key.endswith(SCALE) else shape

    def dtype(self, key: str) -> torch.dtype:
        """Its dtype, from the index."""
        return self._sharded[key].dtype

    def _read(self, chunk: Chunk) -> Tensor:
        path = self._folder / chunk.file
        try:
            with open_regular(path) as file:
                file.seek(chunk.start)
                content = file.read(chunk.length)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(content) != chunk.length:
            raise CheckpointError(f"{path} is truncated; copy it again")
        return load_tensor(path, io.BytesIO(content))


def is_sharded(folder: Path) -> bool:
    """Whether `folder` is one of torch.distributed.checkpoint."""
    return (folder / INDEX).is_file()


def read_sharded(folder: Path) -> tuple[ShardedSource, dict[str, str]]:
    """The model's tensors in `folder`, and released key -> key in the folder's index.

    Optimizer states are left out. Raises `CheckpointError` for an index that is no index, and for missing files.
    """
    try:
        return _read_sharded(folder)
    except CheckpointError:
        raise
    except DAMAGE as error:  # whatever has another form than torch writes
        raise CheckpointError(damaged(folder / INDEX, error)) from error


def _read_sharded(folder: Path) -> tuple[ShardedSource, dict[str, str]]:
    index = _load_index(folder / INDEX)
    fields, storage = _fields(index, "state_dict_metadata"), _fields(index, "storage_data")
    if not isinstance(fields, Mapping) or not isinstance(storage, Mapping):
        raise CheckpointError(f"{folder / INDEX} is not the index of a sharded checkpoint; copy the folder again")
    places = {(_fields(at, "fqn"), _offsets(at)): place for at, place in storage.items()}
    names = [str(key) for key, entry in fields.items() if isinstance(_fields(entry, "chunks"), list)]
    names = [name for name in names if not name.startswith(OPTIMIZER)]
    root = next((root for root in ROOTS if all(name.startswith(root) for name in names)), "")
    stored = {name.removeprefix(root): name for name in names}
    if not stored:
        raise CheckpointError(f"{folder} holds no tensors of a model")
    tensors = {name: _sharded_tensor(folder, name, fields[name], places) for name in stored.values()}
    for file in sorted({chunk.file for tensor in tensors.values() for chunk in tensor.chunks}):
        if Path(file).name != file or not (folder / file).is_file():
            raise CheckpointError(
                f"{folder} lacks {file}, a part of the checkpoint; copy it from the machine that wrote it, each node "
                "may have kept its own"
            )
    return ShardedSource(folder, tensors), stored


def _sharded_tensor(folder: Path, name: str, entry: Any, places: Mapping[Any, Any]) -> ShardedTensor:
    dtype = _properties(entry)
    shape = tuple(_fields(entry, "size"))
    chunks = []
    for box in _fields(entry, "chunks"):
        offsets, sizes = tuple(_fields(box, "offsets")), tuple(_fields(box, "sizes"))
        place = places.get((name, offsets), places.get((name, None)))
        if place is None or len(offsets) != len(shape):
            raise CheckpointError(f"{folder / INDEX} does not say where {name} lies; copy the folder again")
        if _fields(place, "transform_descriptors"):
            raise CheckpointError(f"{folder} is compressed; write it again without compression")
        chunks.append(
            Chunk(
                offsets,
                sizes,
                str(_fields(place, "relative_path")),
                int(_fields(place, "offset")),
                int(_fields(place, "length")),
            )
        )
    if (
        not isinstance(dtype, torch.dtype)
        or sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(shape)
        or any(min(0, *chunk.offsets, *chunk.sizes, chunk.start) < 0 for chunk in chunks)
    ):
        raise CheckpointError(f"{folder / INDEX} does not describe the whole of {name}; copy the folder again")
    return ShardedTensor(shape, dtype, tuple(chunks))


def _properties(entry: Any) -> Any:
    """The dtype of a tensor: its properties are pickled as a tuple that begins with it."""
    state = getattr(_fields(entry, "properties"), "state", None)
    return state[0] if isinstance(state, tuple) and state else None


def _offsets(at: Any) -> tuple[int, ...] | None:
    offset = _fields(at, "offset")
    return None if offset is None else tuple(offset)


def _fields(record: Any, name: str) -> Any:
    """A field of a record that was read as an `Inert`."""
    state = record.state if isinstance(record, Inert) else None
    return state.get(name) if isinstance(state, Mapping) else None


class _IndexUnpickler(pickle.Unpickler):
    """Builds plain containers, dtypes and `Inert` records, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for the global `module.name`; raises `UnpicklingError` for code of other packages."""
        if (module, name) in PLAIN:
            return PLAIN[module, name]
        if module.split(".")[0] not in INERT_MODULES:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        value = getattr(torch, name, None) if module == "torch" and name.isidentifier() else None
        return value if isinstance(value, torch.dtype) else Inert


def _load_index(path: Path) -> Any:
    try:
        with open_regular(path) as file:
            return _IndexUnpickler(file).load()
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} was refused as the index of a sharded checkpoint: {error}") from error
    except DAMAGE as error:
        raise CheckpointError(damaged(path, error)) from error
