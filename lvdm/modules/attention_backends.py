"""Ways to compute softmax(q k^T / sqrt(d)) v, chosen by name and never exchanged in silence.

A backend is found to run by calling it: packages of kernels import without complaint beside a torch or on a device that
they were not built for, and fail when they are used.

`auto` is torch's fused attention. `benchmarks/attention_speed.py` measures that rule: on a CPU a plain product was
nowhere faster, not for the 16 tokens of temporal attention either (docs/speed.md).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.declaration.values import Attention
from lvdm.device import DTYPES, trains_attention_in_float32
from lvdm.errors import UserError
from lvdm.precision import AUTO_ATTENTION
from lvdm.suggestions import suggest

MAX_ATTENTION_BATCH = 65535
"""Fused kernels index the batch with 16 bits; larger batches (temporal attention at huge sizes) run in slices."""

AttentionKernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From q, k, v, each (batch, heads, tokens, d), to what q attends to, of the shape of q."""

HALVES = (torch.float16, torch.bfloat16)
PROBED_TOLERANCE = 0.05
"""How far the result of a backend may be from the exact one, for inputs of about 1, before it is taken for broken."""

_FAILURES = (ImportError, OSError, RuntimeError, ValueError, TypeError, AssertionError, AttributeError)
"""What packages of kernels raise where they do not run. NotImplementedError is a RuntimeError."""


class AttentionError(UserError):
    """A backend that does not run here; the message says why, and what does."""


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v with torch's fused kernels; all (batch, heads, tokens, d)."""
    if q.dtype.itemsize == 2 and q.requires_grad and trains_attention_in_float32(q.device):
        with torch.autocast(q.device.type, enabled=False):
            return scaled_dot_product(q.float(), k.float(), v.float()).to(q.dtype)
    return _in_slices(F.scaled_dot_product_attention, q, k, v)


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by two products and a softmax in float32, which holds all scores (batch, heads, tokens, tokens)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # scaled before, which could overflow in half precision
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype) @ v


def xformers(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by xformers' memory-efficient attention, which takes (batch, tokens, heads, d)."""
    return _in_slices(_with_heads_third(_loaded("xformers.ops", "memory_efficient_attention")), q, k, v)


def flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by flash_attn (FlashAttention-2), which takes (batch, tokens, heads, d) in half precision."""
    return _in_slices(_with_heads_third(_loaded("flash_attn", "flash_attn_func")), q, k, v)


def sage(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """About the same by SageAttention (arXiv:2411.10958), whose products are of 8-bit integers."""
    kernel = functools.partial(_loaded("sageattention", "sageattn"), tensor_layout="HND", is_causal=False)
    return _in_slices(kernel, q, k, v)


@dataclass(frozen=True)
class AttentionBackend:
    """One way to compute attention.

    kernel   what computes it
    package  what is to be installed, and how; "" for torch's own
    dtypes   the precisions that it computes in; None for all
    trains   whether it has a backward pass
    notes    what it is good at, in a line
    """

    kernel: AttentionKernel
    notes: str
    package: str = ""
    dtypes: tuple[torch.dtype, ...] | None = None
    trains: bool = True


BACKENDS: Mapping[Attention, AttentionBackend] = MappingProxyType(
    {
        "sdpa": AttentionBackend(scaled_dot_product, "torch's fused attention, by its fastest kernel"),
        "xformers": AttentionBackend(
            xformers,
            "memory-efficient attention, on CUDA alone",
            "pip install -c constraints-xformers.txt -e '.[xformers]', in an environment of its own",
        ),
        "plain": AttentionBackend(plain, "two products: holds all scores, for comparison"),
        "flash": AttentionBackend(
            flash, "FlashAttention-2, on CUDA alone", "pip install flash-attn --no-build-isolation", HALVES
        ),
        "sage": AttentionBackend(
            sage,
            "products in 8 bits: other numbers, on CUDA alone, not for training",
            "pip install sageattention",
            HALVES,
            trains=False,
        ),
    }
)
"""By name; `auto` stands for one of them."""


def choose_attention(name: str, device: torch.device, dtype: torch.dtype, *, training: bool = False) -> Attention:
    """The backend called `name`, or the one that `auto` comes to.

    Raises `AttentionError` where it does not run on `device` in `dtype`, or cannot be trained through, and `ValueError`
    for a name that is none.
    """
    if name == "auto":
        return AUTO_ATTENTION
    known = next((known for known in BACKENDS if known == name), None)
    if known is None:
        raise ValueError(f"attention {name!r} is not known; {suggest(name, ('auto', *BACKENDS))}")
    reason = why_not(known, device, dtype, training=training)
    if reason:
        raise AttentionError(f"attention {known} cannot be used: {reason}; choose auto")
    return known


def why_not(name: Attention, device: torch.device, dtype: torch.dtype, *, training: bool = False) -> str:
    """Why a backend does not run on `device` in `dtype`, by calling it; "" where it does."""
    backend = BACKENDS[name]
    if training and not backend.trains:
        return "it has no backward pass to train through"
    if backend.dtypes is not None and dtype not in backend.dtypes:
        names = {dtype: name for name, dtype in DTYPES.items()}
        return f"it computes in {' or '.join(names[own] for own in backend.dtypes)}, not in {names.get(dtype, dtype)}"
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 16, 64, generator=draw).to(device, dtype) for _ in range(3))
    try:
        with torch.inference_mode():
            difference = (backend.kernel(q, k, v).float() - plain(q.float(), k.float(), v.float())).abs().max().item()
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed ({backend.package})"
    except _FAILURES as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return f"it does not run on {device.type} here ({reason[:120]})"
    return "" if difference <= PROBED_TOLERANCE else f"its results are {difference:.2g} off on {device.type} here"


def _in_slices(kernel: AttentionKernel, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if q.shape[0] <= MAX_ATTENTION_BATCH:
        return kernel(q, k, v)
    parts = zip(*(tensor.split(MAX_ATTENTION_BATCH) for tensor in (q, k, v)), strict=True)
    return torch.cat([kernel(*part) for part in parts])


def _with_heads_third(function: Callable[..., Any]) -> AttentionKernel:
    """A function of tensors (batch, tokens, heads, d) as a kernel."""

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = function(*(tensor.transpose(1, 2) for tensor in (q, k, v)))
        return out.transpose(1, 2)

    return kernel


@functools.cache
def _loaded(module: str, name: str) -> Callable[..., Any]:
    """The function `name` of a module that may not be installed. Raises what importing raises."""
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
