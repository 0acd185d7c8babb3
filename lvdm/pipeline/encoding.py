"""The first stage of a generation: what a loaded model makes of prompts and images, each distinct one once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm import conditioning as build
from lvdm.conditioning import Conditioning
from lvdm.diffusion.noise import sample_noise
from lvdm.models.training_inputs import LeftOut
from lvdm.pipeline.carried_details import CarriedFrames
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.residence import Residence
from lvdm.pipeline.results import stacked_depth
from lvdm.request.settings import GenerationSettings


@dataclass
class Encoding(Residence):
    """A model whose encoders are at work; the null conditions are computed once for all generations."""

    _null_text: Tensor | None = field(default=None, init=False)
    _null_image: Tensor | None = field(default=None, init=False)

    def conditions(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        images_by_frame: Mapping[int, Tensor],
        fs: int,
    ) -> tuple[Conditioning, ...]:
        """What guidance needs, the full condition first: (cond,), (cond, uncond) or (cond, uncond, image only).

        images: (b, 3, H, W) in [-1, 1] by the number of their frame, already at the size that the network runs at;
        of a model that reads no image, only their size is used.
        """
        images = images_by_frame[0]
        text = self._embed_texts([request.prompt for request in requests])
        tokens = self._image_tokens(images, settings) if self.model.config.reads_images else text[:, :0]
        concat = self._concat(requests, settings, images_by_frame, fs).to(self.precision.weights)
        full = Conditioning(text, tokens, concat, torch.full((len(requests),), fs, device=self.device))
        if settings.num_branches == 1:
            return (full,)
        negative = self._embed_texts([request.negative_prompt for request in requests])
        uncond = full.with_text(negative)
        if self.model.config.reads_images:
            uncond = uncond.with_image(self._null_tokens(settings, images))
        if settings.num_branches == 2:
            return full, uncond
        return full, uncond, full.with_text(negative)

    def encode_video(self, video: Tensor | Iterable[Tensor]) -> Tensor:
        """Latents (b, 4, t, h, w), float32 on the device, of a video (b, 3, t, H, W) in [-1, 1]: the posterior mode.

        It may also be given frame by frame, (b, 3, 1, H, W) each.
        """
        with self.in_use(), self.resident(self.model.first_stage_model), self.without_gradients():
            frames = video.split(1, dim=2) if isinstance(video, Tensor) else video  # one at a time, to save memory
            return torch.cat([self.model.encode_first_stage(f.to(self.device)) for f in frames], dim=2).float()

    @torch.inference_mode()
    def prompt_agreement(self, video: Tensor, prompt: str) -> float | None:
        """Mean cosine, over the frames of a video (3, t, H, W) in [-1, 1], of frame and prompt in the model's CLIP.

        None for a model without an image encoder, or whose encoders have features of different lengths.
        """
        if isinstance(self.model.embedder, LeftOut):
            return None
        with self.in_use(), self.resident(self.model.cond_stage_model):
            text = self.model.cond_stage_model.pooled([prompt]).float()  # 1 d
        with self.in_use(), self.resident(self.model.embedder):
            frames = [
                self.model.embedder.pooled(frame.to(self.device)).float() for frame in video.transpose(0, 1)[:, None]
            ]
        if text.shape[1] != frames[0].shape[1]:
            return None
        return F.cosine_similarity(torch.cat(frames), text).mean().item()

    def _embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """(b, n, d); each distinct prompt is encoded once, the empty one once for all calls."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt]
        embedded = {}
        if missing:
            with self.resident(self.model.cond_stage_model):
                embedded = {prompt: self.model.embed_text([prompt]) for prompt in missing}
        if "" in prompts:
            embedded[""] = self._null_tokens_of_text()
        return torch.cat([embedded[prompt] for prompt in prompts])

    def _null_tokens_of_text(self) -> Tensor:
        """The tokens of the empty prompt, (1, n, d)."""
        with self.shared.filling:
            if self._null_text is None:
                with self.resident(self.model.cond_stage_model):
                    self._null_text = self.model.embed_text([""])
            return self._null_text

    def _image_tokens(self, images: Tensor, settings: GenerationSettings) -> Tensor:
        """(b, tokens, d), frame-major, for the settings' number of frames; each distinct image is encoded once."""
        with self.resident(self.model.embedder, self.model.image_proj_model):
            tokens = each_distinct(images, lambda image: self.model.embed_image(image.to(self.device)))
        return self._fit_tokens(tokens, settings)

    def _null_tokens(self, settings: GenerationSettings, images: Tensor) -> Tensor:
        """The tokens of a grey image (zeros), (1, tokens, d)."""
        with self.shared.filling:
            if self._null_image is None:
                with self.resident(self.model.embedder, self.model.image_proj_model):
                    self._null_image = self.model.embed_image(torch.zeros_like(images[:1], device=self.device))
            tokens = self._null_image
        return self._fit_tokens(tokens, settings)

    def _fit_tokens(self, tokens: Tensor, settings: GenerationSettings) -> Tensor:
        """Image tokens for the settings' number of frames; those that all frames share fit any."""
        if self.model.unet.config.shared_context:
            return tokens
        return build.fit_image_tokens(
            tokens, self.model.temporal_length, settings.num_frames, settings.image_token_policy
        )

    def _concat(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        images_by_frame: Mapping[int, Tensor],
        fs: int,
    ) -> Tensor:
        images, last = images_by_frame[0], settings.num_frames - 1
        if settings.mode == "structure":
            return stacked_depth(requests).to(self.device)
        if not self.model.reads_latents:
            height, width = (side // self.model.vae_factor for side in images.shape[2:])
            return torch.zeros(len(images), 0, settings.num_frames, height, width, device=self.device)
        first = self._latents(requests, images, "image")
        latents = {0: first}
        for frame in sorted(images_by_frame)[1:] if settings.mode in ("interpolate", "keyframes") else ():
            stream = "end_image" if frame == last else f"keyframe {frame}"
            latents[frame] = self._latents(requests, images_by_frame[frame], stream)
        if settings.mode == "loop":
            latents[last] = first
        if self.model.frame_carrier is not None or requests[0].given_frames is not None:
            return self._carried(requests, settings, images, latents, fs)
        if settings.mode == "animate":
            return build.repeat_frame(first, settings.num_frames)
        return build.place_keyframes(latents, settings.num_frames)

    def _carried(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        images: Tensor,
        latents: Mapping[int, Tensor],
        fs: int,
    ) -> Tensor:
        """Images (b, 3, H, W) carried along, to and fro in loops, and all given frames as they are."""
        carrier = self.model.frame_carrier
        pixels, visible = self._moved(requests, settings, images, fs)
        with self.resident(self.model.first_stage_model):
            concat = self._means(pixels) if carrier is None else carrier.channels(pixels, visible, self._means)
        for frame in sorted(latents):
            concat[:, :, frame] = latents[frame] if carrier is None else carrier.all_visible(latents[frame])
        return concat

    def _moved(
        self, requests: Sequence[GenerationRequest], settings: GenerationSettings, images: Tensor, fs: int
    ) -> tuple[Tensor, Tensor]:
        """Pixels (b, 3, t, H, W) and their visibility (b, 1, t, H, W): by a given motion, else by the carrier."""
        given = [request.given_frames for request in requests if request.given_frames is not None]
        if given:
            pixels, visible = (torch.stack([getattr(f, name) for f in given]) for name in ("pixels", "visible"))
            return pixels.to(self.device), visible.to(self.device)
        carrier = self.model.frame_carrier
        assert carrier is not None, "only a model with a carrier has anything carried"
        with self.resident(carrier):
            carried = carrier.clip(images.to(self.device), *self._carried_by(requests, settings, fs))
        return carried.pixels, carried.visible

    def _carried_by(
        self, requests: Sequence[GenerationRequest], settings: GenerationSettings, fs: int
    ) -> tuple[Tensor, Tensor, int, int | None]:
        """Text tokens, strides (b,), the number of frames, and the period of a clip that goes to and fro."""
        count = settings.num_frames
        period = count if settings.long_video == "cyclic" else count - 1 if settings.mode == "loop" else None
        text = self._embed_texts([request.prompt for request in requests])
        return text, torch.full((len(requests),), fs, device=self.device), count, period

    def carried_frames(
        self,
        requests: Sequence[GenerationRequest],
        settings: GenerationSettings,
        images_by_frame: Mapping[int, Tensor],
        fs: int,
        concat: Tensor,
    ) -> CarriedFrames | None:
        """The pixels of `concat` (b, c, t, h, w), what the network is shown; None for a model without their details."""
        carrier = self.model.frame_carrier
        if carrier is None or not carrier.config.details:
            return None
        pixels, visible = (part.float() for part in self._moved(requests, settings, images_by_frame[0], fs))
        for frame, images in images_by_frame.items():
            if frame < pixels.shape[2]:  # a ring ends before its first frame comes again
                pixels[:, :, frame], visible[:, :, frame] = images.to(pixels), 1.0
        return CarriedFrames(pixels, visible, concat[:, : self.model.config.channels])

    def _means(self, video: Tensor) -> Tensor:
        """Latents (b, 4, t, h, w) of a video (b, 3, t, H, W), frame by frame to save memory: the posterior mode."""
        frames = video.to(self.precision.vae).split(1, dim=2)
        return torch.cat([self.model.encode_first_stage(frame) for frame in frames], dim=2).float()

    def _latents(self, requests: Sequence[GenerationRequest], images: Tensor, stream: str) -> Tensor:
        """Posterior samples (b, 4, h, w) of images (b, 3, H, W): each distinct image meets the encoder once."""
        autoencoder = self.model.first_stage_model

        def moments(image: Tensor) -> Tensor:
            posterior = autoencoder.encode(image.to(self.device, self.precision.vae))
            return torch.stack([posterior.mean, posterior.std], dim=1).float()  # (1, 2, c, h, w)

        with self.resident(autoencoder):
            mean, std = each_distinct(images, moments).unbind(1)
        seeds, indices = [request.seed for request in requests], [request.index for request in requests]
        noise = sample_noise(tuple(mean.shape[1:]), seeds, indices, stream)
        return self.model.config.scale_factor * (mean + std * noise.to(mean))


def each_distinct(images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """`encode` (1, ...) -> (1, ...) of each image of a batch, computed once for images that are equal."""
    codes: list[Tensor] = []
    for i, image in enumerate(images):
        same = next((j for j in range(i) if torch.equal(images[j], image)), None)
        codes.append(encode(image[None]) if same is None else codes[same])
    return torch.cat(codes)
