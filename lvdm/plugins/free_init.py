"""FreeInit (arXiv 2312.07537): sample, noise the result again, and sample anew from its low frequencies.

What the first pass found moves over a clip in its low frequencies, and real clips have more of that in their noise than
pure noise has. At the last time step of a model with zero terminal SNR nothing of the first pass would be left, so the
latents are noised to a time below it, with the dynamic rescale, and sampling begins there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lvdm.diffusion.noise import sample_noise
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.frequencies import low_pass_filter, mix_frequencies
from lvdm.plugins.hooks import Hooks, Samples, Start, begun_otherwise
from lvdm.plugins.methods.free_init import FreeInitOptions
from lvdm.plugins.truncated_start import start_step


@dataclass(frozen=True, eq=False)
class FreeInit:
    """One further sampling as a plug-in: the `iteration`-th, from 1, after the one that gave `latents`."""

    options: FreeInitOptions
    iteration: int
    latents: Tensor

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Begin with the low frequencies of the latents; see `Plugin`."""

        def again(begin: Start, schedule: NoiseSchedule) -> Start:
            noise, first = begin.latents, start_step(self.options.level, schedule)
            fresh = sample_noise(noise.shape[1:], samples.seeds, samples.indices, f"free init/{self.iteration}")
            return Start(self.noise_again(noise, fresh, first, schedule), first, noise)

        return begun_otherwise(hooks, again)

    def noise_again(self, noise: Tensor, fresh: Tensor, first: int, schedule: NoiseSchedule) -> Tensor:
        """What sampling begins with at time step `first`, (b, c, t, h, w).

        Low frequencies are those of the latents under the noise they came from, high ones those of `fresh` noise.
        """
        schedule, latents = schedule.to(noise.device), self.latents.to(noise)
        t = torch.full((noise.shape[0],), first, device=noise.device)
        scaled = scale_x0(latents, t, schedule)
        weights = low_pass_filter(tuple(noise.shape[2:]), self.options.spatial, self.options.temporal)  # type: ignore[arg-type]
        return mix_frequencies(q_sample(scaled, noise, t, schedule), fresh, weights)
