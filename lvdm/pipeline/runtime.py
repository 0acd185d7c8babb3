"""A loaded model at work: after `encoding`, sampling and decoding, each with the precision and memory it needs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm import conditioning as build
from lvdm.checkpoint import read_unet
from lvdm.conditioning import Conditioning
from lvdm.declaration.values import Attention
from lvdm.diffusion.guidance import Branches, Denoiser, classifier_free_guidance, text_image_guidance
from lvdm.diffusion.samplers import Inpainting, StepCallback
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.models.autoencoder import DualReferenceAutoencoder
from lvdm.modules.attention_backends import BACKENDS
from lvdm.modules.attention_processors import attend_by
from lvdm.modules.hooks import LayerHooks
from lvdm.pipeline.carried_details import CarriedFrames
from lvdm.pipeline.carried_start import begin_carried, carried_step
from lvdm.pipeline.clip_decoding import decode_whole_clips
from lvdm.pipeline.encoding import Encoding
from lvdm.pipeline.process_group import ProcessGroup
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.results import in_chunks
from lvdm.plugins.anchor import hold_first_frame
from lvdm.plugins.choosing import choose_offload
from lvdm.plugins.context import MethodContext
from lvdm.plugins.hooks import BranchMaker, Plugin, Samples, attached, plain_hooks
from lvdm.plugins.registry import GENERATION, SAMPLING, make_methods
from lvdm.plugins.scaling import Plan
from lvdm.progress import ProgressCallback, report_progress
from lvdm.request.settings import GenerationSettings

logger = logging.getLogger(__name__)

NOTICEABLE_CONTRAST = 0.95
"""Below this share of its contrast a video is visibly flat."""


@dataclass
class Runtime(Encoding):
    """The model at work, and what is computed once for all generations: the null conditions, and the second-stage UNet.

    `low_memory` also runs guidance branches one after the other. Several threads may use it, see `Residence`.
    `attention` computes that of the network; `processes` are those that make each video together.
    """

    attention: Attention = "sdpa"
    processes: ProcessGroup | None = None
    _late: dict[str, Mapping[str, Tensor]] = field(default_factory=dict, init=False)

    def sample(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        conditions: Sequence[Conditioning],
        on_step: StepCallback | None,
        on_progress: ProgressCallback | None,
        kept: Tensor | None = None,
        plugins: Sequence[Plugin] = (),
    ) -> Tensor:
        """Latents (b, c, t, h, w) in float32 on the device.

        kept: (b, 1 or t, H, W) in [0, 1] at the size that the network runs at, 1 where the image stays as it is.
        plugins: methods besides those that the settings ask for.
        """
        total = settings.num_inference_steps
        samples = Samples(tuple(r.seed for r in requests), tuple(r.index for r in requests))
        branches: BranchMaker = partial(self.model.branches, batched=not self.low_memory)
        if self.processes is not None:
            branches = self.processes.shared_branches(branches)
        hooks = plain_hooks(samples, branches, total, settings.sampler, partial(guide, settings=settings))
        hooks = replace(hooks, layers=self.layers)
        report_progress(on_progress, "sample", 0, total)

        def after_step(step: int, t: int, x_t: Tensor, pred_x0: Tensor) -> Tensor | None:
            hooks.clock.step = step + 1
            changed = on_step(step, t, x_t, pred_x0) if on_step else None
            report_progress(on_progress, "sample", step + 1, total)
            return changed

        methods = [*self.settings_plugins(requests, settings), *plugins]
        hooks = attached(methods, self.model.unet, hooks, samples)
        with self.resident(self.model.model):
            schedule, full = self.model.schedule, conditions[0]
            start = hooks.initial_noise((self.model.config.channels, *full.concat.shape[2:]), samples, full, schedule)
            first = carried_step(self.model, settings)
            if first is not None:
                start = begin_carried(start, first, full.concat[:, : self.model.config.channels], schedule)
            last = schedule.num_train_timesteps - 1 if start.timestep is None else start.timestep
            timesteps = make_timesteps(settings.timestep_spacing, total, last + 1)
            if start.timestep is not None:
                timesteps[0] = last  # the noise of these latents, which some spacings begin below
            self.warn_of_lost_contrast(settings, timesteps)
            self.warn_of_unused_weights(settings, timesteps)
            latents = start.latents.to(self.device)
            noise = latents if start.noise is None else start.noise.to(self.device)
            return hooks.sampler(
                hooks.denoiser(conditions),
                latents,
                schedule,
                timesteps,
                eta=settings.eta,
                step_noise=hooks.step_noise,
                fix_final_step=settings.fix_final_step,
                inpaint=self._inpainting(kept, settings.anchor, full, noise),
                callback=after_step,
            )

    @property
    def layers(self) -> LayerHooks:
        """What the network's layers go through, without methods."""
        return LayerHooks(attend=attend_by(BACKENDS[self.attention].kernel))

    def settings_plugins(self, requests: Sequence[GenerationRequest], settings: GenerationSettings) -> list[Plugin]:
        """The methods that are made anew for each sampling."""
        return make_methods(self._context(requests, settings), SAMPLING)

    def plugins(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        images_by_frame: Mapping[int, Tensor],
        scale: Plan | None,
        conditions: Sequence[Conditioning],
        fs: int,
    ) -> list[Plugin]:
        """The methods that need the images, at the size that the network runs at, or what `scale` came to.

        conditions: those of the whole video, see `conditions`, in the place of which a method may use others.
        """
        context = self._context(requests, settings, fs)
        return make_methods(
            replace(context, images_by_frame=images_by_frame, scale=scale, conditions=conditions), GENERATION
        )

    def _context(
        self, requests: Sequence[GenerationRequest], settings: GenerationSettings, fs: int = 0
    ) -> MethodContext:
        """What methods are made of; without `fs`, of those that read no image."""

        def image_latents(images_by_frame: Mapping[int, Tensor]) -> Tensor:
            return self._concat(requests, settings, images_by_frame, fs).to(self.precision.weights)

        on_cpu = self.device.type == "cpu"
        return MethodContext(
            settings,
            requests,
            self.model,
            self._embed_texts,
            self._unet_weights,
            self.encode_video,
            image_latents,
            partial(self.conditions, fs=fs),
            choose_offload(settings.num_frames, settings.chunk_frames, self.low_memory, on_cpu),
            self.moves,
        )

    def _unet_weights(self, path: str) -> Mapping[str, Tensor]:
        """The network's weights in a file; those of the last one are kept."""
        with self.shared.filling:
            if path not in self._late:
                self._late = {path: read_unet(path, self.model.unet)}
            return self._late[path]

    def _inpainting(
        self, kept: Tensor | None, anchor: str, conditioning: Conditioning, noise: Tensor
    ) -> Inpainting | None:
        """The image's latents at every frame, wherever at least half of a latent pixel is `kept`; None for nothing.

        With a soft `anchor` all of frame 0 is kept.
        """
        batch, _, num_frames, height, width = noise.shape
        if kept is not None:  # one mask for all frames is not made large before it is made small
            kept = (F.avg_pool2d(kept, self.model.vae_factor) >= 0.5).float().expand(-1, num_frames, -1, -1)
        kept = hold_first_frame(kept, anchor, (batch, num_frames, height, width))
        if kept is None:
            return None
        channels = self.model.config.channels  # beside them there may be what a frame carrier shows
        first = conditioning.concat[:, :channels, 0].float()  # in every mode the latents of the image
        return Inpainting(kept[:, None], build.repeat_frame(first, num_frames), noise)

    def warn_of_lost_contrast(self, settings: GenerationSettings, timesteps: Tensor) -> None:
        """The original's last DDIM step leaves x_0 at the dynamic rescale of the last time step."""
        kept = self.model.schedule.scale_at_end(timesteps.cpu()).item()
        if settings.sampler == "ddim" and not settings.fix_final_step and kept < NOTICEABLE_CONTRAST:
            logger.warning(
                "with %d steps the original's last step leaves the video with %.0f %% of its contrast; "
                "use fix_final_step (--fix-final-step), or more steps",
                len(timesteps),
                100 * kept,
            )

    def warn_of_unused_weights(self, settings: GenerationSettings, timesteps: Tensor) -> None:
        """With few steps none of them may lie among those of the second network."""
        below = settings.second_stage_below * self.model.schedule.num_train_timesteps
        if settings.second_stage_unet is not None and timesteps[-1] > below:
            logger.warning(
                "second_stage_unet (--second-stage-unet) has no effect: no step lies below second_stage_below %g; "
                "use more steps, or a larger share",
                settings.second_stage_below,
            )

    def decode(
        self,
        latents: Iterable[Tensor],
        num_frames: int,
        settings: GenerationSettings,
        on_progress: ProgressCallback | None,
        ends: Tensor | None = None,
        carried: CarriedFrames | None = None,
    ) -> Iterator[Tensor]:
        """Videos of latents in parts (b, c, k, h, w), `num_frames` in all, as they come.

        In parts of a few frames, (b, 3, n, H, W) in float32 on the CPU, about [-1, 1]. A decoder of whole clips takes
        all frames together, and the images of the first and the last one, `ends` (b, 3, 2, H, W) or None. Frames get
        the details of those that were `carried`.
        """
        if isinstance(self.model.first_stage_model, DualReferenceAutoencoder):
            yield from decode_whole_clips(self, latents, num_frames, ends, on_progress)
            return
        chunk = 1 if self.low_memory else settings.decode_chunk_size or num_frames
        done = 0
        with self.resident(self.model.first_stage_model):
            report_progress(on_progress, "decode", done, num_frames)
            for frames in self._decoded(in_chunks(latents, chunk), settings.vae_tile, carried):
                done += frames.shape[2]
                yield frames.to("cpu", torch.float32)  # b 3 n H W
                report_progress(on_progress, "decode", done, num_frames)

    def _decoded(self, parts: Iterable[Tensor], tile: int | None, carried: CarriedFrames | None) -> Iterator[Tensor]:
        """Frames (b, 3, n, H, W) of each part of latents (b, c, n, h, w), by all processes if there are several."""

        def decode(part: Tensor) -> Tensor:
            return self.model.decode_first_stage(part.to(self.precision.vae), tile=tile)

        def detailed(first: int, part: Tensor) -> Tensor:
            return decode(part) if carried is None else carried.detailed(decode(part), first, decode)

        numbered = _with_first_frames(parts)
        if self.processes is None:
            return (detailed(first, part) for first, part in numbered)
        return self.processes.shared_parts(numbered, detailed, self.model.vae_factor)


def _with_first_frames(parts: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Each part (b, c, n, h, w) after the number of its first frame."""
    first = 0
    for part in parts:
        yield first, part
        first += part.shape[2]


def guide(branches: Branches, settings: GenerationSettings) -> Denoiser:
    """The guidance that the settings ask for, around branches in the order of `Runtime.conditions`."""
    scale, image_scale, rescale = settings.guidance_scale, settings.image_guidance_scale, settings.guidance_rescale
    if image_scale in (None, scale):
        return classifier_free_guidance(branches, scale, rescale)
    return text_image_guidance(branches, scale, image_scale, rescale)
