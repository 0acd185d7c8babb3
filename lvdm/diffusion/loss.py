"""The training loss: mean squared error against noise, velocity or x_0, and its weight by time step."""

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


def min_snr_weight(t: Tensor, schedule: NoiseSchedule, gamma: float) -> Tensor:
    """Weight (b,) of the squared error at time steps `t` (b,): min-SNR-gamma (arXiv:2303.09556).

    min(SNR, gamma) on x_0, divided by SNR for a noise and by SNR + 1 for a velocity prediction, with SNR =
    abar / (1 - abar). Written in abar, it is finite everywhere: where the SNR is zero, it is 1 for noise and 0 for
    velocity, whose last step is then not trained at all. A dynamic rescale does not enter.
    """
    alpha = schedule.alphas_cumprod.to(t.device)[t]
    if schedule.parameterization == "v":
        return torch.minimum(alpha, gamma * (1 - alpha))
    if schedule.parameterization == "eps":
        return (gamma * (1 - alpha) / alpha).clamp(max=1.0)
    return (alpha / (1 - alpha)).clamp(max=gamma)
