"""The data module that training YAMLs name: `utils_data.DataModuleFromConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from lvdm.config import Component


@dataclass(frozen=True)
class DataModuleConfig:
    """Keys of `data.params`. `wrap` is the original's, without effect."""

    batch_size: int
    train: Component | None = None
    validation: Component | None = None
    test: Component | None = None
    num_workers: int | None = None
    wrap: bool = False
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, it is {self.batch_size}")


class DataModuleFromConfig(pl.LightningDataModule):
    """Loaders over the datasets that a configuration names."""

    Config = DataModuleConfig

    def __init__(self, config: DataModuleConfig) -> None:
        super().__init__()
        self.config = config

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches without the incomplete last one."""
        if self.config.train is None:
            raise ValueError("data.params.train is missing: name the dataset to train on")
        return self._loader(self.config.train, shuffle=self.config.shuffle, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Batches in order; none without `validation`."""
        if self.config.validation is None:
            return []
        return self._loader(self.config.validation, shuffle=False, drop_last=False)

    def _loader(self, component: Component, shuffle: bool, drop_last: bool) -> DataLoader[Any]:
        workers = self.config.num_workers or 0
        return DataLoader(
            component.build(),
            self.config.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
