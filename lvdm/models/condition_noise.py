"""TimeNoise: noise on the image condition in training, more of it at noisier time steps (arXiv:2406.15735).

A model that is given the clean image at every time step learns to copy it where it should imagine motion ("conditional
image leakage"). At sampling the condition stays clean. Numbers are those of the authors (thu-ml/cond-image-leakage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.declaration.ranges import PositiveWeight, with_ranges
from lvdm.diffusion.noise import sample_generator, sample_noise

REPLACED = 0.95
"""Share of clips whose image tokens `clip_mode: replace` makes noise."""


@with_ranges
@dataclass(frozen=True)
class TimeNoiseConfig:
    """Keys of `model.params.time_noise`.

    beta_m     upper bound of the noise's standard deviation
    a          how late the noise sets in: its logit's mean is 2 t^a - 1 for t in [0, 1]
    clip_mode  none: only the concatenated latents; noise: the image tokens too, by a level of their own; replace: the
               tokens of 95 % of the clips become noise
    """

    beta_m: PositiveWeight = 100.0
    a: PositiveWeight = 5.0
    clip_mode: Literal["none", "noise", "replace"] = "none"


def noise_level(time: Tensor, normal: Tensor, config: TimeNoiseConfig) -> Tensor:
    """beta_s (b,) = beta_m sigmoid(2 t^a - 1 + n) for `time` (b,) in [0, 1] and standard normal n, `normal` (b,)."""
    return config.beta_m * torch.sigmoid(normal + 2 * time**config.a - 1)


def add_time_noise(
    conditioning: Conditioning, time: Tensor, numbers: Sequence[int], seed: int, config: TimeNoiseConfig
) -> Conditioning:
    """`conditioning` with noise on it.

    time     (b,) t over the number of time steps
    numbers  of the samples in the training; with `seed` they are the key of all that is drawn
    """

    def noisy(value: Tensor, stream: str) -> Tensor:
        normal = sample_noise((), seeds, numbers, f"{stream}/level").to(time.device)
        noise = sample_noise(value.shape[1:], seeds, numbers, stream).to(value)
        level = noise_level(time.float(), normal, config).to(value.dtype)
        return value + level.view(-1, *[1] * (value.ndim - 1)) * noise

    seeds = [seed] * len(numbers)
    image = conditioning.image
    if config.clip_mode == "noise":
        image = noisy(image, "condition noise/image")
    elif config.clip_mode == "replace":
        chances = [torch.rand((), generator=sample_generator(seed, n, "condition noise/replace")) for n in numbers]
        replaced = (torch.stack(chances) < REPLACED).to(image.device)[:, None, None]
        noise = sample_noise(image.shape[1:], seeds, numbers, "condition noise/image").to(image)
        image = torch.where(replaced, noise, image)
    return replace(conditioning, concat=noisy(conditioning.concat, "condition noise/concat"), image=image)
