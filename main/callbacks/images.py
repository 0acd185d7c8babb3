"""The original's image logger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl


@dataclass(frozen=True)
class ImageLoggerConfig:
    """The original's image logger: every `batch_frequency` steps, up to `max_images` samples."""

    batch_frequency: int
    max_images: int = 8
    to_local: bool = False
    log_images_kwargs: dict[str, Any] = field(default_factory=dict)


class ImageLogger(pl.Callback):
    """Logs the clips of a batch as the model sees them, every `batch_frequency` steps, to the trainer's logger."""

    Config = ImageLoggerConfig

    def __init__(self, config: ImageLoggerConfig) -> None:
        self.config = config

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the batch's clips and captions to TensorBoard."""
        writer = getattr(trainer.logger, "experiment", None)
        if writer is None or not hasattr(writer, "add_video") or trainer.global_step % self.config.batch_frequency:
            return
        video = batch["video"][: self.config.max_images].float().add(1).div(2).clamp(0, 1)
        writer.add_images("train/frame_0", video[:, :, 0], trainer.global_step)
        captions = "\n\n".join(batch["caption"][: self.config.max_images])
        writer.add_text("train/caption", captions, trainer.global_step)
