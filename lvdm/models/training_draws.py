"""The random numbers of one training step, drawn in one place, so that they can be fixed, repeated and tested.

Each sample has a generator of its own, keyed by the seed and the number of the sample in the training. So a sample's
numbers depend neither on its batch, nor on the device count, nor on whether the training was interrupted before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lvdm.diffusion.noise import sample_generator


@dataclass(frozen=True)
class TrainingDraws:
    """Everything random in one step on b clips of t frames.

    condition_drop  (b,) uniform in [0, 1): decides which conditions are dropped, see `dropped_conditions`
    cond_frame      (b,) int64: the frame that conditions each clip
    interpolate     (b,) bool: clips whose first and last frame are given instead of one repeated frame
    t               (b,) int64 time steps
    noise           like the latents
    posterior       like the latents: noise of the autoencoder's posterior
    """

    condition_drop: Tensor
    cond_frame: Tensor
    interpolate: Tensor
    t: Tensor
    noise: Tensor
    posterior: Tensor

    def to(self, device: torch.device) -> TrainingDraws:
        """The same numbers on `device`."""
        return TrainingDraws(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class DrawRules:
    """What training numbers are drawn from.

    num_timesteps              t is drawn from [0, num_timesteps)
    rand_cond_frame            any frame may condition a clip, not only the first
    interpolation_probability  share of clips that are given their first and last frame
    high_noise_probability     share of clips whose t is drawn from `high_noise_start` on only
    noise_strength             noise shared by all pixels of a channel of a frame, added to the noise (offset noise)
    """

    num_timesteps: int = 1000
    rand_cond_frame: bool = False
    interpolation_probability: float = 0.0
    high_noise_probability: float = 0.0
    high_noise_start: int = 500
    noise_strength: float = 0.0


def draw_training_numbers(
    latent_shape: tuple[int, ...], numbers: Sequence[int], seed: int, rules: DrawRules, stream: str = "train"
) -> TrainingDraws:
    """Draw for latents of `latent_shape` (b, c, t, h, w) of the samples that `numbers` counts, on the CPU.

    Streams are independent: validation draws from another one than training. (The original draws one conditioning
    frame for a whole batch; here each clip has its own, with the same distribution.)
    """
    samples = [_draw_sample(latent_shape[1:], sample_generator(seed, number, stream), rules) for number in numbers]
    return TrainingDraws(*(torch.stack(values) for values in zip(*samples, strict=True)))


def _draw_sample(shape: tuple[int, ...], generator: torch.Generator, rules: DrawRules) -> tuple[Tensor, ...]:
    """The fields of `TrainingDraws` for one clip with latents of `shape` (c, t, h, w). Every rule draws its numbers

    whether it is in use or not, so that changing one leaves the others' numbers as they are.
    """
    condition_drop = torch.rand((), generator=generator)
    frame = torch.randint(shape[1], (), generator=generator)
    interpolate = torch.rand((), generator=generator) < rules.interpolation_probability
    t = torch.randint(rules.num_timesteps, (), generator=generator)
    noisy = torch.rand((), generator=generator) < rules.high_noise_probability
    high = torch.randint(rules.high_noise_start, rules.num_timesteps, (), generator=generator)
    noise = torch.randn(shape, generator=generator)
    posterior = torch.randn(shape, generator=generator)
    offset = torch.randn((*shape[:2], 1, 1), generator=generator)
    if rules.noise_strength:
        noise = noise + rules.noise_strength * offset
    frame = frame if rules.rand_cond_frame else torch.zeros_like(frame)
    return condition_drop, frame, interpolate, torch.where(noisy, high, t), noise, posterior


def dropped_conditions(condition_drop: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Which clips lose their caption and which their image tokens, two (b,) bool tensors.

    Of p = `probability` each: caption only, both, image only. The concatenated latent is never dropped
    (the original's behaviour).
    """
    drop_text = condition_drop < 2 * probability
    drop_image = (condition_drop >= probability) & (condition_drop < 3 * probability)
    return drop_text, drop_image


def moving_region_weight(latents: Tensor, weight: float, threshold: float = 0.5) -> Tensor:
    """Loss weight (b, 1, t, h, w) of mean 1 for each clip: `weight` where a frame differs from frame 0, 1 elsewhere.

    A latent pixel moves when its mean absolute difference to frame 0 exceeds `threshold` standard deviations of the
    clip. Small objects on a still background are otherwise lost in the loss of the background.
    """
    spread = latents.flatten(1).std(dim=1)[:, None, None, None, None]
    moved = (latents - latents[:, :, :1]).abs().mean(dim=1, keepdim=True) > threshold * spread
    weights = torch.where(moved, weight, 1.0)
    return weights / weights.mean(dim=(1, 2, 3, 4), keepdim=True)
