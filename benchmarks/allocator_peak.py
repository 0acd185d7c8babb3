"""How much memory torch's CPU allocator really hands out, reported by torch's profiler. Nothing of ours counts here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def allocator_peak(work: Callable[[], Any]) -> int:
    """Most bytes that `work` held of those that it took, workspaces of kernels included where torch allocates them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    del result
    return peak


def training_peak(model: Any, batch: dict[str, Any]) -> int:
    """The same of one forward and backward pass of a model, beyond its weights; gradients are among it."""
    model.zero_grad(set_to_none=True)

    def step() -> None:
        model._step(batch, "train")["loss"].backward()

    peak = allocator_peak(step)
    model.zero_grad(set_to_none=True)
    return peak


def saved_bytes(model: Any, batch: dict[str, Any], ignore: tuple[torch.Tensor, ...]) -> int:
    """Bytes that autograd keeps of a real forward pass."""
    from lvdm.training_memory.tracking import saved_for_backward

    with saved_for_backward(ignore) as saved:
        model._step(batch, "train")
    return saved.size
