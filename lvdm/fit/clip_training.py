"""Contrastive training of a small CLIP, for models whose encoders are not released ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.config import Component
from lvdm.declaration.ranges import Weight, with_ranges
from lvdm.models.optimization import OptimizerConfig, build_optimizer


@with_ranges
@dataclass(frozen=True)
class ClipTrainingConfig:
    """The two encoders, with `freeze: false`, and the weight of the clip-level loss.

    A still frame gives the text encoder no reason to tell left from right. The clip-level loss does: it matches the
    caption with the features of the first frame and their change until the last.
    """

    cond_stage_config: Component
    img_cond_stage_config: Component
    clip_level_weight: Weight = 1.0


class ClipTraining(pl.LightningModule):
    """Holds the encoders under the keys that they have in a video model."""

    Config = ClipTrainingConfig

    def __init__(self, config: ClipTrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.optimizer_config = OptimizerConfig()
        self.cond_stage_model = config.cond_stage_config.build()
        self.embedder = config.img_cond_stage_config.build()
        width = self.embedder.model.visual.proj.shape[1]
        self.change = nn.Linear(2 * width, width)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with its schedule."""
        optimizer, schedule = build_optimizer(self.parameters(), self.optimizer_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        """Symmetric cross-entropy of `batch["caption"]` against first frames and against whole clips."""
        loss, metrics = self._losses(batch)
        self.log_dict({f"train/{name}": value for name, value in metrics.items()}, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> None:
        """The same numbers on held-out clips."""
        _, metrics = self._losses(batch)
        values = {f"val/{name}": value for name, value in metrics.items()}
        self.log_dict(values, prog_bar=True, batch_size=len(batch["caption"]))

    def _losses(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        text = self.cond_stage_model.pooled(batch["caption"])
        first, last = (self.embedder.pooled(batch["video"][:, :, index]) for index in (0, -1))
        clip = self.change(torch.cat([first, last - first], dim=1))
        scale = self.cond_stage_model.model.logit_scale.exp().clamp(max=100)
        frame_logits = scale * F.normalize(text, dim=1) @ F.normalize(first, dim=1).T
        clip_logits = scale * F.normalize(text, dim=1) @ F.normalize(clip, dim=1).T
        frame_loss, clip_loss = _symmetric_loss(frame_logits), _symmetric_loss(clip_logits)
        target = torch.arange(len(text), device=text.device)
        metrics = {
            "frame_loss": frame_loss,
            "clip_loss": clip_loss,
            "frame_accuracy": (frame_logits.argmax(dim=1) == target).float().mean(),
            "clip_accuracy": (clip_logits.argmax(dim=1) == target).float().mean(),
        }
        return frame_loss + self.config.clip_level_weight * clip_loss, metrics


def _symmetric_loss(logits: Tensor) -> Tensor:
    """InfoNCE in both directions: the diagonal of (b, b) logits holds the pairs."""
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
