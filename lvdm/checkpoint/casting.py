"""The one rule by which stored tensors change their dtype."""

from __future__ import annotations

import math

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


def check_values(key: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Raise `CheckpointError` if `tensor` holds NaN, or a finite value that would become infinite in `dtype`.

    Infinite values are taken: the mask of CLIP's text encoder is stored with them.
    """
    if not (tensor.is_floating_point() and tensor.numel()):
        return
    low, high = torch.aminmax(tensor)
    largest = max(-float(low), float(high))
    if math.isnan(largest):
        raise CheckpointError(
            f"{key} holds NaN: these weights are damaged, as by a training that diverged; take an earlier checkpoint"
        )
    limit = torch.finfo(dtype).max
    if dtype == torch.float16 and limit < largest < math.inf:
        raise CheckpointError(f"{key} holds {largest:.6g}, beyond the {limit:g} of fp16; use bf16 or fp32")
