"""The posterior of the image autoencoder: a Gaussian with one mean and one variance per latent value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOGVAR_RANGE = (-30.0, 20.0)
"""Bounds of the log-variance; those of the released model."""


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, exp(logvar)); both tensors are (n, c, h, w)."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_moments(cls, moments: Tensor) -> DiagonalGaussian:
        """Split (n, 2c, h, w) into the mean and the log-variance, the latter clamped to `LOGVAR_RANGE`."""
        mean, logvar = moments.chunk(2, dim=1)
        return cls(mean, logvar.clamp(*LOGVAR_RANGE))

    @property
    def std(self) -> Tensor:
        """Standard deviation, (n, c, h, w)."""
        return torch.exp(0.5 * self.logvar)

    def mode(self) -> Tensor:
        """The most likely value, which is the mean."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """`mean + std * noise` for standard normal `noise` (n, c, h, w), which may lie on another device.

        The caller draws the noise (on the CPU, from a seeded generator), so that a seed means the same on every device.
        """
        if noise.shape != self.mean.shape:
            raise ValueError(
                f"noise has shape {tuple(noise.shape)}, the posterior {tuple(self.mean.shape)}; draw it in that shape"
            )
        return self.mean + self.std * noise.to(self.mean)

    def kl(self) -> Tensor:
        """KL divergence to the standard normal, summed over everything but the batch, in nats: (n,)."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar).flatten(1).sum(dim=1)
