"""Where activations wait until they are needed again: on the device, in the host's memory, or in a file.

A shelf is a context manager that gives a function: it takes a tensor and returns a function that gives the tensor back,
values and memory layout. What was not fetched is dropped with the block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType

import torch
from torch import Tensor

Fetch = Callable[[], Tensor]
Keep = Callable[[Tensor], Fetch]
Shelf = Callable[[], AbstractContextManager[Keep]]


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
            device, layout = tensor.device, torch.empty_like(tensor, device="meta")
            begin = file.seek(0, 2)
            file.write(_bytes_of(tensor.cpu().contiguous()))

            def fetch() -> Tensor:
                values = torch.empty(layout.shape, dtype=layout.dtype)
                file.seek(begin)
                file.readinto(_bytes_of(values))
                return torch.empty_strided(layout.shape, layout.stride(), dtype=layout.dtype, device=device).copy_(
                    values
                )

            return fetch

        yield keep


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.flatten().view(torch.uint8).numpy().data


SHELVES: Mapping[str, Shelf] = MappingProxyType({"device": on_device, "host": on_host, "disk": on_disk})
"""Shelves by the name that settings give."""
