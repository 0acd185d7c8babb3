"""Where activations wait until they are needed again: on the device, in the host's memory, or in a file.

An offload is a context manager that gives a function: it takes a tensor and returns a function that gives the tensor
back, values and memory layout. What was not fetched is dropped with the block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType

import torch
from torch import Tensor

from lvdm.deprecation import renamed_names

Fetch = Callable[[], Tensor]
Keep = Callable[[Tensor], Fetch]
Offload = Callable[[], AbstractContextManager[Keep]]


@contextmanager
def on_device() -> Iterator[Keep]:
    """Tensors stay where they are."""

    def keep(tensor: Tensor) -> Fetch:
        return lambda: tensor

    yield keep


@contextmanager
def on_host() -> Iterator[Keep]:
    """Tensors of an accelerator wait in the host's memory."""

    def keep(tensor: Tensor) -> Fetch:
        device, waiting = tensor.device, tensor.to("cpu")
        return lambda: waiting.to(device)

    yield keep


@contextmanager
def on_disk() -> Iterator[Keep]:
    """Tensors wait in a temporary file without a name; it needs as much space as they."""
    with tempfile.TemporaryFile() as file:

        def keep(tensor: Tensor) -> Fetch:
            # in the order in which they lie in memory, so that values are copied to the file and back and no more
            order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
            lying = tensor.permute(order).contiguous()
            device, dtype, shape = tensor.device, tensor.dtype, lying.shape
            begin = file.seek(0, 2)
            file.write(_bytes_of(lying.cpu()))

            def fetch() -> Tensor:
                values = torch.empty(shape, dtype=dtype)
                file.seek(begin)
                file.readinto(_bytes_of(values))
                return values.permute([order.index(dim) for dim in range(len(order))]).to(device)

            return fetch

        yield keep


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.view(-1).view(torch.uint8).numpy().data


OFFLOADS: Mapping[str, Offload] = MappingProxyType({"device": on_device, "host": on_host, "disk": on_disk})
"""Offloads by their names."""


__getattr__ = renamed_names(__name__, {"SHELVES": "OFFLOADS", "Shelf": "Offload"})
