"""Steps that would ruin the weights: found before the optimizer sees them, skipped, named and counted."""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from lvdm.declaration.ranges import Count, PositiveWeight, with_ranges
from lvdm.documents import json_text
from lvdm.errors import UserError
from lvdm.fit.callbacks.batches import batch_ids
from lvdm.fit.callbacks.gradients import (
    gradient_norm,
    gradients_are_hidden,
    loss_scaler,
    remaining_scale,
    unscales_in_step,
    weights_are_finite,
)

log = logging.getLogger(__name__)

SCALER_PATIENCE = 40
"""Overflows in a row after which no loss scale helps: halving 2^16 so often leaves less than 1e-7."""


BAD_END = 3
"""A training that ends in so many skipped steps has failed, though they are fewer than stop one that goes on."""


class TrainingStoppedError(UserError, RuntimeError):
    """Training that cannot go on; the weights are those of the last good step."""


@with_ranges
@dataclass(frozen=True)
class StepGuardConfig:
    """When a step is skipped, and when training stops.

    max_bad              steps skipped one after the other that stop training
    max_bad_in_window    steps skipped among the last `window` that stop training
    loss_spike           skip a loss above this many times the running median; None: never, as the original
    norm_spike           the same for the gradient norm
    median_over          good steps that the running median is of; there are no spikes before a quarter of them
    """

    max_bad: Count = 10
    max_bad_in_window: Count = 50
    window: Count = 1000
    loss_spike: PositiveWeight | None = None
    norm_spike: PositiveWeight | None = None
    median_over: Count = 200

    def __post_init__(self) -> None:
        for name in ("loss_spike", "norm_spike"):
            value = getattr(self, name)
            if value is not None and not value > 1:
                raise ValueError(f"{name} is a multiple of the median and must be more than 1, it is {value}")


