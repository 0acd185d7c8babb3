"""The identity of weights: of the file or folder that they lie in, or of what they are, in whatever file they came."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lvdm.content_hash import content_hash
from lvdm.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def checkpoint_hash(path: str | Path) -> str:
    """`content_hash` of a checkpoint: a file, or the folder of a sharded one.

    Raises `CheckpointError` when it cannot be read.
    """
    try:
        return content_hash(path)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error


def hash_of_tensors(tensors: Iterable[tuple[str, Tensor]], options: str = "") -> str:
    """SHA-256 in hexadecimal of `options` and of the keys, dtypes, shapes and values, in the order that they come.

    Tensors are taken one at a time, so that they may be read while they are hashed. Give them in the order of the keys.
    """
    import torch

    digest = hashlib.sha256(options.encode())
    for key, tensor in tensors:
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
