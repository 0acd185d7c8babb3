"""Gauges of a training run: gradient norm, learning rate, samples per second, waiting for data, memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.profilers import Profiler
from torch.optim import Optimizer

from lvdm.device import current_memory, peak_memory
from lvdm.fit.callbacks.batches import batch_size_of
from lvdm.fit.callbacks.cadence import EveryNSteps, as_often_as_logs
from lvdm.fit.callbacks.gradients import gradient_norm, gradients_are_hidden, remaining_scale

_FETCH = "train_dataloader_next"
"""How Lightning's profilers name the wait for a batch."""


class FetchClock(Profiler):
    """Measures how long training waits for batches; hands everything on to the profiler that was there."""

    def __init__(self, inner: Profiler) -> None:
        super().__init__(inner.dirpath, inner.filename)
        self.inner = inner
        self.waited = 0.0
        self._begun = 0.0

    def start(self, action_name: str) -> None:
        """Begin an action."""
        self.inner.start(action_name)
        if action_name.endswith(_FETCH):
            self._begun = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """End it."""
        if action_name.endswith(_FETCH):
            self.waited += time.perf_counter() - self._begun
        self.inner.stop(action_name)

    def summary(self) -> str:
        """The inner profiler's."""
        return self.inner.summary()

    def describe(self) -> None:
        """Let the inner profiler report."""
        self.inner.describe()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """Prepare the inner profiler too."""
        super().setup(stage, local_rank, log_dir)
        self.inner.setup(stage, local_rank, log_dir)

    def teardown(self, stage: str | None) -> None:
        """Close the inner profiler too."""
        super().teardown(stage)
        self.inner.teardown(stage)


@dataclass(frozen=True)
class TrainingMetersConfig:
    """No options: what is measured is logged as often as the trainer logs."""


class TrainingMeters(pl.Callback):
    """Logs, every `log_every_n_steps`, the means since the last time.

    train/grad_norm           Euclidean norm of all gradients of that step, before clipping
    train/learning_rate       the rate that step was taken with; `train/learning_rate_1`, ... of further groups
    speed/samples_per_second  of all processes, over steps and waits, without validation and saving
    speed/seconds_per_step    one optimizer step with its waits
    speed/data_wait_share     share of that time spent waiting for batches, 0 to 1
    memory/peak_gb, current_gb  device memory, on the CPU that of the process; 10^9 bytes

    Name it before callbacks that change gradients.
    """

    Config = TrainingMetersConfig

    def __init__(self, config: TrainingMetersConfig) -> None:
        self.config = config
        self._clock = EveryNSteps(0)
        self._fetch: FetchClock | None = None
        self._at_step: dict[str, float] = {}
        self._begun = self._busy = self._waited = 0.0
        self._samples = self._steps_before = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure."""
        self._clock = as_often_as_logs(trainer)
        profiled: Any = trainer  # Lightning sets the attribute without declaring it
        self._fetch = FetchClock(profiled.profiler)
        profiled.profiler = self._fetch
        self._forget(trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the trainer its own profiler back."""
        profiled: Any = trainer
        if self._fetch is not None and profiled.profiler is self._fetch:
            profiled.profiler = self._fetch.inner

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Read the gradient norm and the learning rates, before the one is clipped and the others move on."""
        if not self._clock.every or (trainer.global_step + 1) % self._clock.every:
            return
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._at_step = {f"train/learning_rate{f'_{i}' if i else ''}": rate for i, rate in enumerate(rates)}
        if not gradients_are_hidden(trainer):
            norm = gradient_norm(trainer, pl_module) / remaining_scale(trainer, optimizer)
            self._at_step["train/grad_norm"] = norm.item()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock; log at logging steps."""
        self._busy += time.perf_counter() - self._begun
        self._samples += batch_size_of(batch) * trainer.world_size
        if not self._clock.due(trainer.global_step):
            return
        assert self._fetch is not None
        waited = self._fetch.waited - self._waited
        seconds = max(self._busy + waited, 1e-9)
        gauges = {
            **self._at_step,
            "speed/samples_per_second": self._samples / seconds,
            "speed/seconds_per_step": seconds / max(trainer.global_step - self._steps_before, 1),
            "speed/data_wait_share": waited / seconds,
        }
        for name, held in (("peak", peak_memory(pl_module.device)), ("current", current_memory(pl_module.device))):
            if held is not None:
                gauges[f"memory/{name}_gb"] = held / 1e9
        for name, value in gauges.items():
            pl_module.log(name, value, batch_size=1)
        self._forget(trainer.global_step)

    def _forget(self, step: int) -> None:
        self._busy, self._samples, self._steps_before = 0.0, 0, step
        self._waited = self._fetch.waited if self._fetch else 0.0
