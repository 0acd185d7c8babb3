"""LatentVisualDiffusion: the networks of one DynamiCrafter model under their released names, and its training step.

With other options the same class is VideoCrafter's; `LatentDiffusion` is its text-to-video model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from einops import rearrange
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from lvdm.checkpoint.parts import AUTOENCODER, IMAGE_ENCODER, QUERY_TRANSFORMER, TEXT_ENCODER, Part
from lvdm.conditioning import Conditioning, fit_image_tokens
from lvdm.config import Component, Nothing
from lvdm.diffusion.guidance import Branches, Denoiser, sequential
from lvdm.diffusion.loss import diffusion_loss, min_snr_weight
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.schedule import NoiseSchedule, schedule_buffers
from lvdm.models.carrier_training import CARRIER_LOSSES, carrier_step, training_concat, trains_carrier
from lvdm.models.condition_noise import add_time_noise
from lvdm.models.decoding import decode_in_tiles
from lvdm.models.lora import check_same_adapters
from lvdm.models.optimization import OptimizerConfig, build_optimizer
from lvdm.models.training_draws import (
    DrawRules,
    TrainingDraws,
    draw_training_numbers,
    dropped_conditions,
    moving_region_weight,
)
from lvdm.models.training_inputs import (
    Dropped,
    LeftOut,
    inputs_from_cache,
    inputs_from_pixels,
    is_cached,
)
from lvdm.models.video_config import LatentVisualDiffusionConfig, TextToVideoConfig
from lvdm.modules.attention import Context
from lvdm.modules.carrier import FrameCarrier
from lvdm.modules.distributions import DiagonalGaussian
from lvdm.modules.hooks import NO_HOOKS, LayerHooks
from lvdm.modules.layers import for_samples
from lvdm.modules.networks.openaimodel3d import UNetModel


class DiffusionWrapper(nn.Module):
    """Holds the UNet under the released key `model.diffusion_model`."""

    def __init__(self, unet: UNetModel) -> None:
        super().__init__()
        self.diffusion_model = unet


class LatentVisualDiffusion(pl.LightningModule):
    """Autoencoder, CLIP encoders, query transformer and UNet; keys and registration order are the released ones."""

    Config = LatentVisualDiffusionConfig
    alphas_cumprod: Tensor
    scale_arr: Tensor

    def __init__(self, config: LatentVisualDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.optimizer_config = OptimizerConfig()
        self.training_seed = 0
        self.layer_hooks: LayerHooks = NO_HOOKS
        self.base_checkpoint: Path | None = None  # what the training began from
        # Buffers hold values even when the networks are built on the meta device.
        with torch.device("cpu"):
            for name, value in schedule_buffers(config.schedule_config()).items():
                self.register_buffer(name, value)
        self.model = DiffusionWrapper(config.unet_config.build())
        self.first_stage_model = self._build_encoder(config.first_stage_config, AUTOENCODER).eval()
        self.cond_stage_model = self._build_encoder(config.cond_stage_config, TEXT_ENCODER)
        self.cond_stage_model.requires_grad_(config.cond_stage_trainable)
        self.embedder = self._build_encoder(config.img_cond_stage_config, IMAGE_ENCODER).eval()
        self.image_proj_model = _build(config.image_proj_stage_config, QUERY_TRANSFORMER)
        self.image_proj_model.requires_grad_(config.image_proj_model_trainable)
        self.frame_carrier: FrameCarrier | None = None
        self.depth_stage_model: Any = None
        if config.frame_carrier_config is not None:  # after all else: the released keys keep their order
            self.frame_carrier = config.frame_carrier_config.build().requires_grad_(False)

    def _build_encoder(self, component: Component, part: Part) -> Any:
        return LeftOut(part.name) if self.config.drop_encoders else _build(component, part).requires_grad_(False)

    # ------------------------------------------------------------------ what the configuration implies

    @property
    def unet(self) -> UNetModel:
        """The denoising network."""
        return self.model.diffusion_model

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule in this model's buffers."""
        scale_arr = self.scale_arr if self.config.use_dynamic_rescale else None
        return NoiseSchedule(self.alphas_cumprod, scale_arr, self.config.parameterization, self.config.final_scale)

    @property
    def reads_latents(self) -> bool:
        """Whether the image's latents are concatenated to the noise."""
        return self.config.conditioning_key == "hybrid"

    @property
    def vae_factor(self) -> int:
        """Pixels per latent pixel, along one side."""
        return self.config.first_stage_config.params.ddconfig.downsample_factor

    @property
    def size_multiple(self) -> int:
        """Height and width of a video must be multiples of this many pixels."""
        return self.vae_factor * self.unet.config.size_multiple

    @property
    def tokens_per_frame(self) -> int:
        """Image context tokens for each frame."""
        return self.unet.config.image_tokens_per_frame

    @property
    def temporal_length(self) -> int:
        """Frames of the clips that the query transformer was made for; 1 if its tokens are for the image as a whole."""
        return self.image_proj_model.config.video_length or 1

    @property
    def trained_frames(self) -> int:
        """Frames of the clips that the network was trained on."""
        return self.unet.config.temporal_length or self.temporal_length

    @property
    def text_length(self) -> int:
        """Tokens of a prompt."""
        return self.unet.config.text_length

    # ------------------------------------------------------------------ encoders and decoder

    def encode_first_stage(self, video: Tensor, noise: Tensor | None = None) -> Tensor:
        """video (b, 3, t, H, W) in [-1, 1] -> latents (b, c, t, h, w), times `scale_factor`.

        `noise` has the latents' shape and makes a posterior sample, as the original always does; without it, the mode.
        The autoencoder computes in the precision of its weights, whatever autocast says: float16 would overflow in it.
        """
        frames = rearrange(video, "b c t h w -> (b t) c h w").to(self.first_stage_model.dtype)
        with torch.autocast(video.device.type, enabled=False):
            posterior = self.first_stage_model.encode(frames)
        posterior = DiagonalGaussian(posterior.mean.to(video.dtype), posterior.logvar.to(video.dtype))
        z = posterior.mode() if noise is None else posterior.sample(rearrange(noise, "b c t h w -> (b t) c h w"))
        return rearrange(z, "(b t) c h w -> b c t h w", b=video.shape[0]) * self.config.scale_factor

    def decode_first_stage(self, latents: Tensor, chunk_size: int | None = None, tile: int | None = None) -> Tensor:
        """latents (b, c, t, h, w) -> video (b, 3, t, H, W), about [-1, 1], decoding `chunk_size` frames at a time.

        `tile` runs frames larger than that many latent pixels a side through the decoder in tiles, which saves memory
        and changes nothing but rounding, see `lvdm.models.decoding`.
        """
        frames = rearrange(latents / self.config.scale_factor, "b c t h w -> (b t) c h w")
        chunks = frames.split(chunk_size or frames.shape[0])
        side = tile or max(frames.shape[-2:])
        video = torch.cat([self._decode_frames(chunk, side) for chunk in chunks])
        return rearrange(video, "(b t) c h w -> b c t h w", b=latents.shape[0])

    def _decode_frames(self, frames: Tensor, tile: int) -> Tensor:
        if max(frames.shape[-2:]) > tile:
            return decode_in_tiles(self.first_stage_model, frames, tile)
        # torch's CPU convolutions round differently for a single image: decoding it beside a copy of itself keeps
        # the result independent of the chunks.
        if len(frames) == 1 and frames.device.type == "cpu":
            return self.first_stage_model.decode(frames.expand(2, -1, -1, -1))[:1]
        return self.first_stage_model.decode(frames)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> (b, n, d) tokens."""
        return self.cond_stage_model(list(prompts))

    def embed_image(self, image: Tensor) -> Tensor:
        """image (b, 3, H, W) in [-1, 1] -> (b, tokens_per_frame x temporal_length, d); zeros make the null image."""
        return self.image_proj_model(self.embedder(image))

    # ------------------------------------------------------------------ denoising

    def denoiser(self, conditioning: Conditioning) -> Denoiser:
        """The UNet under one condition; keys and values of its context are computed once, here."""
        if conditioning.tokens is not None:
            context = conditioning.tokens(conditioning)
        else:
            context = self.unet.project_context(conditioning.context, conditioning.concat.shape[2])
        context = replace(context, conditions=(conditioning,))
        return lambda x_t, t: self.apply_model(x_t, t, context, conditioning.concat, conditioning.fps)

    def branches(self, conditionings: Sequence[Conditioning], batched: bool = True) -> Branches:
        """The UNet under several conditions for the same latents: in one forward pass, or one after another.

        Those with `tokens` of their own run one after another. Layers before the first that reads tokens are computed
        once in one pass, where all conditions have the same tensors of latents and `fs`.
        """
        if not batched or len(conditionings) == 1 or any(each.tokens is not None for each in conditionings):
            return sequential(*(self.denoiser(conditioning) for conditioning in conditionings))
        first, tokens = conditionings[0], torch.cat([each.context for each in conditionings])
        context = self.unet.project_context(tokens, first.concat.shape[2])
        context = replace(context, conditions=tuple(conditionings))
        if all(each.concat is first.concat and each.fps is first.fps for each in conditionings):
            concat, fps, context = first.concat, first.fps, replace(context, samples=len(tokens))
        else:
            concat, fps = (torch.cat(own) for own in zip(*((c.concat, c.fps) for c in conditionings), strict=True))

        def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
            own = for_samples(x_t, len(concat)), for_samples(t, len(concat))
            return tuple(self.apply_model(*own, context, concat, fps).chunk(len(conditionings)))

        return denoise

    def apply_model(self, x_t: Tensor, t: Tensor, context: Tensor | Context, concat: Tensor, fs: Tensor) -> Tensor:
        """x_t (b, c, t, h, w) -> model output of the same shape."""
        x = torch.cat([x_t.to(concat.dtype), concat], dim=1)
        return self.unet(x, t, context, fs)

    # ------------------------------------------------------------------ training

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over everything trainable, with its schedule."""
        optimizer, schedule = build_optimizer(self.parameters(), self.optimizer_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise `ConfigError`, before weights are loaded, for a checkpoint with other adapters than this model's."""
        if "state_dict" in checkpoint:  # shards are loaded by the strategy
            check_same_adapters(self, checkpoint["state_dict"])

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Lightning's own; then the gradients go, which it would keep in memory through the next forward pass."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad(set_to_none=True)

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> dict[str, Tensor]:
        """Mean loss of a batch: `video` (b, 3, t, H, W), `caption`, `fps`, `frame_stride` and `number`, see `Draw`,

        or of cached latents instead of video and caption, see `inputs_from_cache`.

        Returns `loss`, and for whoever watches the training `losses` and `t`, (b,) each.
        """
        outputs = self._step(batch, "train")
        self.log_dict({f"train/{name}": outputs[name] for name in CARRIER_LOSSES if name in outputs})
        self.log("train/loss_simple", outputs["loss"], prog_bar=True, batch_size=len(batch["caption"]))
        return outputs

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> dict[str, Tensor]:
        """The same loss under numbers that do not change during the training, so that it can be compared."""
        outputs = self._step(batch, "val")
        self.log("val/loss_simple", outputs["loss"], prog_bar=True, batch_size=len(batch["caption"]), sync_dist=True)
        return outputs

    def _step(self, batch: Mapping[str, Any], stream: str) -> dict[str, Tensor]:
        numbers = torch.as_tensor(batch["number"]).tolist()
        shape = self.latent_shape(batch)
        draws = draw_training_numbers(shape, numbers, self.training_seed, self.draw_rules(), stream).to(self.device)
        if trains_carrier(self.frame_carrier):
            return carrier_step(self, batch, draws, numbers, stream)
        latents, conditioning = self.training_batch(batch, draws)
        if self.config.time_noise is not None and stream == "train":
            time = draws.t / self.config.timesteps
            conditioning = add_time_noise(conditioning, time, numbers, self.training_seed, self.config.time_noise)
        with self.layer_hooks.active():
            losses = self.training_loss(latents, conditioning, draws)
        return {"loss": losses.mean(), "losses": losses.detach(), "t": draws.t}

    def draw_rules(self) -> DrawRules:
        """By which rules `t`, noise, conditioning frame and dropped conditions are drawn."""
        config = self.config
        return DrawRules(
            config.timesteps,
            config.rand_cond_frame,
            1.0 if config.interp_mode else config.interpolation_probability,
            config.high_noise_probability,
            config.high_noise_start,
            config.noise_strength,
        )

    def latent_shape(self, batch: Mapping[str, Any]) -> tuple[int, ...]:
        """Shape (b, c, t, h, w) of the latents of a batch."""
        if is_cached(batch):
            batch_size, moments, *rest = batch["moments"].shape
            return (batch_size, moments // 2, *rest)
        batch_size, _, num_frames, height, width = batch["video"].shape
        return (batch_size, self.config.channels, num_frames, height // self.vae_factor, width // self.vae_factor)

    def training_batch(self, batch: Mapping[str, Any], draws: TrainingDraws) -> tuple[Tensor, Conditioning]:
        """Clean latents and their condition, with conditions dropped as `draws` say.

        Clips of another length than the query transformer's get image tokens as in sampling, see `fit_image_tokens`.
        """
        config = self.config
        dropped = Dropped(*dropped_conditions(draws.condition_drop, config.uncond_prob))
        if is_cached(batch):
            inputs = inputs_from_cache(batch, draws, dropped, config.scale_factor)
        else:
            inputs = inputs_from_pixels(self, batch, draws, dropped)
        latents = inputs.latents
        fs = batch["fps"] if config.fps_condition_type == "fps" else batch["frame_stride"]
        fs = torch.as_tensor(fs, device=latents.device).long()
        tokens = self.image_proj_model(inputs.clip_tokens)
        return latents, Conditioning(
            text=inputs.text,
            image=fit_image_tokens(tokens, self.temporal_length, latents.shape[2]),
            concat=training_concat(self, latents, draws, batch, fs),
            fps=fs,
        )

    def training_loss(self, latents: Tensor, conditioning: Conditioning, draws: TrainingDraws) -> Tensor:
        """Loss of each clip, (b,): DynamiCrafter (arXiv:2310.12190) equation 1, on v or eps."""
        schedule = self.schedule
        x_0 = scale_x0(latents, draws.t, schedule)
        x_t = q_sample(x_0, draws.noise, draws.t, schedule)
        output = self.apply_model(x_t, draws.t, conditioning.context, conditioning.concat, conditioning.fps)
        weight = None
        if self.config.moving_region_weight != 1.0:
            weight = moving_region_weight(latents, self.config.moving_region_weight)
        losses = diffusion_loss(output, x_0, draws.noise, draws.t, schedule, weight)
        if self.config.min_snr_gamma is None:
            return losses
        return losses * min_snr_weight(draws.t, schedule, self.config.min_snr_gamma)


class LatentDiffusion(LatentVisualDiffusion):
    """VideoCrafter's text-to-video model, under the name of its YAMLs: no image encoder, no query transformer."""

    Config = TextToVideoConfig


def _build(component: Component, part: Part) -> Any:
    """The network that `component` names, or something in its place in a model that does not have one."""
    if component.resolve() is Nothing:
        return LeftOut(part.name, "it makes videos from text alone")
    return component.build()
