"""The one rule by which stored tensors change their dtype."""

from __future__ import annotations

import torch
from torch import Tensor

from lvdm.checkpoint.parts import SCHEDULE_KEYS
from lvdm.errors import CheckpointError


def target_dtype(key: str, stored: torch.dtype, requested: torch.dtype | None) -> torch.dtype:
    """What tensor `key` becomes: floats as requested (None: as they are), the schedule float32, others unchanged."""
    if not stored.is_floating_point:
        return stored
    if key in SCHEDULE_KEYS:
        return torch.float32
    return requested or stored


def check_range(key: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Raise `CheckpointError` if a finite value of `tensor` would become infinite in `dtype`."""
    if dtype != torch.float16 or tensor.dtype == torch.float16 or not tensor.numel():
        return
    low, high = torch.aminmax(tensor)
    largest = max(-float(low), float(high))
    limit = torch.finfo(dtype).max
    if limit < largest < float("inf"):
        raise CheckpointError(f"{key} holds {largest:.6g}, beyond the {limit:g} of fp16; use bf16 or fp32")
