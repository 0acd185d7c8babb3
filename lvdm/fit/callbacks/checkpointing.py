"""Lightning's checkpoint callback under the name that the original YAMLs give it."""

from __future__ import annotations

from dataclasses import dataclass

from pytorch_lightning import callbacks as lightning_callbacks

from lvdm.declaration.ranges import Kept, Steps, with_ranges


@with_ranges
@dataclass(frozen=True)
class ModelCheckpointConfig:
    """The options of Lightning's ModelCheckpoint that the original YAMLs use."""

    every_n_train_steps: Steps
    filename: str = "{epoch}-{step}"
    save_weights_only: bool = False
    save_top_k: Kept = -1
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
