"""A loaded model at work on a device: the three stages of a generation, each with the precision and memory it needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm import conditioning as build
from lvdm.conditioning import Conditioning
from lvdm.device import Precision, empty_cache
from lvdm.diffusion.guidance import Branches, Denoiser, classifier_free_guidance, text_image_guidance
from lvdm.diffusion.noise import initial_noise, make_step_noise, sample_noise
from lvdm.diffusion.samplers import SAMPLERS, Inpainting, StepCallback
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.generation import GenerationSettings
from lvdm.results import GenerationRequest, Progress

logger = logging.getLogger(__name__)

NOTICEABLE_CONTRAST = 0.95
"""Below this share of its contrast a video is visibly flat."""

ProgressCallback = Callable[[Progress], None]


@dataclass
class Runtime:
    """The model, where and in what precision it runs, and the null conditions, which are computed once.

    `low_memory` keeps only the part at work on the device and runs guidance branches one after the other.
    """

    model: Any
    device: torch.device
    precision: Precision
    low_memory: bool = False
    _texts: dict[str, Tensor] = field(default_factory=dict)
    _null_image: Tensor | None = None

    @contextmanager
    def _resident(self, *modules: nn.Module) -> Iterator[None]:
        """Hold `modules` on the device for the block; they stay there unless memory is low."""
        for module in modules:
            module.to(self.device)
        try:
            yield
        finally:
            if self.low_memory and self.device.type != "cpu":
                for module in modules:
                    module.to("cpu")
                empty_cache(self.device)

    def conditions(
        self, requests: Sequence[GenerationRequest], settings: GenerationSettings, images: Tensor, ends: Tensor, fs: int
    ) -> tuple[Conditioning, ...]:
        """What guidance needs, the full condition first: (cond,), (cond, uncond) or (cond, uncond, image only).

        images, ends: (b, 3, H, W) in [-1, 1], the pictures at both ends, already at the size that the network runs at.
        """
        text = self._embed_texts([request.prompt for request in requests])
        tokens = self._image_tokens(images, settings)
        concat = self._concat(requests, settings, images, ends).to(self.precision.weights)
        full = Conditioning(text, tokens, concat, torch.full((len(requests),), fs, device=self.device))
        if settings.num_branches == 1:
            return (full,)
        negative = self._embed_texts([request.negative_prompt for request in requests])
        uncond = full.with_text(negative).with_image(self._null_tokens(settings, images))
        if settings.num_branches == 2:
            return full, uncond
        return full, uncond, full.with_text(negative)

    def sample(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        conditions: Sequence[Conditioning],
        on_step: StepCallback | None,
        on_progress: ProgressCallback | None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Latents (b, 4, t, h, w) in float32 on the device.

        kept: (b, t, H, W) in [0, 1] at the size that the network runs at, 1 where the image stays as it is.
        """
        seeds, indices = [request.seed for request in requests], [request.index for request in requests]
        noise = initial_noise(tuple(conditions[0].concat.shape[1:]), seeds, indices).to(self.device)
        timesteps = make_timesteps(settings.timestep_spacing, settings.num_inference_steps)
        total = len(timesteps)
        self._warn_of_lost_contrast(settings, timesteps)
        report(on_progress, "sample", 0, total)

        def after_step(step: int, t: int, x_t: Tensor, pred_x0: Tensor) -> Tensor | None:
            changed = on_step(step, t, x_t, pred_x0) if on_step else None
            report(on_progress, "sample", step + 1, total)
            return changed

        with self._resident(self.model.model):
            branches = self.model.branches(conditions, batched=not self.low_memory)
            return SAMPLERS[settings.sampler](
                guide(branches, settings),
                noise,
                self.model.schedule,
                timesteps,
                eta=settings.eta,
                step_noise=make_step_noise(seeds, indices),
                fix_final_step=settings.fix_final_step,
                inpaint=None if kept is None else self._inpainting(kept, conditions[0], noise),
                callback=after_step,
            )

    def _inpainting(self, kept: Tensor, conditioning: Conditioning, noise: Tensor) -> Inpainting:
        """The image's latents at every frame, wherever at least half of a latent pixel is `kept`."""
        share = F.avg_pool2d(kept, self.model.vae_factor)  # b t h w
        first = conditioning.concat[:, :, 0].float()  # in every mode the latents of the image
        return Inpainting((share >= 0.5).float()[:, None], build.repeat_frame(first, kept.shape[1]), noise)

    def _warn_of_lost_contrast(self, settings: GenerationSettings, timesteps: Tensor) -> None:
        """The original's last DDIM step leaves x_0 at the dynamic rescale of the last time step."""
        kept = self.model.schedule.scale(timesteps[-1:].cpu()).item()
        if settings.sampler == "ddim" and not settings.fix_final_step and kept < NOTICEABLE_CONTRAST:
            logger.warning(
                "with %d steps the original's last step leaves the video with %.0f %% of its contrast; "
                "use fix_final_step (--fix-final-step), or more steps",
                len(timesteps),
                100 * kept,
            )

    def decode(self, latents: Tensor, settings: GenerationSettings, on_progress: ProgressCallback | None) -> Tensor:
        """Videos (b, 3, t, H, W) in float32 on the CPU, about [-1, 1]; a few frames at a time."""
        num_frames = latents.shape[2]
        chunk = 1 if self.low_memory else settings.decode_chunk_size or num_frames
        report(on_progress, "decode", 0, num_frames)
        frames = []
        with self._resident(self.model.first_stage_model):
            for begin in range(0, num_frames, chunk):
                part = latents[:, :, begin : begin + chunk].to(self.precision.vae)
                frames.append(self.model.decode_first_stage(part, tile=settings.vae_tile).float().cpu())
                report(on_progress, "decode", min(begin + chunk, num_frames), num_frames)
        return torch.cat(frames, dim=2)

    @torch.inference_mode()
    def prompt_agreement(self, video: Tensor, prompt: str) -> float | None:
        """Mean cosine, over the frames of a video (3, t, H, W) in [-1, 1], of frame and prompt in the model's CLIP.

        None for a model whose two towers have features of different lengths.
        """
        with self._resident(self.model.cond_stage_model):
            text = self.model.cond_stage_model.pooled([prompt]).float()  # 1 d
        with self._resident(self.model.embedder):
            frames = [
                self.model.embedder.pooled(frame.to(self.device)).float() for frame in video.transpose(0, 1)[:, None]
            ]
        if text.shape[1] != frames[0].shape[1]:
            return None
        return F.cosine_similarity(torch.cat(frames), text).mean().item()

    def _embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """(b, n, d); each distinct prompt is encoded once, the empty one once for all calls."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        embedded = {"": self._texts[""]} if "" in self._texts else {}
        if missing:
            with self._resident(self.model.cond_stage_model):
                embedded |= {prompt: self.model.embed_text([prompt]) for prompt in missing}
        if "" in embedded:
            self._texts[""] = embedded[""]
        return torch.cat([embedded[prompt] for prompt in prompts])

    def _image_tokens(self, images: Tensor, settings: GenerationSettings) -> Tensor:
        """(b, tokens, d), frame-major, for the settings' number of frames; each distinct image is encoded once."""
        with self._resident(self.model.embedder, self.model.image_proj_model):
            tokens = each_distinct(images, lambda image: self.model.embed_image(image.to(self.device)))
        return build.fit_image_tokens(
            tokens, self.model.temporal_length, settings.num_frames, settings.image_token_policy
        )

    def _null_tokens(self, settings: GenerationSettings, images: Tensor) -> Tensor:
        """The tokens of a grey image (zeros), (1, tokens, d)."""
        if self._null_image is None:
            with self._resident(self.model.embedder, self.model.image_proj_model):
                self._null_image = self.model.embed_image(torch.zeros_like(images[:1], device=self.device))
        return build.fit_image_tokens(
            self._null_image, self.model.temporal_length, settings.num_frames, settings.image_token_policy
        )

    def _concat(
        self, requests: Sequence[GenerationRequest], settings: GenerationSettings, images: Tensor, ends: Tensor
    ) -> Tensor:
        first = self._latents(requests, images, "image")
        if settings.mode == "animate":
            return build.repeat_frame(first, settings.num_frames)
        if settings.mode == "loop":
            return build.loop(first, settings.num_frames)
        return build.interpolation(first, self._latents(requests, ends, "end_image"), settings.num_frames)

    def _latents(self, requests: Sequence[GenerationRequest], images: Tensor, stream: str) -> Tensor:
        """Posterior samples (b, 4, h, w) of images (b, 3, H, W): each distinct image meets the encoder once."""
        autoencoder = self.model.first_stage_model

        def moments(image: Tensor) -> Tensor:
            posterior = autoencoder.encode(image.to(self.device, self.precision.vae))
            return torch.stack([posterior.mean, posterior.std], dim=1).float()  # (1, 2, c, h, w)

        with self._resident(autoencoder):
            mean, std = each_distinct(images, moments).unbind(1)
        seeds, indices = [request.seed for request in requests], [request.index for request in requests]
        noise = sample_noise(tuple(mean.shape[1:]), seeds, indices, stream)
        return self.model.config.scale_factor * (mean + std * noise.to(mean))


def guide(branches: Branches, settings: GenerationSettings) -> Denoiser:
    """The guidance that the settings ask for, around branches in the order of `Runtime.conditions`."""
    scale, image_scale, rescale = settings.guidance_scale, settings.image_guidance_scale, settings.guidance_rescale
    if image_scale in (None, scale):
        return classifier_free_guidance(branches, scale, rescale)
    return text_image_guidance(branches, scale, image_scale, rescale)


def each_distinct(images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """`encode` (1, ...) -> (1, ...) of each image of a batch, computed once for images that are equal."""
    codes: list[Tensor] = []
    for i, image in enumerate(images):
        same = next((j for j in range(i) if torch.equal(images[j], image)), None)
        codes.append(encode(image[None]) if same is None else codes[same])
    return torch.cat(codes)


def report(on_progress: ProgressCallback | None, stage: str, done: int, total: int) -> None:
    """Tell the caller, if it wants to know."""
    if on_progress:
        on_progress(Progress(stage, done, total))
