"""Conversions between x_0, noise, velocity and x_t.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps        (DDPM, arXiv 2006.11239, eq. 4)
    v   = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0        (progressive distillation, arXiv 2202.00512, appendix D)

Everywhere in this file `x_0` is the *scaled* clean latent s_t x_0 of a model with dynamic rescale: the network sees and
predicts nothing else. `scale_x0` makes it, `unscale_x0` undoes it. Tensors are (b, c, t, h, w); `t` is (b,), or (b, t)
with one time step per frame. Half-precision tensors are promoted to float32, float64 stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lvdm.diffusion.schedule import NoiseSchedule


def q_sample(x_0: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_t, the noisy latents at step `t`."""
    signal, sigma = _signal_and_sigma(x_0, t, schedule)
    return signal * x_0 + sigma * noise


def velocity(x_0: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """v, the target of a v-prediction network."""
    signal, sigma = _signal_and_sigma(x_0, t, schedule)
    return signal * noise - sigma * x_0


def x0_from_eps(x_t: Tensor, eps: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_0 under a noise prediction; infinite where abar_t is 0, which the samplers refuse beforehand."""
    signal, sigma = _signal_and_sigma(x_t, t, schedule)
    return (x_t - sigma * eps) / signal


def x0_from_v(x_t: Tensor, v: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_0 under a velocity prediction."""
    signal, sigma = _signal_and_sigma(x_t, t, schedule)
    return signal * x_t - sigma * v


def eps_from_v(x_t: Tensor, v: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The noise under a velocity prediction."""
    signal, sigma = _signal_and_sigma(x_t, t, schedule)
    return signal * v + sigma * x_t


def eps_from_x0(x_t: Tensor, x_0: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The noise under an x_0 prediction."""
    signal, sigma = _signal_and_sigma(x_t, t, schedule)
    return (x_t - signal * x_0) / sigma


def predict_x0(model_output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_0 from a network's output, by the schedule's parameterization."""
    if schedule.parameterization == "v":
        return x0_from_v(x_t, model_output, t, schedule)
    if schedule.parameterization == "eps":
        return x0_from_eps(x_t, model_output, t, schedule)
    return model_output


def predict_eps(model_output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The noise from a network's output, by the schedule's parameterization."""
    if schedule.parameterization == "v":
        return eps_from_v(x_t, model_output, t, schedule)
    if schedule.parameterization == "eps":
        return model_output
    return eps_from_x0(x_t, model_output, t, schedule)


def training_target(x_0: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """What the network should put out for q_sample(x_0, noise, t), by the schedule's parameterization."""
    if schedule.parameterization == "v":
        return velocity(x_0, noise, t, schedule)
    return noise if schedule.parameterization == "eps" else x_0


def scale_x0(x_0: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """s_t x_0, what the network is trained on; x_0 itself for a model without dynamic rescale."""
    return x_0 if schedule.scale_arr is None else x_0 * _per_sample(schedule.scale(t), x_0)


def unscale_x0(x_0: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_0 from s_t x_0: the inverse of `scale_x0`."""
    return x_0 if schedule.scale_arr is None else x_0 / _per_sample(schedule.scale(t), x_0)


def _signal_and_sigma(like: Tensor, t: Tensor, schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t), in at least float32, shaped to multiply `like`."""
    abar = _per_sample(schedule.alphas_cumprod.to(t.device)[t], like)
    return abar.sqrt(), (1.0 - abar).sqrt()


def _per_sample(value: Tensor, like: Tensor) -> Tensor:
    """(b,) -> (b, 1, 1, ...) and (b, t) -> (b, 1, t, 1, ...), to multiply `like` of shape (b, c, t, ...)."""
    value = value.to(torch.promote_types(like.dtype, torch.float32))
    if value.ndim == 2:
        value = value[:, None]
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))
