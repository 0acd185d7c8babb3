"""Training of the image autoencoder, for models whose autoencoder is not a released one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from einops import rearrange
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from lvdm.config import Component, ConfigError
from lvdm.declaration.ranges import SideOrNone, Weight, with_ranges
from lvdm.models.optimization import OptimizerConfig, build_optimizer
from lvdm.psnr import psnr_of_each


@with_ranges
@dataclass(frozen=True)
class AutoencoderTrainingConfig:
    """Losses per pixel: L1 + L2 + `gradient_weight` x L1 of the image gradient, and `kl_weight` x KL per latent value.

    `crop` pixels a side are trained on; 0 takes whole frames.
    """

    first_stage_config: Component
    kl_weight: Weight = 1e-3
    gradient_weight: Weight = 0.25
    crop: SideOrNone = 0


class AutoencoderTraining(pl.LightningModule):
    """Holds the autoencoder under the key that it has in a video model, `first_stage_model`."""

    Config = AutoencoderTrainingConfig

    def __init__(self, config: AutoencoderTrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.optimizer_config = OptimizerConfig()
        self.first_stage_model = config.first_stage_config.build()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with its schedule."""
        optimizer, schedule = build_optimizer(self.parameters(), self.optimizer_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        """Loss on random crops of all frames of `batch["video"]` (b, 3, t, H, W)."""
        frames = self._crop(rearrange(batch["video"], "b c t h w -> (b t) c h w"))
        posterior = self.first_stage_model.encode(frames)
        decoded = self.first_stage_model.decode(posterior.sample(torch.randn_like(posterior.mean)))
        pixels = F.l1_loss(decoded, frames) + F.mse_loss(decoded, frames)
        gradients = sum(F.l1_loss(torch.diff(decoded, dim=d), torch.diff(frames, dim=d)) for d in (-1, -2))
        kl = posterior.kl().sum() / posterior.mean.numel()
        loss = pixels + self.config.gradient_weight * gradients + self.config.kl_weight * kl
        self.log_dict(
            {"train/loss": loss, "train/psnr": psnr_of_each(decoded, frames).mean(), "train/kl": kl}, prog_bar=True
        )
        return loss

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> None:
        """PSNR of whole frames decoded from the posterior's mode, and the latents' deviation."""
        frames = rearrange(batch["video"], "b c t h w -> (b t) c h w")
        latents = self.first_stage_model.encode(frames).mode()
        decoded = self.first_stage_model.decode(latents).clamp(-1, 1)
        values = {"val/psnr": psnr_of_each(decoded, frames).mean(), "val/latent_std": latents.std()}
        self.log_dict(values, prog_bar=True, batch_size=len(frames))

    def _crop(self, frames: Tensor) -> Tensor:
        size = self.config.crop
        if not size:
            return frames
        if size > min(frames.shape[-2:]):
            height, width = frames.shape[-2:]
            raise ConfigError(f"model.params.crop is {size} and clips have {height}x{width} pixels; make it smaller")
        top, left = (int(torch.randint(side - size + 1, (1,))) for side in frames.shape[-2:])
        return frames[..., top : top + size, left : left + size]
