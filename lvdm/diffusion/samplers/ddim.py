"""DDIM (arXiv 2010.02502) with the original's conventions.

    x_prev = sqrt(abar_prev) s_prev x_0 + sqrt(1 - abar_prev - sigma^2) eps + sigma noise          (eq. 12)

The original ends at abar_prev = abar_0 (0.99915, not 1) and s_prev = s at the last visited step (not 1; VideoCrafter
fixes that, see `FinalScale`), and adds noise there too: with few steps and dynamic rescale the latents come out too
small. `fix_final_step` ends at x_0 instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.noise import StepNoise
from lvdm.diffusion.samplers.run import SamplingRun
from lvdm.diffusion.samplers.types import Inpainting, StepCallback
from lvdm.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class DDIMStep:
    """Coefficients of one step: abar and s where it arrives, and what multiplies eps and fresh noise."""

    abar_prev: float
    scale_prev: float
    direction: float
    sigma: float


def ddim_steps(
    schedule: NoiseSchedule, timesteps: Tensor, eta: float, fix_final_step: bool, dtype: torch.dtype
) -> list[DDIMStep]:
    """Coefficients for descending `timesteps` (S,), rounded as the original rounds them in `dtype`.

    sigma is eta times the DDPM posterior's standard deviation (eq. 16), in float64. sqrt(1 - abar_prev - sigma^2) is
    taken in `dtype`: at zero terminal SNR and eta = 1 it is 0 but for rounding. Where that goes below 0 (the original's
    all-NaN videos at 20 and 25 steps, among others) it is 0 here; where it goes above, it is kept as in the original.
    """
    t = timesteps.cpu()
    all_abar, scale = schedule.alphas_cumprod.cpu().double(), schedule.scale(t).cpu().double()
    one = torch.ones(1, dtype=torch.float64)
    abar = all_abar[t]
    abar_prev = torch.cat([abar[1:], one if fix_final_step else all_abar[:1]])
    scale_prev = torch.cat([scale[1:], one if fix_final_step else schedule.scale_at_end(t).cpu().double()])
    # abar_prev = abar when the last visited step is t = 0: no variance is left to add.
    sigma = eta * ((1.0 - abar_prev) / (1.0 - abar) * (1.0 - abar / abar_prev).clamp(min=0.0)).sqrt()
    sigma = sigma.to(dtype)
    direction = (1.0 - abar_prev.to(dtype) - sigma**2).clamp(min=0.0).sqrt()
    columns = (abar_prev.tolist(), scale_prev.tolist(), direction.tolist(), sigma.tolist())
    return [DDIMStep(*values) for values in zip(*columns, strict=True)]


def sample_ddim(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    eta: float = 0.0,
    step_noise: StepNoise | None = None,
    fix_final_step: bool = False,
    inpaint: Inpainting | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """Sample with DDIM; the arguments are those of `types.Sampler`. `step_noise` is not called where sigma is 0."""
    if not (math.isfinite(eta) and eta >= 0.0):
        raise ValueError(f"eta must be a finite number of at least 0, it is {eta}")
    if eta > 0.0 and step_noise is None:
        raise ValueError(f"eta = {eta} adds noise at every step: pass step_noise, or eta = 0")
    run = SamplingRun(denoiser, x_T, schedule, timesteps, inpaint, callback)
    x_t = x_T
    for i, step in enumerate(ddim_steps(schedule, timesteps, eta, fix_final_step, x_T.dtype)):
        x_t = run.show_known(i, x_t)
        x_0, eps = run.predict(i, x_t)
        x_t = math.sqrt(step.abar_prev) * step.scale_prev * x_0 + step.direction * eps
        if step_noise is not None and step.sigma > 0.0:
            x_t = x_t + step.sigma * step_noise(i, tuple(x_t.shape)).to(x_t)
        x_t = run.finish(i, x_t, x_0)
    return x_t


SAMPLER = "ddim", sample_ddim
"""Its name, as users give it; `SAMPLERS` finds it here."""
