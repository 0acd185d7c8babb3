"""A scheduler of diffusers as one of our samplers, for the models whose noise it knows."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lvdm.checkpoint.diffusers_writing import PREDICTIONS
from lvdm.diffusion.guidance import Denoiser
from lvdm.diffusion.noise import StepNoise
from lvdm.diffusion.parameterization import predict_x0
from lvdm.diffusion.samplers import SAMPLERS, Inpainting, Sampler, StepCallback
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.errors import UserError
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples, plain_start

SAME_SCHEDULE = 1e-4
"""Largest difference in abar_t of schedules that are the same; diffusers computes it in float32 by another formula."""


@dataclass(frozen=True, eq=False)
class TheirScheduler:
    """A scheduler of diffusers in the place of the sampler, as a plug-in."""

    scheduler: Any

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """See `Plugin`. Raises `UserError` for methods that begin or sample in a way of their own."""
        if hooks.initial_noise is not plain_start or hooks.sampler not in SAMPLERS.values():
            raise UserError(
                f"a method begins or samples in a way of its own, which {type(self.scheduler).__name__} cannot; put a "
                "VideoScheduler back, or leave the method out"
            )
        return replace(hooks, sampler=sampler_of(self.scheduler))


def check_scheduler(scheduler: Any, schedule: NoiseSchedule) -> None:
    """Raise `UserError` unless `scheduler` is for the noise that the model was trained with."""
    name, config = type(scheduler).__name__, scheduler.config
    if schedule.scale_arr is not None:
        raise UserError(
            f"{name} knows no dynamic rescale, which this model was trained with; use the VideoScheduler of the folder "
            "and sampler='ddim', 'dpm++' or 'unipc'"
        )
    hint = f"make it by {name}.from_config(pipe.scheduler.config)"
    predicts = PREDICTIONS[schedule.parameterization]
    if config.get("prediction_type") != predicts:
        raise UserError(f"{name} is for {config.get('prediction_type')} and the model predicts {predicts}; {hint}")
    if float(getattr(scheduler, "init_noise_sigma", 0)) != 1.0:
        raise UserError(f"{name} scales its latents in another way; use DDIM, DPMSolverMultistep or UniPC")
    theirs, ours = scheduler.alphas_cumprod.cpu().float(), schedule.alphas_cumprod.cpu()
    if theirs.shape != ours.shape or float((theirs - ours).abs().max()) > SAME_SCHEDULE:
        raise UserError(f"{name} has another noise schedule than the model was trained with; {hint}")


def takes_eta(scheduler: Any) -> bool:
    """Whether `scheduler` adds as much noise as `eta` says, and takes that noise."""
    return {"eta", "variance_noise"} <= set(inspect.signature(scheduler.step).parameters)


def sampler_of(scheduler: Any) -> Sampler:
    """`scheduler`, which `check_scheduler` let through, with the signature of our samplers.

    It visits its own time steps, as many as it is given, and ends as its own configuration says.
    """

    def sample(
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
        name = type(scheduler).__name__
        if inpaint is not None:
            raise UserError(f"{name} keeps no region as it is; leave out keep_mask and anchor, or use a VideoScheduler")
        if eta and not takes_eta(scheduler):
            raise UserError(f"{name} takes no eta; leave it out, or use DDIMScheduler")
        schedule = schedule.to(x_T.device)
        scheduler.set_timesteps(len(timesteps), device=x_T.device)
        x_t = x_T
        for i, t in enumerate(scheduler.timesteps):
            steps = t.to(x_T.device, torch.int64).expand(x_T.shape[0])  # b
            output = denoiser(scheduler.scale_model_input(x_t, t), steps).to(x_t.dtype)
            given: dict[str, Any] = {}
            if eta and step_noise is not None:
                given = {"eta": eta, "variance_noise": step_noise(i, tuple(x_t.shape)).to(x_t)}
            x_0 = predict_x0(output, x_t, steps, schedule)
            x_t = scheduler.step(output, t, x_t, **given).prev_sample
            changed = None if callback is None else callback(i, int(t), x_t, x_0)
            x_t = x_t if changed is None else changed
        return x_t

    return sample