class StepGuard(pl.Callback):
    """Skips optimizer steps whose loss or gradients are not finite, or spike.

    A skipped step leaves weights, moments and averages as they were: the gradients are taken away before the optimizer
    runs. The step still counts, so that samples and schedules go on as planned. Losses are averaged over all processes
    first, so that all decide alike. With accumulated gradients, one bad batch costs the whole step. In fp16 gradients
    that overflow are the loss scaler's business: it skips the step and lowers its scale. DeepSpeed hides its
    gradients: nothing can be skipped there, and training stops at the first loss that is not finite.

    What was skipped goes to the log and to `skipped_steps.jsonl` in the run's folder, with the samples' numbers,
    paths and captions. Raises `TrainingStoppedError` as the configuration says.
    """

    Config = StepGuardConfig

    def __init__(self, config: StepGuardConfig) -> None:
        self.config = config
        self.skipped = False
        """Whether the last optimizer step was skipped, by this guard or by the loss scaler."""
        self.total = 0
        self._good = 0
        self._in_a_row = 0
        self._reason = ""
        self._overflows_in_a_row = 0
        self._recent: deque[int] = deque()  # global steps that were skipped
        self._losses: deque[float] = deque(maxlen=config.median_over)
        self._norms: deque[float] = deque(maxlen=config.median_over)
        self._loss: Tensor | None = None
        self._ids: list[dict[str, Any]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember whose samples they are."""
        self.skipped = False
        self._ids.extend(batch_ids(batch))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Add up the losses of one optimizer step; Lightning has divided them by their number."""
        scaler = loss_scaler(trainer)
        part = loss.detach().float() / (1.0 if scaler is None else scaler.get_scale())
        self._loss = part if self._loss is None else self._loss + part

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Judge the step, after all gradients are there and before they are clipped."""
        own = torch.zeros((), device=pl_module.device) if self._loss is None else self._loss
        shared = torch.as_tensor(trainer.strategy.reduce(own.clone(), reduce_op="mean"))
        ids, self._loss, self._ids = self._ids, None, []
        own_norm = gradient_norm(trainer, pl_module) / remaining_scale(trainer, optimizer)
        loss, norm = torch.stack([shared.float(), own_norm]).tolist()
        if math.isfinite(loss) and not math.isfinite(norm) and loss_scaler(trainer) is not None:
            self._leave_to_scaler(trainer)
            return
        self._overflows_in_a_row = 0
        reason = self._judge(loss, norm)
        if reason is None:
            self._in_a_row = 0
            self._good += 1
            self._losses.append(loss)
            self._norms.append(norm)
            return
        if math.isfinite(loss) or not math.isfinite(own.item()):  # name the samples only where the bad ones may be
            self._name(trainer, reason, ids)
        self._skip(trainer, pl_module, optimizer, reason)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log how many steps were skipped."""
        pl_module.log("guard/skipped_steps", float(self.total), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """All that decides, so that a resumed run decides alike."""
        return {
            "total": self.total,
            "good": self._good,
            "in_a_row": self._in_a_row,
            "overflows_in_a_row": self._overflows_in_a_row,
            "recent": list(self._recent),
            "losses": list(self._losses),
            "norms": list(self._norms),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.total = state_dict["total"]
        self._good = state_dict.get("good", 1)  # checkpoints of earlier versions do not say
        self._in_a_row = state_dict["in_a_row"]
        self._overflows_in_a_row = state_dict["overflows_in_a_row"]
        self._recent = deque(state_dict["recent"])
        self._losses.extend(state_dict["losses"])
        self._norms.extend(state_dict["norms"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `TrainingStoppedError` for a training that ends in bad steps, before its weights are exported."""
        check_finite(trainer, pl_module)
        if self._in_a_row >= min(BAD_END, self.config.max_bad) or (self.total and not self._good):
            raise TrainingStoppedError(
                f"the training ends in bad steps: {self._reason}, and the last {self._in_a_row} were skipped; look at "
                f"the configuration, and in {trainer.default_root_dir} at skipped_steps.jsonl for the samples"
            )

    def _judge(self, loss: float, norm: float) -> str | None:
        """What is wrong with a step; None if nothing is."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient norm is {norm}"
        for name, value, limit, history in (
            ("loss", loss, self.config.loss_spike, self._losses),
            ("gradient norm", norm, self.config.norm_spike, self._norms),
        ):
            if limit is not None and len(history) >= max(1, self.config.median_over // 4):
                usual = median(history)
                if value > limit * usual:
                    return f"the {name} {value:.4g} is more than {limit:g} times the usual {usual:.4g}"
        return None

    def _leave_to_scaler(self, trainer: pl.Trainer) -> None:
        self.skipped = True
        self._overflows_in_a_row += 1
        if self._overflows_in_a_row > SCALER_PATIENCE:
            raise TrainingStoppedError(
                f"training stopped at step {trainer.global_step}: gradients overflowed fp16 in "
                f"{self._overflows_in_a_row} steps in a row; use lightning.precision bf16-mixed or 32"
            )

    def _name(self, trainer: pl.Trainer, reason: str, ids: list[dict[str, Any]]) -> None:
        step, rank = trainer.global_step, trainer.global_rank
        log.warning("step %d skipped, %s: %s", step, reason, json_text(ids))
        name = "skipped_steps.jsonl" if rank == 0 else f"skipped_steps.rank{rank}.jsonl"
        path = Path(trainer.default_root_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json_text({"step": step, "reason": reason, "samples": ids}) + "\n")

    def _skip(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer, reason: str) -> None:
        step = trainer.global_step
        self.skipped, self._reason = True, reason
        self.total += 1
        self._in_a_row += 1
        self._recent.append(step)
        while self._recent[0] <= step - self.config.window:
            self._recent.popleft()
        _take_gradients_away(trainer, pl_module, optimizer)
        why = None
        if gradients_are_hidden(trainer):
            why = "DeepSpeed cannot skip it"
        elif self._in_a_row >= self.config.max_bad:
            why = f"{self._in_a_row} steps in a row were skipped (max_bad)"
        elif len(self._recent) >= self.config.max_bad_in_window:
            why = f"{len(self._recent)} of the last {self.config.window} steps were skipped (max_bad_in_window)"
        if why:
            check_finite(trainer, pl_module)
            raise TrainingStoppedError(
                f"training stopped at step {step}: {reason}, and {why}; the weights are those before the bad steps. "
                f"See skipped_steps.jsonl in {trainer.default_root_dir} for the samples; if they are sound, lower the "
                "learning rate, set lightning.trainer.gradient_clip_val, or compute in bf16 or fp32"
            )


def check_finite(trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
    """Raise `TrainingStoppedError`, on all processes, for weights that are no numbers any more."""
    if not weights_are_finite(trainer, pl_module):
        raise TrainingStoppedError(
            f"training stopped at step {trainer.global_step}: the weights are not finite any more, and are not saved; "
            "lower the learning rate, and go on from the last checkpoint with --auto_resume"
        )


def step_was_skipped(trainer: pl.Trainer) -> bool:
    """Whether the last optimizer step left the weights as they were."""
    callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
    return any(callback.skipped for callback in callbacks if isinstance(callback, StepGuard))


def _take_gradients_away(trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer) -> None:
    """Make the coming optimizer step do nothing: optimizers pass over parameters without a gradient.

    A fused optimizer under a loss scaler needs gradients to look at; there one that is not finite makes the scaler
    skip the step.
    """
    for parameter in pl_module.parameters():
        if unscales_in_step(trainer, optimizer) and parameter.grad is not None:
            parameter.grad.fill_(math.nan)
        else:
            parameter.grad = None
