"""The random numbers of one training step, drawn in one place, so that they can be fixed, repeated and tested."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingDraws:
    """Everything random in one step on b clips of t frames.

    condition_drop  (b,) uniform in [0, 1): decides which conditions are dropped, see `dropped_conditions`
    cond_frame      index of the frame that conditions the batch
    interpolate     (b,) bool: clips whose first and last frame are given instead of one repeated frame
    t               (b,) int64 time steps
    noise           like the latents
    posterior       like the latents: noise of the autoencoder's posterior
    """

    condition_drop: Tensor
    cond_frame: int
    interpolate: Tensor
    t: Tensor
    noise: Tensor
    posterior: Tensor

    def to(self, device: torch.device) -> TrainingDraws:
        """The same numbers on `device`."""
        return TrainingDraws(
            self.condition_drop.to(device),
            self.cond_frame,
            self.interpolate.to(device),
            self.t.to(device),
            self.noise.to(device),
            self.posterior.to(device),
        )


def draw_training_numbers(
    latent_shape: tuple[int, ...],
    num_timesteps: int,
    generator: torch.Generator,
    *,
    rand_cond_frame: bool = False,
    interpolation_probability: float = 0.0,
    high_noise_probability: float = 0.0,
    high_noise_start: int = 500,
) -> TrainingDraws:
    """Draw for latents of `latent_shape` (b, c, t, h, w) from a CPU generator.

    rand_cond_frame            any frame may condition the batch, not only the first
    interpolation_probability  share of clips that are given their first and last frame
    high_noise_probability     share of clips whose t is drawn from `high_noise_start` on only
    """
    batch, _, num_frames = latent_shape[:3]
    condition_drop = torch.rand(batch, generator=generator)
    frame = int(torch.randint(num_frames, (1,), generator=generator)) if rand_cond_frame else 0
    interpolate = torch.rand(batch, generator=generator) < interpolation_probability
    t = torch.randint(num_timesteps, (batch,), generator=generator)
    noisy = torch.rand(batch, generator=generator) < high_noise_probability
    high = torch.randint(high_noise_start, num_timesteps, (batch,), generator=generator)
    t = torch.where(noisy, high, t)
    noise = torch.randn(latent_shape, generator=generator)
    posterior = torch.randn(latent_shape, generator=generator)
    return TrainingDraws(condition_drop, frame, interpolate, t, noise, posterior)


def dropped_conditions(condition_drop: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Which clips lose their sentence and which their image tokens, two (b,) bool tensors.

    Of p = `probability` each: sentence only, both, image only. The concatenated latent is never dropped
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
