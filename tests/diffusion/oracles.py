"""Schedules of the released models, and denoisers whose answer is known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.parameterization import eps_from_x0, scale_x0, training_target
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig

CONFIGS = {
    "256": ScheduleConfig(),
    "512": ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.7),
    "1024": ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.3),
}
SCHEDULES = {name: NoiseSchedule.from_config(config) for name, config in CONFIGS.items()}
SHAPE = (2, 4, 3, 4, 5)


def normal(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Standard normal values in float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def oracle(x_0: Tensor, schedule: NoiseSchedule) -> Denoiser:
    """The network that knows x_0, whatever it is shown."""

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        scaled = scale_x0(x_0.to(x_t), t, schedule)
        return training_target(scaled, eps_from_x0(x_t, scaled, t, schedule), t, schedule)

    return denoiser


def gaussian(mean: float, std: float, schedule: NoiseSchedule) -> Denoiser:
    """The best network for data that is normal with `mean` and `std`: it predicts E[x_0 | x_t]."""

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        abar = schedule.alphas_cumprod[t].to(x_t)[:, None, None, None, None]
        alpha = abar.sqrt() * schedule.scale(t).to(x_t)[:, None, None, None, None]
        variance = alpha**2 * std**2 + 1.0 - abar
        x_0 = mean + alpha * std**2 / variance * (x_t - alpha * mean)
        scaled = scale_x0(x_0, t, schedule)
        return training_target(scaled, eps_from_x0(x_t, scaled, t, schedule), t, schedule)

    return denoiser


def gaussian_flow(x_s: Tensor, s: int, t: int, mean: float, std: float, schedule: NoiseSchedule) -> Tensor:
    """Where the noise-free trajectory through x_s at step s is at step t, for the data of `gaussian`."""

    def moments(step: int) -> tuple[float, float]:
        abar = schedule.alphas_cumprod[step].double().item()
        alpha = abar**0.5 * schedule.scale(torch.tensor(step)).double().item()
        return alpha * mean, (alpha**2 * std**2 + 1.0 - abar) ** 0.5

    (mean_s, std_s), (mean_t, std_t) = moments(s), moments(t)
    return mean_t + std_t / std_s * (x_s - mean_s)
