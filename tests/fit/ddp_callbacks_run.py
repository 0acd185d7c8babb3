"""Two processes that train a `Line`: the second meets a bad sample, the first draws; started by a test."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Subset
from training_toys import Line, Numbers

from lvdm.fit.callbacks import AveragedWeights, AveragedWeightsConfig, StepGuard, default_callbacks
from lvdm.fit.callbacks.drawing import undisturbed


class DrawAlone(pl.Callback):
    """Takes the averaged weights and some time, in the first process only."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.is_global_zero:
            with undisturbed(trainer, pl_module, averaged=True):
                time.sleep(0.05)


class Shared(Line):
    """Samples 2i go to the first process, 2i + 1 to the second."""

    def train_dataloader(self) -> DataLoader[Any]:
        numbers = range(self.trainer.global_rank, 10, self.trainer.world_size)
        return DataLoader(Subset(Numbers(10, bad=(5,)), numbers), batch_size=1)


class Report(pl.Callback):
    """Writes what each process ended with."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        guard = next(callback for callback in trainer.callbacks if isinstance(callback, StepGuard))
        record = {"skipped": guard.total, "weights": pl_module.layer.weight.tolist()}
        Path(trainer.default_root_dir, f"rank{trainer.global_rank}.json").write_text(json.dumps(record))


def main(folder: str) -> None:
    """Train, writing into `folder`."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    named = [Report(), AveragedWeights(AveragedWeightsConfig(decay=0.5)), DrawAlone()]
    trainer = pl.Trainer(
        default_root_dir=folder,
        callbacks=default_callbacks(named, progress=False),
        strategy="ddp_fork",
        devices=2,
        accelerator="cpu",
        max_epochs=1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Shared())


if __name__ == "__main__":
    main(sys.argv[1])
