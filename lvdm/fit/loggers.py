"""Where the numbers and images of a run go."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from lvdm.config import ConfigError

LoggerChoice = Literal["tensorboard", "wandb", "csv"]
"""tensorboard: files in the run's folder. wandb: a service. csv: a table only. All keep the table."""


def build_loggers(choice: LoggerChoice, run_dir: Path, name: str) -> list[Logger]:
    """The loggers of a run in `run_dir`, called `name`; the table `csv/.../metrics.csv` is always among them.

    Raises `ConfigError` if wandb is asked for and not installed.
    """
    table = CSVLogger(str(run_dir), name="csv")
    if choice == "csv":
        return [table]
    if choice == "tensorboard":
        return [TensorBoardLogger(str(run_dir), name="tensorboard"), table]
    if importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            "lightning.logger: wandb is not installed; pip install wandb, or use lightning.logger: tensorboard"
        )
    return [WandbLogger(name=name, save_dir=str(run_dir), project="dynamicrafter"), table]


def log_values(trainer: pl.Trainer, values: dict[str, float]) -> None:
    """Give all loggers of this process `values` of the step that has just ended."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
        logger.save()
