"""The data module that training YAMLs name: `utils_data.DataModuleFromConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from lvdm.config import Component
from lvdm.data.clips import ClipDataset, ClipSize, ClipSource
from lvdm.data.sampling import BatchSchedule, PlannedBatches, assign_buckets
from lvdm.declaration.ranges import BatchSize, Frames, Side, Workers, with_ranges
from lvdm.fit.strategies import agree_on_errors
from lvdm.fit.trainer_options import TrainerOptions


@with_ranges
@dataclass(frozen=True)
class DataModuleConfig:
    """Keys of `data.params`. `wrap` is the original's, without effect.

    batch_size   clips per device
    num_workers  processes that read videos beside the training; they change nothing but the speed
    shuffle      whether each pass over the videos has an order of its own
    buckets      clip sizes [frames, height, width]; every video goes to the one that suits it, see
                 `lvdm.data.sampling.assign_buckets`. Without any, the source's own size
    """

    batch_size: BatchSize
    train: Component | None = None
    validation: Component | None = None
    test: Component | None = None
    num_workers: Workers | None = None
    wrap: bool = False
    shuffle: bool = True
    buckets: tuple[tuple[Frames, Side, Side], ...] = ()

    def __post_init__(self) -> None:
        self.sizes()

    def sizes(self) -> list[ClipSize]:
        """The buckets as `ClipSize`s."""
        return [ClipSize(*bucket) for bucket in self.buckets]


class DataModuleFromConfig(pl.LightningDataModule):
    """Loaders over the sources that a configuration names, in step with the trainer that they are attached to.

    `seed` decides order and clips. The loaders go on with the batch that the trainer's progress names, so a resumed
    training sees what the uninterrupted one would have seen.
    """

    Config = DataModuleConfig

    def __init__(self, config: DataModuleConfig) -> None:
        super().__init__()
        self.config = config
        self.seed = 0
        self._sources: dict[str, ClipSource] = {}

    def setup(self, stage: str) -> None:
        """Look at the files that `stage` reads. What is wrong with them on one machine stops the processes of all."""
        agree_on_errors(self.look(stage))

    def look(self, stage: str) -> str | None:
        """Open the sources of a `stage`, fit or validate; returns what is wrong with them, None if nothing is.

        Opened once, they stay open, so this costs nothing a second time.
        """
        names = {"fit": ["train"], "validate": ["validation"]}.get(stage, [])
        if stage == "fit" and self.config.validation is not None:
            names.append("validation")
        try:
            for name in names:
                self._sources[name] = self.source(name)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    def validation_problem(self, trainer: TrainerOptions, processes: int) -> str | None:
        """Why there would be no validation within an epoch; None where there is, or none is wanted."""
        every, source = trainer.val_check_interval, self._sources.get("train")
        if source is None or not isinstance(every, int) or trainer.check_val_every_n_epoch is None:
            return None
        if self.config.validation is None:
            return None
        batches, limit = len(self.plan(source, processes)), trainer.limit_train_batches
        if limit is not None:
            batches = min(limit, batches) if isinstance(limit, int) else int(limit * batches)
        if every <= batches:
            return None
        return (
            f"lightning.trainer.val_check_interval: {every} batches are more than the {batches} of an epoch; give "
            "fewer, or let batches count over the ends of epochs with lightning.trainer.check_val_every_n_epoch=null"
        )

    def source(self, name: str) -> ClipSource:
        """The source named `train`, `validation` or `test`. Raises `ValueError` when the configuration has none."""
        if name in self._sources:
            return self._sources[name]
        component: Component | None = getattr(self.config, name)
        if component is None:
            raise ValueError(f"data.params.{name} is missing: name the videos to use")
        return component.build()

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the plan, from where the training stands."""
        source = self.source("train")
        plan = self.plan(source, self.world_size)
        return self._loader(source, PlannedBatches(plan, self.batches_done, self.rank, self.world_size), self.seed)

    def plan(self, source: ClipSource, world_size: int = 1) -> BatchSchedule:
        """The batches of a whole training on `world_size` devices."""
        buckets = assign_buckets(source, self.config.sizes())
        return BatchSchedule(buckets, self.config.batch_size * world_size, self.seed, self.config.shuffle)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The same clips in the same order each time; none without `validation`."""
        return [] if self.config.validation is None else self._fixed_loader("validation")

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """As `val_dataloader`, of `test`."""
        return [] if self.config.test is None else self._fixed_loader("test")

    def _fixed_loader(self, name: str) -> DataLoader[Any]:
        source = self.source(name)
        # Every device gets as many clips as the others, which collectives need: a few may come a second time.
        size = min(self.config.batch_size, max(1, len(source) // self.world_size))
        seed = f"{self.seed}/{name}"
        plan = BatchSchedule(assign_buckets(source, self.config.sizes()), size * self.world_size, seed, shuffle=False)
        return self._loader(source, PlannedBatches(plan, lambda: 0, self.rank, self.world_size), seed)

    @property
    def world_size(self) -> int:
        """Devices that share a global batch."""
        return self.trainer.world_size if self.trainer else 1

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return self.trainer.global_rank if self.trainer else 0

    def batches_done(self) -> int:
        """Batches that the training has taken since its beginning, over all epochs and interruptions."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.ready if self.trainer else 0

    def _loader(self, source: ClipSource, batches: PlannedBatches, seed: int | str) -> DataLoader[Any]:
        workers = self.config.num_workers or 0
        return DataLoader(
            ClipDataset(source, seed),
            batch_sampler=batches,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
