"""The noise schedule: linear betas, zero terminal SNR, dynamic rescale, and the buffers that checkpoints store.

The forward process is  x_t = sqrt(abar_t) s_t x_0 + sqrt(1 - abar_t) eps,  where s_t is 1 unless the model was trained
with the dynamic rescale of DynamiCrafter 512 and 1024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Parameterization = Literal["eps", "v", "x0"]
"""What the network predicts: the noise, the velocity, or the (scaled) clean latents."""

FinalScale = Literal["visited", "first"]
"""Which s the original's last DDIM step arrives at: that of the last visited step (DynamiCrafter, whose latents stay
scaled by it), or that of t = 0, which is 1 (VideoCrafter)."""


@dataclass(frozen=True)
class ScheduleConfig:
    """The schedule fields of a model's YAML.

    linear_start, linear_end   first and last beta; the square roots are spaced linearly
    timesteps                  number of training steps
    rescale_betas_zero_snr     shift sqrt(abar) so that abar is exactly 0 at the last step (arXiv 2305.08891, alg. 1)
    use_dynamic_rescale        scale x_0 by s_t, which falls linearly from 1 to `base_scale` over `turning_step` steps
    fix_scale_bug              store s_t for the training steps only, instead of `turning_step` values beyond the last
    final_scale                see `FinalScale`
    """

    linear_start: float = 0.00085
    linear_end: float = 0.012
    timesteps: int = 1000
    parameterization: Parameterization = "eps"
    rescale_betas_zero_snr: bool = False
    use_dynamic_rescale: bool = False
    base_scale: float = 0.7
    turning_step: int = 400
    fix_scale_bug: bool = False
    final_scale: FinalScale = "visited"

    def __post_init__(self) -> None:
        if not 0.0 < self.linear_start <= self.linear_end < 1.0:
            raise ValueError(
                f"linear_start {self.linear_start} and linear_end {self.linear_end} must be ordered within (0, 1)"
            )
        if self.timesteps < 2:
            raise ValueError(f"timesteps must be at least 2, it is {self.timesteps}")
        if self.rescale_betas_zero_snr and self.parameterization == "eps":
            raise ValueError(
                "parameterization eps cannot recover x_0 where the SNR is zero; "
                "use v or x0 with rescale_betas_zero_snr, or turn it off"
            )
        if self.use_dynamic_rescale and not 0.0 < self.base_scale <= 1.0:
            raise ValueError(f"base_scale must be in (0, 1], it is {self.base_scale}")
        if self.use_dynamic_rescale and self.turning_step < 1:
            raise ValueError(f"turning_step must be at least 1, it is {self.turning_step}")
        if self.fix_scale_bug and self.turning_step >= self.timesteps:
            raise ValueError(f"turning_step {self.turning_step} must lie before the last of {self.timesteps} timesteps")


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """What sampling and training need to know of the schedule.

    alphas_cumprod    (T,) float32, abar_t, strictly decreasing
    scale_arr         (>= T,) float32, s_t, or None for a model without dynamic rescale
    parameterization  what the network predicts
    final_scale       where the original's DDIM ends, see `FinalScale`
    """

    alphas_cumprod: Tensor
    scale_arr: Tensor | None = None
    parameterization: Parameterization = "eps"
    final_scale: FinalScale = "visited"

    @classmethod
    def from_config(cls, config: ScheduleConfig) -> NoiseSchedule:
        """The schedule that `config` describes, on the CPU."""
        buffers = schedule_buffers(config)
        return cls(buffers["alphas_cumprod"], buffers.get("scale_arr"), config.parameterization, config.final_scale)

    @property
    def num_train_timesteps(self) -> int:
        """Number of training steps T; `t` runs from 0 to T - 1."""
        return self.alphas_cumprod.shape[0]

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """The same schedule with its tensors on `device`."""
        scale_arr = None if self.scale_arr is None else self.scale_arr.to(device)
        return NoiseSchedule(self.alphas_cumprod.to(device), scale_arr, self.parameterization, self.final_scale)

    def scale(self, t: Tensor) -> Tensor:
        """Dynamic rescale s_t, float32, shaped like `t`; ones for a model without it."""
        if self.scale_arr is None:
            return torch.ones(t.shape, dtype=torch.float32, device=t.device)
        return self.scale_arr.to(t.device)[t]

    def scale_at_end(self, timesteps: Tensor) -> Tensor:
        """s that the original's DDIM ends with after descending `timesteps` (S,), shape (1,), see `FinalScale`."""
        last = timesteps[-1:]
        return self.scale(last if self.final_scale == "visited" else torch.zeros_like(last))


def schedule_buffers(config: ScheduleConfig) -> dict[str, Tensor]:
    """The float32 buffers of the released checkpoints, by name and in their order.

    Twelve tensors of shape (T,), and `scale_arr` with dynamic rescale, of shape (turning_step + T,), or (T,) under
    `fix_scale_bug`. All are computed in float64 and rounded once. Source: DDPM (arXiv 2006.11239), equations 4, 7, 15.
    """
    betas = _betas(config)
    alphas = 1.0 - betas
    abar = np.cumprod(alphas)
    abar_prev = np.append(1.0, abar[:-1])
    posterior_variance = betas * (1.0 - abar_prev) / (1.0 - abar)
    # v models store zeros here: 1 / abar is infinite at zero terminal SNR.
    has_reciprocals = config.parameterization != "v" and abar[-1] > 0.0
    reciprocal = 1.0 / abar if has_reciprocals else np.zeros_like(abar)
    buffers = {
        "betas": betas,
        "alphas_cumprod": abar,
        "alphas_cumprod_prev": abar_prev,
        "sqrt_alphas_cumprod": np.sqrt(abar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - abar),
        "log_one_minus_alphas_cumprod": np.log(1.0 - abar),
        "sqrt_recip_alphas_cumprod": np.sqrt(reciprocal),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(reciprocal - 1.0) if has_reciprocals else reciprocal,
        "posterior_variance": posterior_variance,
        # The variance is 0 at t = 0, hence the floor under the logarithm.
        "posterior_log_variance_clipped": np.log(np.maximum(posterior_variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(abar_prev) / (1.0 - abar),
        "posterior_mean_coef2": (1.0 - abar_prev) * np.sqrt(alphas) / (1.0 - abar),
    }
    if config.use_dynamic_rescale:
        falling = np.linspace(1.0, config.base_scale, config.turning_step)
        level = np.full(config.timesteps - config.turning_step * config.fix_scale_bug, config.base_scale)
        buffers["scale_arr"] = np.concatenate([falling, level])
    return {name: torch.from_numpy(value).float() for name, value in buffers.items()}


def _betas(config: ScheduleConfig) -> NDArray[np.float64]:
    """Betas in float64, (T,), with zero terminal SNR applied if the configuration asks for it."""
    # torch, not numpy: their linspace differ in the last bit, and the released buffers were made with torch's.
    start, end = config.linear_start**0.5, config.linear_end**0.5
    betas = (torch.linspace(start, end, config.timesteps, dtype=torch.float64) ** 2).numpy()
    if not config.rescale_betas_zero_snr:
        return betas
    root = np.sqrt(np.cumprod(1.0 - betas))
    first, last = root[0], root[-1]
    root = (root - last) * (first / (first - last))
    abar = root**2
    alphas = np.append(abar[0], abar[1:] / abar[:-1])
    return 1.0 - alphas
