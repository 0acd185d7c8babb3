"""Files that the data had to give up: counted, and named once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from lvdm.declaration.ranges import Count, with_ranges

log = logging.getLogger(__name__)


@with_ranges
@dataclass(frozen=True)
class DataFailuresConfig:
    """How many names the summary at the end holds."""

    named: Count = 20


class DataFailures(pl.Callback):
    """Reads `failures` of each batch: for each sample, a line "path: reason" for every file tried before it.

    A file is named in the log the first time; every time counts. `TrainingProgress` shows the total; with the
    names, it stands in the summary when training ends.
    """

    Config = DataFailuresConfig

    def __init__(self, config: DataFailuresConfig) -> None:
        self.config = config
        self.total = 0
        self.names: dict[str, int] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A checkpoint holds the counts of the first process: the others count anew, or they would count twice."""
        if not trainer.is_global_zero:
            self.total, self.names = 0, {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what this batch could not read."""
        lines = failures_of(batch)
        for line in lines:
            if line not in self.names:
                log.warning("a file could not be used, another clip took its place: %s", line)
            self.names[line] = self.names.get(line, 0) + 1
        self.total += len(lines)
        pl_module.log("data/failures", float(self.total), batch_size=1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sum up: names of this process, counts of all."""
        count = torch.tensor(float(self.total), device=pl_module.device)
        everywhere = int(torch.as_tensor(trainer.strategy.reduce(count, reduce_op="sum")))
        if trainer.is_global_zero and everywhere:
            log.warning("%s", self.summary(everywhere))

    def summary(self, total: int) -> str:
        """A line on all failures, and the worst files, a line each."""
        worst = sorted(self.names.items(), key=lambda item: -item[1])
        lines = [f"  {count} x {name}" for name, count in worst[: self.config.named]]
        if len(worst) > self.config.named:
            lines.append(f"  and {len(worst) - self.config.named} more")
        return "\n".join([f"{total} times a file could not be used; run `dynamicrafter data check` on them:", *lines])

    def state_dict(self) -> dict[str, Any]:
        """What was counted."""
        return {"total": self.total, "names": self.names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from a checkpoint."""
        self.total, self.names = state_dict["total"], dict(state_dict["names"])


def failures_of(batch: Any) -> list[str]:
    """The lines of `failures` of all samples of a batch; none where the batch has no such key."""
    if not isinstance(batch, Mapping):
        return []
    return [line for entry in batch.get("failures", ()) for line in entry.splitlines() if line]
