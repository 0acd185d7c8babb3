"""Callbacks and random generators as diffusers has them, as this library's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lvdm.declaration.parameter import known_name
from lvdm.declaration.values import MAX_SEED
from lvdm.diffusion.samplers import StepCallback

TENSOR_INPUTS = ("latents", "pred_original_sample")
"""What a callback of diffusers may ask for: the latents after the step, and the estimate of x_0 that it used."""

DiffusersCallback = Callable[[Any, int, Tensor, dict[str, Tensor]], Mapping[str, Tensor]]
"""(pipeline, step, timestep, tensors by name), which gives those back that it changed, or all."""


def as_step_callback(
    pipeline: Any, callback: Callable[..., Any] | None, tensor_inputs: Sequence[str] | None
) -> StepCallback | None:
    """The callback of a call; with `tensor_inputs` it is one of diffusers. Raises `ValueError` for unknown names."""
    if tensor_inputs is None:
        return callback
    if callback is None:
        raise ValueError("callback_on_step_end_tensor_inputs is for callback_on_step_end; give that too")
    for name in tensor_inputs:
        known_name(name, TENSOR_INPUTS, "tensor", "callback_on_step_end_tensor_inputs: ")

    def on_step(step: int, t: int, x_t: Tensor, pred_x0: Tensor) -> Tensor | None:
        tensors = dict(zip(TENSOR_INPUTS, (x_t, pred_x0), strict=True))
        changed = callback(pipeline, step, torch.tensor(t), {name: tensors[name] for name in tensor_inputs})
        return None if changed is None else changed.get("latents")

    return on_step


def seeds_of(generators: torch.Generator | Sequence[torch.Generator]) -> int | list[int]:
    """A seed drawn from a generator, or one from each: the next call with it draws another one."""
    return _draw(generators) if isinstance(generators, torch.Generator) else [_draw(each) for each in generators]


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(MAX_SEED, (1,), generator=generator, device=generator.device).item())
