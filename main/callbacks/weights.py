"""Averaged weights, and the file that the weights go to when training ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks as lightning_callbacks
from safetensors.torch import save_file

from lvdm.data.atomic import atomic_path
from main.callbacks.guard import step_was_skipped


@dataclass(frozen=True)
class AveragedWeightsConfig:
    """Exponential moving average of the weights: decay per step, begun at `start_step`."""

    decay: float = 0.999
    start_step: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, it is {self.decay}")


class AveragedWeights(lightning_callbacks.EMAWeightAveraging):
    """Lightning's moving average; checkpoints and the final export hold the averaged weights.

    A step that `StepGuard` skipped does not count: the average stays what it was.
    """

    Config = AveragedWeightsConfig

    def __init__(self, config: AveragedWeightsConfig) -> None:
        super().__init__(decay=config.decay, use_buffers=False, update_starting_at_step=config.start_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average, unless the optimizer's step was skipped."""
        if step_was_skipped(trainer):
            self._latest_update_step = max(self._latest_update_step, trainer.global_step)
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

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
        tensors = {key: value.detach().cpu().contiguous() for key, value in pl_module.state_dict().items()}
        with atomic_path(Path(self.config.path)) as temporary:
            save_file(tensors, temporary)
