"""Low and high frequencies of noise and latents over frames, rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor


def low_pass_filter(shape: tuple[int, int, int], spatial: float, temporal: float) -> Tensor:
    """Gaussian weights (t, h, w) float32 of the frequencies of `torch.fft.fftn`: 1 where nothing varies.

    spatial, temporal  where the Gaussian has one standard deviation, as shares of the highest frequency; 0 in one of
                       them passes nothing at all
    """
    if spatial == 0 or temporal == 0:
        return torch.zeros(shape)
    axes = [
        (2 * torch.fft.fftfreq(size) / width).square()
        for size, width in zip(shape, (temporal, spatial, spatial), strict=True)
    ]
    distance = axes[0][:, None, None] + axes[1][:, None] + axes[2]
    return torch.exp(-distance / 2)


def mix_frequencies(low: Tensor, high: Tensor, weights: Tensor) -> Tensor:
    """The frequencies of `low` as far as `weights` pass them, of `high` as far as they do not; (..., t, h, w)."""
    if not weights.any():
        return high
    difference = torch.fft.fftn(low - high, dim=(-3, -2, -1)) * weights.to(low.device)
    return high + torch.fft.ifftn(difference, dim=(-3, -2, -1)).real
