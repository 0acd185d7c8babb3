"""The identity of weights: by what they are, not by the file that they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def hash_of_tensors(tensors: Mapping[str, Tensor], options: str = "") -> str:
    """SHA-256 in hexadecimal of keys, dtypes, shapes and values in order of the keys, and of `options`."""
    digest = hashlib.sha256(options.encode())
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
