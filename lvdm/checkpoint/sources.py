"""The tensors of a checkpoint as one lazy mapping from released key to tensor, whatever they are stored in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lvdm.errors import CheckpointError

Format = Literal["lightning", "deepspeed", "state_dict", "safetensors", "fsdp", "zero"]

DEEPSPEED_PREFIX = "_forward_module."
OLD_NAME, NEW_NAME = "framestride_embed", "fps_embedding"
"""The name of a layer in the published 256 checkpoint, and in the released code."""

IMAGE_MODEL_LAYER = "model.diffusion_model.middle_block.2.in_layers.0.weight"
"""Marks a text-to-image model such as Stable Diffusion: in a video model a temporal transformer has this place."""

AFTER_TEMPORAL = re.compile(r"(?<=^model\.diffusion_model\.)(middle_block|output_blocks\.\d+)\.2\.")
"""Layers that come one place later in a video model: the last of the middle, and upsampling after attention."""

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
    format    lightning, deepspeed, state_dict (a bare dictionary), safetensors, fsdp or zero (folders of shards)
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


def released_keys(path: Path, names: Mapping[str, str], deepspeed: bool = False) -> dict[str, str]:
    """Released key -> key in the file, of `names`: key as the model had it -> key in the file.

    Raises `CheckpointError` where two keys are the same layer, or a prefix of DeepSpeed is on some keys only.
    """
    prefix = ""
    if deepspeed and any(name.startswith(DEEPSPEED_PREFIX) for name in names):
        without = [name for name in names if not name.startswith(DEEPSPEED_PREFIX)]
        if without:
            raise CheckpointError(
                f"{path}: {len(without)} of {len(names)} keys lack the prefix {DEEPSPEED_PREFIX!r}, such as "
                f"{without[0]}; a DeepSpeed file has it on all or none"
            )
        prefix = DEEPSPEED_PREFIX
    of_images = any(name.endswith(IMAGE_MODEL_LAYER) for name in names)
    stored: dict[str, str] = {}
    for name, key in names.items():
        released = name.removeprefix(prefix).replace(f".{OLD_NAME}.", f".{NEW_NAME}.")
        if of_images:
            released = AFTER_TEMPORAL.sub(r"\1.3.", released)
        if released in stored:
            raise CheckpointError(f"{path} holds both {stored[released]} and {key}, which are the same layer")
        stored[released] = key
    return stored


def examples(names: list[str], count: int = 4) -> str:
    """The first few of a list, for an error."""
    return ", ".join(names[:count]) + (" ..." if len(names) > count else "")
