"""Sampling of a video frame by frame, by FIFO-Diffusion: what is held does not depend on its length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.diffusion.noise import sample_noise
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.runtime import Runtime, guide
from lvdm.plugins.fifo import FIFO
from lvdm.plugins.hooks import Plugin, Samples, attached, plain_hooks
from lvdm.progress import ProgressCallback, report_progress
from lvdm.request.settings import GenerationSettings


def for_windows(settings: GenerationSettings, window: int) -> GenerationSettings:
    """`settings` for the windows of such a video: those of a plain clip of the trained length."""
    return replace(settings, num_frames=window, long_video="plain")


def stream_latents(
    runtime: Runtime,
    requests: Sequence[GenerationRequest],
    settings: GenerationSettings,
    conditions: Sequence[Conditioning],
    on_progress: ProgressCallback | None,
    plugins: Sequence[Plugin] = (),
) -> Iterator[Tensor]:
    """Latents (b, c, 1, h, w) of one frame after the other, in float32 on the device.

    conditions: those of `for_windows`. Before frame 0 stands the image, or frame 0 of a plain clip where the model is
    not shown the latents of one.
    """
    model, total = runtime.model, settings.num_inference_steps
    window, schedule = model.trained_frames, model.schedule
    samples = Samples(tuple(r.seed for r in requests), tuple(r.index for r in requests))
    branches = partial(model.branches, batched=not runtime.low_memory)
    hooks = plain_hooks(samples, branches, total, guidance=partial(guide, settings=settings))
    hooks = replace(hooks, layers=runtime.layers)
    clip = for_windows(settings, window)
    if model.reads_latents:
        still = conditions[0].concat[:, : model.config.channels, 0].float()
    else:
        still = runtime.sample(requests, clip, conditions, None, None, plugins=plugins)[:, :, 0]

    def noise(stream: str) -> Tensor:
        return sample_noise(still.shape[1:], samples.seeds, samples.indices, stream).to(still)

    def after_iteration(number: int) -> None:
        if number < total:  # the queue is filling: there is no frame yet
            report_progress(on_progress, "sample", number + 1, total)

    methods = [*runtime.settings_plugins(requests, clip), *plugins]
    hooks = attached(methods, model.unet, hooks, samples)
    with runtime.resident(model.model):
        timesteps = make_timesteps(settings.timestep_spacing, total, schedule.num_train_timesteps)
        runtime.warn_of_lost_contrast(settings, timesteps)
        report_progress(on_progress, "sample", 0, total)
        frames = FIFO(window).stream(
            hooks.denoiser(conditions),
            still,
            lambda frame: noise(f"frame/{frame}"),
            schedule,
            timesteps,
            settings.num_frames,
            eta=settings.eta,
            step_noise=lambda frame, step: noise(f"frame/{frame}/step/{step}"),
            fix_final_step=settings.fix_final_step,
            on_iteration=after_iteration,
        )
        for frame in frames:
            yield frame[:, :, None]
