"""Sampling that begins below the last time step, from noise with the right mean and spread (arXiv 2406.15735).

Conditional image leakage: at the very last steps a model has nothing but the image to go by, and copies it. Beginning
at M < T leaves these steps out and gives more motion. The latents at M are not quite noise: Analytic-Init draws them
with the mean and variance that latents of real clips have there,

    mean = sqrt(abar) s E[x_0],    variance = 1 - abar + abar s^2 Tr(Cov[x_0]) / d     at t = M - 1,

with the dynamic rescale s, which the published code leaves out. At M = T under zero terminal SNR this is plain noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.deprecation import renamed_names
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples, Start, begun_otherwise


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """Moments of the latents of clips: `mean` (c, t, h, w) float32 and the `variance` around it, Tr(Cov) / d."""

    mean: Tensor
    variance: float

    def fitted(self, shape: tuple[int, ...]) -> Tensor:
        """The mean at the shape (c, t, h, w) of other clips, interpolated."""
        if tuple(self.mean.shape) == tuple(shape):
            return self.mean
        return F.interpolate(self.mean[None], list(shape[1:]), mode="trilinear")[0]


class RunningStatistics:
    """Mean and variance of latents that come one clip after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros(())
        self._squares = 0.0

    def add(self, latents: Tensor) -> None:
        """Take in one clip (c, t, h, w)."""
        self._count += 1
        away = latents.double() - self._mean
        self._mean = self._mean + away / self._count
        self._squares += (away * (latents.double() - self._mean)).mean().item()

    def result(self) -> LatentStatistics:
        """The moments; the variance is the biased one. Raises `ValueError` without clips."""
        if not self._count:
            raise ValueError("no clips were given: there is nothing to take statistics of")
        return LatentStatistics(self._mean.float(), self._squares / self._count)


@dataclass(frozen=True, eq=False)
class TruncatedStart:
    """The method as a plug-in.

    time        M as a share of the training's time steps, above 0 and at most 1
    statistics  for Analytic-Init; None begins with plain noise
    """

    time: float
    statistics: LatentStatistics | None = None

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Begin at M; see `Plugin`."""

        def earlier(begin: Start, schedule: NoiseSchedule) -> Start:
            first = start_step(self.time, schedule)
            if self.statistics is None:
                return replace(begin, timestep=first)
            return Start(analytic_noise(begin.latents, self.statistics, first, schedule), first, begin.latents)

        return begun_otherwise(hooks, earlier)


def start_step(time: float, schedule: NoiseSchedule) -> int:
    """The time step M - 1 for `time` as a share of all."""
    return max(round(time * schedule.num_train_timesteps) - 1, 0)


def analytic_noise(noise: Tensor, statistics: LatentStatistics, t: int, schedule: NoiseSchedule) -> Tensor:
    """Noise (b, c, t, h, w) moved to the moments of noised latents at time step `t`."""
    abar = float(schedule.alphas_cumprod[t])
    scale = float(schedule.scale(torch.tensor([t])))
    mean = statistics.fitted(tuple(noise.shape[1:])).to(noise)
    spread = math.sqrt(1 - abar + abar * scale**2 * statistics.variance)
    return math.sqrt(abar) * scale * mean + spread * noise


__getattr__ = renamed_names(__name__, {"EarlyStart": "TruncatedStart"})
