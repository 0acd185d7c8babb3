"""Sampling that begins with what a frame carrier carried, under the noise of a time step, as SDEdit (arXiv:2108.01073).

What frame 0 shows is then already where it belongs; the network finishes it, and fills in what frame 0 does not show.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.pipeline.model import VideoModel
from lvdm.plugins.hooks import Start
from lvdm.plugins.method import Hold, When
from lvdm.plugins.registry import active_methods
from lvdm.plugins.truncated_start import start_step
from lvdm.request.settings import GenerationSettings


def carried_step(model: VideoModel, settings: GenerationSettings) -> int | None:
    """The time step at which sampling begins with carried latents; None: it begins with noise.

    So do models whose carrier has `start` 1, methods that say where sampling begins or how steps are taken, and more
    steps than there are time steps below.
    """
    carrier = model.frame_carrier
    if carrier is None:
        return None
    start, between = carrier.config.start, carrier.config.between
    if between is not None and settings.mode in ("interpolate", "keyframes"):
        start = between
    if start == 1:
        return None
    holds = [hold for method in active_methods(settings) for hold in method.holds]
    held = [h.what if isinstance(h, When) else h for h in holds if not isinstance(h, When) or h.test(settings)]
    if Hold.START in held or Hold.SAMPLER in held:
        return None
    first = start_step(start, model.schedule)
    return first if settings.num_inference_steps <= first + 1 else None


def begin_carried(begin: Start, first: int, carried: Tensor, schedule: NoiseSchedule) -> Start:
    """The beginning at time step `first`: latents `carried` (b, c, t, h, w) under the noise of `begin`."""
    noise = begin.latents
    t = torch.full((len(noise),), first, device=schedule.alphas_cumprod.device)
    x_0 = carried.to(schedule.alphas_cumprod.device, torch.float32)
    latents = q_sample(scale_x0(x_0, t, schedule), noise.to(x_0), t, schedule)
    return Start(latents.to(noise), first, noise)
