"""The tensors of a checkpoint as one lazy mapping from released key to tensor, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lvdm.checkpoint.keys import OLD_NAME

Format = Literal["lightning", "deepspeed", "state_dict", "safetensors", "fsdp", "zero", "diffusers"]

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The names of dtypes in safetensors files."""


class CheckpointFile(Mapping[str, Tensor]):
    """The tensors of one file by released key; reading `checkpoint[key]` maps that tensor alone.

    path      the file, or the folder of a sharded checkpoint
    format    lightning, deepspeed, state_dict (a bare dictionary), safetensors, fsdp or zero (folders of shards), or
              diffusers (a folder of components)
    averaged  whether the tensors are the moving average of a training run; None if the file does not say
    metadata  the text fields of a safetensors file, or the plain values of a Lightning one (epoch, global_step ...)
    stored    released key -> key in the file; they differ where a prefix or an old name was replaced
    """

    def __init__(
        self,
        path: Path,
        file_format: Format,
        source: TensorSource,
        stored: Mapping[str, str],
        metadata: Mapping[str, str],
        averaged: bool | None = None,
    ) -> None:
        self.path = path
        self.format = file_format
        self.metadata = metadata
        self.averaged = averaged
        self.stored = stored
        self._source = source

    def __getitem__(self, key: str) -> Tensor:
        return self._source.tensor(self.stored[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __contains__(self, key: object) -> bool:
        return key in self.stored  # Mapping's own would read the tensor

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self._source.shape(self.stored[key])

    def dtype(self, key: str) -> torch.dtype:
        """The dtype of a tensor, without reading it."""
        return self._source.dtype(self.stored[key])

    @property
    def renamed(self) -> dict[str, str]:
        """Key in the file -> released key, where an old name was replaced."""
        return {old: new for new, old in self.stored.items() if OLD_NAME in old and OLD_NAME not in new}


class TensorSource:
    """Tensors of a dictionary that has been read (memory-mapped)."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def tensor(self, key: str) -> Tensor:
        """The tensor, by the key in the file."""
        return self._tensors[key]

    def shape(self, key: str) -> tuple[int, ...]:
        """Its shape, without reading it."""
        return tuple(self._tensors[key].shape)

    def dtype(self, key: str) -> torch.dtype:
        """Its dtype, without reading it."""
        return self._tensors[key].dtype


class SafetensorsSource(TensorSource):
    """Tensors of an open safetensors file, each read when asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def tensor(self, key: str) -> Tensor:
        """The tensor, by the key in the file."""
        return self._file.get_tensor(key)

    def shape(self, key: str) -> tuple[int, ...]:
        """Its shape, from the header."""
        return tuple(self._file.get_slice(key).get_shape())

    def dtype(self, key: str) -> torch.dtype:
        """Its dtype, from the header."""
        return DTYPES[self._file.get_slice(key).get_dtype()]
