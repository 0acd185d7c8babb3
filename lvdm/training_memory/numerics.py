"""What a device would compute with, given to a step on the meta device: attention kernels and autocast.

The meta device has neither: its attention makes whole score matrices, and autocast does not know it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

DeviceKind = Literal["gpu", "cpu"]
"""gpu: NVIDIA or AMD, with attention that holds no score matrix."""

HALF_INPUTS = frozenset(
    {
        *(F.linear, F.conv1d, F.conv2d, F.conv3d, F.scaled_dot_product_attention, F.multi_head_attention_forward),
        *(torch.matmul, torch.bmm, torch.einsum),
        *(Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.bmm),
    }
)
"""Functions that CUDA's autocast runs in half precision, as far as our networks use them."""

FULL_INPUTS = frozenset(
    {
        *(F.layer_norm, F.group_norm, F.softmax, F.mse_loss, torch.softmax, torch.exp, torch.pow, torch.sum),
        *(Tensor.softmax, Tensor.exp, Tensor.pow, Tensor.sum),
    }
)
"""Functions that it runs in float32."""


class DeviceNumerics(TorchFunctionMode):
    """Runs functions on meta tensors as `device` would, with autocast to `half` if that is not None.

    Weights that are cast are kept until `forget`, as autocast keeps them to the end of the forward pass.
    """

    def __init__(self, device: DeviceKind, half: torch.dtype | None = None) -> None:
        super().__init__()
        self.device = device
        self.half = half
        self._keeps = True
        self._cast_weights: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        dtype = self.half if func in HALF_INPUTS else torch.float32 if func in FULL_INPUTS else None
        if self.half is not None and dtype is not None:
            args = tuple(self._cast(value, dtype) for value in args)
            kwargs = {name: self._cast(value, dtype) for name, value in kwargs.items()}
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def forget(self) -> None:
        """The forward pass has ended: cast weights go, and those of recomputed blocks will not be kept."""
        self._cast_weights.clear()
        self._keeps = False

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._cast(item, dtype) for item in value)
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not (self._keeps and value.is_leaf and value.requires_grad and dtype == self.half):
            return value.to(dtype)
        if id(value) not in self._cast_weights:
            self._cast_weights[id(value)] = value.to(dtype)
        return self._cast_weights[id(value)]

    def _attention(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0
    ) -> Tensor:
        """The fused kernel of the device, which keeps the inputs, the output and one number for each row of scores."""
        scale = 1 / math.sqrt(q.shape[-1])
        if self.device == "cpu":
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, dropout_p, attn_mask=attn_mask, scale=scale
            )[0]
        needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (q, k, v))
        return torch.ops.aten._scaled_dot_product_efficient_attention(
            q, k, v, None, needs_gradient, dropout_p, scale=scale
        )[0]
