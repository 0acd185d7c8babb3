"""What samplers take and give: their signature, the step callback, the inpainting record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.noise import StepNoise
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule

StepCallback = Callable[[int, int, Tensor, Tensor], Tensor | None]
"""(i, t, x_t, pred_x0), called after each step: its number from 0, the training step t it started from, the latents it
arrived at, and the estimate of x_0 it used, with dynamic rescale undone. May return a changed x_t (never change it in
place), and may raise `SamplingCancelled`."""


class SamplingCancelled(Exception):  # noqa: N818 (a request, not an error)
    """Raised by a step callback to stop sampling; samplers let it through."""


@dataclass(frozen=True, eq=False)
class Inpainting:
    """A region of the latents that is known and stays.

    mask   (b, 1, t, h, w) in [0, 1], 1 where the latents are known
    x_0    (b, c, t, h, w) the known latents
    noise  (b, c, t, h, w) the noise under which the known region is shown to the network at every step
    """

    mask: Tensor
    x_0: Tensor
    noise: Tensor

    def apply(self, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
        """x_t with the known region replaced by its own noisy latents at step `t`, (b,)."""
        known = q_sample(scale_x0(self.x_0, t, schedule), self.noise, t, schedule)
        return known * self.mask + (1.0 - self.mask) * x_t

    def finish(self, latents: Tensor) -> Tensor:
        """The final latents with the known region replaced by x_0."""
        return self.x_0 * self.mask + (1.0 - self.mask) * latents


class Sampler(Protocol):
    """From noise to latents.

    denoiser        the guided network
    x_T             (b, c, t, h, w) float32 (or float64: then everything is); standard normal noise, or noisy latents
                    at timesteps[0]
    timesteps       (S,) int64, strictly descending; see `make_timesteps`
    eta             0 deterministic, 1 the full noise of DDPM; only DDIM takes other values than 0
    step_noise      noise of each step, needed when eta > 0
    fix_final_step  end at x_0 itself rather than at the original's slightly noisy, wrongly scaled latents

    Returns latents like x_T. Gradients flow unless the caller turns them off. Raises `ValueError` for time steps that
    are not descending or outside the schedule, an eta it cannot do, and noise prediction from a step of zero SNR.
    """

    def __call__(
        self,
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
    ) -> Tensor: ...
