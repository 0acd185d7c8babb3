"""When a callback's turn comes: every so many optimizer steps, once each, however many batches a step takes."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class EveryNSteps:
    """True once for each step that is a multiple of `every`, never for 0. Call `begin` where training begins."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._last = 0

    def begin(self, step: int) -> None:
        """Training goes on from `step`, which has had its turn."""
        self._last = step

    def due(self, step: int) -> bool:
        """Whether `step` steps are done now, were not at the last call, and are a multiple of `every`."""
        is_new, self._last = step != self._last, step
        return is_new and self.every > 0 and step % self.every == 0


def as_often_as_logs(trainer: pl.Trainer) -> EveryNSteps:
    """The cadence of `log_every_n_steps`, from where training goes on."""
    options: Any = trainer  # Lightning sets the attribute without declaring it
    cadence = EveryNSteps(int(options.log_every_n_steps))
    cadence.begin(trainer.global_step)
    return cadence
