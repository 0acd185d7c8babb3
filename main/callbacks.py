"""Callbacks that training YAMLs name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks as lightning_callbacks
from safetensors.torch import save_file


@dataclass(frozen=True)
class ModelCheckpointConfig:
    """The options of Lightning's ModelCheckpoint that the original YAMLs use."""

    every_n_train_steps: int
    filename: str = "{epoch}-{step}"
    save_weights_only: bool = False
    save_top_k: int = -1
    save_last: bool = False


class ModelCheckpoint(lightning_callbacks.ModelCheckpoint):
    """Lightning's own, built from a typed configuration."""

    Config = ModelCheckpointConfig

    def __init__(self, config: ModelCheckpointConfig) -> None:
        super().__init__(
            every_n_train_steps=config.every_n_train_steps,
            filename=config.filename,
            save_weights_only=config.save_weights_only,
            save_top_k=config.save_top_k,
            save_last=config.save_last or None,
        )


@dataclass(frozen=True)
class AveragedWeightsConfig:
    """Exponential moving average of the weights: decay per step, begun at `start_step`."""

    decay: float = 0.999
    start_step: int = 0


class AveragedWeights(lightning_callbacks.EMAWeightAveraging):
    """Lightning's moving average; checkpoints and the final export hold the averaged weights."""

    Config = AveragedWeightsConfig

    def __init__(self, config: AveragedWeightsConfig) -> None:
        super().__init__(decay=config.decay, use_buffers=False, update_starting_at_step=config.start_step)


@dataclass(frozen=True)
class WeightExportConfig:
    """Where the trained model's state dict goes when training ends."""

    path: str


class WeightExport(pl.Callback):
    """Writes the final state dict as safetensors, whole or not at all. Name it after `AveragedWeights` in the YAML:

    then the weights are the averaged ones, which that callback puts into the model when training ends.
    """

    Config = WeightExportConfig

    def __init__(self, config: WeightExportConfig) -> None:
        self.config = config

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export the final weights."""
        if not trainer.is_global_zero:
            return
        path = Path(self.config.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        save_file({key: value.detach().cpu().contiguous() for key, value in pl_module.state_dict().items()}, beside)
        beside.replace(path)


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
