"""The loss by time step: which noise levels are learned, and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lvdm.declaration.ranges import Count, Decay, TimeSteps, with_ranges
from lvdm.fit.callbacks.cadence import EveryNSteps, as_often_as_logs


@with_ranges
@dataclass(frozen=True)
class LossByTimestepConfig:
    """`buckets` of equal width over `timesteps`; `memory` is the weight of the past at each log, 0 to below 1."""

    buckets: Count = 10
    timesteps: TimeSteps = 1000
    memory: Decay = 0.9

    def __post_init__(self) -> None:
        if not 1 <= self.buckets <= self.timesteps:
            raise ValueError(f"buckets must be from 1 to timesteps = {self.timesteps}, it is {self.buckets}")

    def name(self, bucket: int) -> str:
        """The name that a bucket is logged under: its first and last time step."""
        first, end = (-(-i * self.timesteps // self.buckets) for i in (bucket, bucket + 1))
        width = len(str(self.timesteps - 1))
        return f"loss_by_t/{first:0{width}d}-{end - 1:0{width}d}"


class LossByTimestep(pl.Callback):
    """Logs a running mean of the loss in each bucket of time steps, over the samples of all processes.

    Takes `losses` (b,) and `t` (b,) from what `training_step` returns, and does nothing where they are missing.
    Losses that are not finite are left out.
    """

    Config = LossByTimestepConfig

    def __init__(self, config: LossByTimestepConfig) -> None:
        self.config = config
        self._clock = EveryNSteps(0)
        self._fresh = torch.zeros(2, config.buckets)  # sums and counts since the last log, of this process
        self._running = torch.zeros(2, config.buckets, dtype=torch.float64)  # the same, fading, of all processes

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log as often as the trainer does."""
        self._clock = as_often_as_logs(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in a batch; at logging steps, log every bucket that has had a sample."""
        if isinstance(outputs, Mapping) and "losses" in outputs and "t" in outputs:
            sums = bucket_sums(outputs["losses"].detach().float(), outputs["t"], self.config)
            self._fresh = self._fresh.to(sums.device) + sums
        if not self._clock.due(trainer.global_step):
            return
        fresh = torch.as_tensor(trainer.strategy.reduce(self._fresh.to(pl_module.device), reduce_op="sum"))
        self._running = self.config.memory * self._running + fresh.double().cpu()
        self._fresh = torch.zeros_like(self._fresh)
        for bucket, (total, count) in enumerate(self._running.T.tolist()):
            if count > 0:
                pl_module.log(self.config.name(bucket), total / count, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """The running means of all processes."""
        return {"running": self._running.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; means over other buckets start anew."""
        running = torch.tensor(state_dict["running"], dtype=torch.float64)
        if running.shape == self._running.shape:
            self._running = running


def bucket_sums(losses: Tensor, t: Tensor, config: LossByTimestepConfig) -> Tensor:
    """losses (b,), t (b,) int64 in [0, timesteps) -> (2, buckets) float32: sums of finite losses, and their counts."""
    bucket = t * config.buckets // config.timesteps  # (b,)
    finite = torch.isfinite(losses)
    terms = torch.stack([losses.masked_fill(~finite, 0.0), finite.float()])  # (2, b)
    return terms.new_zeros(2, config.buckets).index_add_(1, bucket.to(terms.device), terms)
