"""The training loss: mean squared error against noise, velocity or x_0."""

from __future__ import annotations

import torch
from torch import Tensor

from lvdm.diffusion.parameterization import training_target
from lvdm.diffusion.schedule import NoiseSchedule


def diffusion_loss(
    model_output: Tensor,
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    schedule: NoiseSchedule,
    weight: Tensor | None = None,
) -> Tensor:
    """Loss of each sample, (b,) in at least float32: the squared error's mean over c, t, h, w.

    model_output, x_0, noise  (b, c, t, h, w); x_t was made of `noise` and `x_0`, the latter scaled by `scale_x0`
    t                         (b,) int64
    weight                    (b, 1, t, h, w) or broadcastable: multiplies the squared error before the mean, which is
                              not renormalised, so weights of mean 1 keep the loss's size
    """
    target = training_target(x_0, noise, t, schedule)
    # Differences in half precision lose what a well-trained network still has to learn.
    prediction = model_output.to(torch.promote_types(model_output.dtype, torch.float32))
    squared_error = (prediction - target) ** 2
    if weight is not None:
        squared_error = squared_error * weight
    return squared_error.flatten(1).mean(1)
