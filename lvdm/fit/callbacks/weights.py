"""Averaged weights, and the file that the weights go to when training ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks as lightning_callbacks
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor

from lvdm.checkpoint.lora import write_lora
from lvdm.checkpoint.parts import part_of
from lvdm.checkpoint.writing import write_safetensors
from lvdm.config import ConfigError
from lvdm.declaration.ranges import Decay, StepsOrNone, with_ranges
from lvdm.fit.callbacks.guard import step_was_skipped
from lvdm.fit.sharding import ShardedModel, is_sharded, load_whole_state, shard, whole, whole_state
from lvdm.media.ownership import check_replaceable
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.lora import lora_info, lora_matrices

log = logging.getLogger(__name__)


@with_ranges
@dataclass(frozen=True)
class AveragedWeightsConfig:
    """Exponential moving average of the weights: decay per step, begun at `start_step`.

    device: where the average lives; left out, beside the model. On the CPU it takes no GPU memory and each step longer.
    """

    decay: Decay = 0.999
    start_step: StepsOrNone = 0
    device: str | None = None


class AveragedWeights(lightning_callbacks.EMAWeightAveraging):
    """Lightning's moving average; checkpoints and the final export hold the averaged weights.

    A step that `StepGuard` skipped does not count: the average stays what it was. What is not trained is not averaged:
    the average shares those weights with the model, so that they take no memory twice and keep every bit.
    """

    Config = AveragedWeightsConfig

    def __init__(self, config: AveragedWeightsConfig) -> None:
        super().__init__(decay=config.decay, use_buffers=False, update_starting_at_step=config.start_step)
        self.config = config

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the model, which is whole as yet. Raises `ConfigError` for strategies that split it their own way."""
        if isinstance(trainer.strategy, FSDPStrategy):
            raise ConfigError("AveragedWeights goes with the strategies ddp and fsdp; use one of them, or leave it out")
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # Lightning's own formula rounds even where nothing changes.
            self._average_model.avg_fn = partial(_lerp, weight=1 - self.config.decay)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the average to where the model is now, on its device, and share what is not trained.

        Of a model in parts each device averages its own.
        """
        assert self._average_model is not None
        device = torch.device(self.config.device) if self.config.device else pl_module.device
        self._average_model.to(device)
        if isinstance(trainer.strategy, ShardedModel):
            if self.config.device and device.type != pl_module.device.type:
                raise ConfigError(
                    "AveragedWeights.device: strategy fsdp keeps the average beside the model; leave it out"
                )
            shard(self._average_model.module, trainer.strategy.device_mesh["data_parallel"])
        for average, current in zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True):
            if not current.requires_grad and current.device == device:
                average.data = current.data

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average, unless the optimizer's step was skipped."""
        if step_was_skipped(trainer):
            self._latest_update_step = max(self._latest_update_step, trainer.global_step)
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """As Lightning's, with whole tensors of a model in parts."""
        average = self._average_model
        if average is None or not is_sharded(pl_module):
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
            return
        checkpoint["current_model_state"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = whole_state(average.module)
        checkpoint["averaging_state"] = {"n_averaged": average.n_averaged.cpu()}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """As Lightning's, with whole tensors of a model in parts."""
        average = self._average_model
        if average is None or not is_sharded(pl_module):
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            return
        load_whole_state(average.module, checkpoint["state_dict"])
        if "current_model_state" in checkpoint:
            average.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
            load_whole_state(pl_module, checkpoint["current_model_state"])

    @property
    def has_begun(self) -> bool:
        """Whether there is an average of at least one step."""
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    @contextmanager
    def in_place(self, pl_module: pl.LightningModule) -> Iterator[None]:
        """The averaged weights in `pl_module` for the block; afterwards the trained ones are back, bit for bit."""
        if not self.has_begun:
            yield
            return
        self._swap_models(pl_module)
        try:
            yield
        finally:
            self._swap_models(pl_module)


def _lerp(average: Tensor, current: Tensor, count: Tensor | int, *, weight: float) -> Tensor:
    """`average` + `weight` (`current` - `average`): exactly `average` where the two are equal.

    The average keeps its own precision where the model is trained in another.
    """
    return torch.lerp(average, current.to(average.dtype), weight)


EXPORT_MARK = {"dynamicrafter.export": "training"}
"""Metadata of exported weights, which distinguish them from other files at the place."""


@dataclass(frozen=True)
class WeightExportConfig:
    """Where the trained weights go when training ends: a .safetensors file.

    overwrite  replace a file there that no training here has written
    """

    path: str
    overwrite: bool = False


class WeightExport(pl.Callback):
    """Writes the final state dict, whole or not at all; the adapters alone where adapters are trained.

    Name it after `AveragedWeights` in the YAML: then the weights are the averaged ones, which that callback puts into
    the model when training ends.
    """

    Config = WeightExportConfig

    def __init__(self, config: WeightExportConfig) -> None:
        self.config = config

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `OutputError` before the training, if its weights would replace something else."""
        if trainer.is_global_zero:
            check_replaceable(self.config.path, self.config.overwrite)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export the final weights."""
        if isinstance(pl_module, LatentVisualDiffusion) and (adapters := lora_matrices(pl_module)):
            matrices = {key: (whole(down), whole(up)) for key, (down, up) in adapters.items()}
            if trainer.is_global_zero:
                write_lora(self.config.path, matrices, lora_info(pl_module, pl_module.base_checkpoint))
            return
        tensors = whole_state(pl_module)
        if not trainer.is_global_zero:
            return
        write_safetensors(self.config.path, tensors, {"format": "pt", **EXPORT_MARK})
        if rounded := _rounded_parts(tensors):
            log.warning(
                "%s: %s rounded by tuning.frozen_precision; `dynamicrafter convert --encoders FILE` puts those of the "
                "checkpoint that the training began with back",
                self.config.path,
                ", ".join(rounded),
            )


def _rounded_parts(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the components with weights of fewer digits than float32."""
    single = torch.finfo(torch.float32).eps
    floats = (key for key, value in tensors.items() if value.is_floating_point())
    rounded = (part_of(key).name for key in floats if torch.finfo(tensors[key].dtype).eps > single)
    return list(dict.fromkeys(rounded))
