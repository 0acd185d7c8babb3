"""What a collated batch says of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

ID_KEYS = ("number", "path", "caption")


def batch_size_of(batch: Any) -> int:
    """How many samples a collated batch holds; 0 if it does not tell."""
    if isinstance(batch, torch.Tensor):
        return batch.shape[0]
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((len(value) for value in values if isinstance(value, torch.Tensor | list) and len(value)), 0)


def batch_ids(batch: Any) -> list[dict[str, Any]]:
    """Number, path and caption of every sample, as far as the batch has them."""
    if not isinstance(batch, Mapping):
        return []
    known = {}
    for key in ID_KEYS:
        values = batch.get(key)
        if isinstance(values, torch.Tensor):
            known[key] = values.tolist()
        elif isinstance(values, list | tuple):
            known[key] = [str(value) for value in values]
    return [dict(zip(known, sample, strict=True)) for sample in zip(*known.values(), strict=False)]
