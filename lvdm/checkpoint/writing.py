"""Files of safetensors, by one writer: whole or not at all, tensor by tensor, with the access that other files have.

The library's own writer wants all tensors in memory, makes its files for the owner alone, and orders metadata anew in
each process. The format is simple: 8 bytes with the length of a JSON header, the header, the raw bytes
(https://github.com/huggingface/safetensors, "Format"). The same tensors give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvdm.checkpoint.sources import DTYPES
from lvdm.media.atomic import atomic_path

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorLayout:
    """What a tensor takes in a file."""

    dtype: torch.dtype
    shape: Sequence[int]

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors of any device to `path`. Raises `OutputError`, and `ValueError` for a dtype that has no name."""
    layout = _in_order(tensors)
    stream_safetensors(path, layout, lambda key: tensors[key], metadata)


def stream_safetensors(
    path: str | Path,
    layout: Mapping[str, TensorLayout],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """The same of tensors that are read one after the other, in the order of `layout`, and have what it says.

    Give wide dtypes first, so that every tensor is aligned.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(safetensors_header(layout, metadata))
        for key, planned in layout.items():
            tensor = read(key)
            if (tensor.dtype, tuple(tensor.shape)) != (planned.dtype, tuple(planned.shape)):
                raise ValueError(f"{key} is {tensor.dtype} {tuple(tensor.shape)}, the header says {planned}")
            file.write(tensor_bytes(tensor))


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of the file that `write_safetensors` writes."""
    layout = _in_order(tensors)
    return b"".join([safetensors_header(layout, metadata), *(tensor_bytes(tensors[key]) for key in layout)])


def safetensors_header(layout: Mapping[str, TensorLayout], metadata: Mapping[str, str] | None = None) -> bytes:
    """The beginning of a file whose tensors follow in the order of `layout`. Raises `ValueError` for other dtypes."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for key, planned in layout.items():
        if planned.dtype not in DTYPE_NAMES:
            raise ValueError(f"{key} is {planned.dtype}, which a safetensors file cannot hold")
        end = offset + planned.nbytes
        place = {"dtype": DTYPE_NAMES[planned.dtype], "shape": list(planned.shape), "data_offsets": [offset, end]}
        header[key], offset = place, end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # data starts at a multiple of 8
    return len(encoded).to_bytes(8, "little") + encoded


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The values of a tensor as a file holds them."""
    stored = tensor.detach().to("cpu").contiguous()
    return stored.reshape(-1).view(torch.uint8).numpy().data


def _in_order(tensors: Mapping[str, Tensor]) -> dict[str, TensorLayout]:
    """Wide dtypes first, then by name, as safetensors' own writer has them."""
    keys = sorted(tensors, key=lambda key: (-tensors[key].dtype.itemsize, key))
    return {key: TensorLayout(tensors[key].dtype, tuple(tensors[key].shape)) for key in keys}
