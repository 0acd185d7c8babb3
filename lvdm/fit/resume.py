"""Checkpoints that a training goes on from to the bit, and what a resumed training says of itself."""

from __future__ import annotations

import contextlib
import logging
import platform
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch.optim.lr_scheduler import LambdaLR

from lvdm.declaration.ranges import Count, Steps, with_ranges
from lvdm.diffusion.noise import sample_generator
from lvdm.fit.callbacks.guard import check_finite
from lvdm.fit.checkpoints import CheckpointStore, StorageError
from lvdm.fit.preemption import Preempted, SignalWatch

log = logging.getLogger(__name__)

RECORD = "dynamicrafter"
"""Key of our own entry in a checkpoint."""

MARKER = "PREEMPTED"


@with_ranges
@dataclass(frozen=True)
class CheckpointConfig:
    """Keys of `lightning.checkpoint`: after how many optimizer steps a checkpoint is saved, and how many are kept."""

    every_n_train_steps: Steps = 500
    keep: Count = 3


class TrainingCheckpoint(Checkpoint):
    """Saves everything that the training needs to go on: every so many steps, at the end, and when asked to stop.

    A checkpoint holds weights, optimizer, schedule, moving average, progress, configuration and versions. Random
    numbers need no place in it: they follow from the seed and the progress. Being a `Checkpoint`, it runs after all
    other callbacks, so a checkpoint holds what they did in its step.
    """

    def __init__(self, config: CheckpointConfig, run_dir: Path, configuration: str, seed: int) -> None:
        self.config = config
        self.run_dir = run_dir
        self.store = CheckpointStore(run_dir / "checkpoints", config.keep)
        self.configuration = configuration
        self.seed = seed
        self._signals = SignalWatch()
        self._last_step = 0
        self._last_saved = self._checked = -1
        self._options: list[dict[str, Any]] = []  # of the optimizers, as the configuration has them

    # ------------------------------------------------------------------ saving

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the options of the optimizers before a checkpoint brings its own."""
        self._options = [optimizer_options(group) for group in all_groups(trainer)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals, after Lightning, and make sure that checkpoints fit on the disk."""
        apply_options(trainer, self._options)
        self._last_step = trainer.global_step
        self._signals.install()
        problem = ""
        if trainer.is_global_zero:
            self.run_dir.joinpath(MARKER).unlink(missing_ok=True)
            self.store.remove_unfinished()
            try:
                self.store.check_space(checkpoint_bytes(pl_module))
            except StorageError as error:
                problem = str(error)
        raise_everywhere(trainer, problem)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the global generators, which dropout uses, with the number of the batch."""
        number = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        generator = sample_generator(self.seed, number, f"global/{trainer.global_rank}")
        seed = int(torch.randint(2**31, (), generator=generator))
        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After an optimizer step: save when it is time, or save and stop when a signal came."""
        step = trainer.global_step
        if step == self._last_step:
            return  # between two steps gradients are being accumulated, which no checkpoint holds
        self._last_step = step
        signum = self._signals.agreed(trainer)
        if signum:
            self.save(trainer, required=True)
            if trainer.is_global_zero:
                self.run_dir.joinpath(MARKER).write_text(f"signal {signum} after step {step}\n", encoding="utf-8")
            raise Preempted(signum, step)
        last = step == trainer.max_steps
        if last or step % self.config.every_n_train_steps == 0:
            self.save(trainer, required=last)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last step of a training that is measured in epochs, or that something stopped.

        Not later: when training ends the averaged weights replace those that it would go on from.
        """
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last and self._last_saved != trainer.global_step:
            self.save(trainer, required=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._signals.restore()

    def save(self, trainer: pl.Trainer, required: bool) -> None:
        """Write a checkpoint, on all devices together. A failure is an error if `required`, else it is logged.

        Raises `TrainingStoppedError` for weights that are not finite: earlier checkpoints stay.
        """
        step = trainer.global_step
        check_finite(trainer, trainer.lightning_module)
        self._checked = step
        problem = ""
        if trainer.is_global_zero:
            try:
                self.store.save(step, lambda path: self._write(trainer, path), {"versions": versions()})
            except StorageError as error:
                problem = str(error)
                log.error("%s", error)
        else:
            self._write(trainer, self.store.part(step))
        if required:
            raise_everywhere(trainer, problem)
        if not problem:
            self._last_saved = step

    @staticmethod
    def _write(trainer: pl.Trainer, path: Path) -> None:
        try:
            trainer.save_checkpoint(path, weights_only=False)
        except OSError:
            # Lightning lets the other devices wait for one that failed.
            with contextlib.suppress(RuntimeError):
                trainer.strategy.barrier("a failed checkpoint")
            raise

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a resumed training compares itself with. Raises as `save` does, also for other checkpoints."""
        if self._checked != trainer.global_step:
            check_finite(trainer, pl_module)
        checkpoint[RECORD] = {
            "configuration": self.configuration,
            "seed": self.seed,
            "global_batch": global_batch(trainer),
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "world_size": trainer.world_size,
            "versions": versions(),
        }

    # ------------------------------------------------------------------ resuming

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say what differs from the training that saved it, and carry its position over to another global batch."""
        record = checkpoint.get(RECORD)
        if record is None:
            log.warning("the checkpoint is not one of ours: it resumes, but clips and noise begin anew")
            return
        if record["seed"] != self.seed:
            log.warning("resuming with --seed %d instead of %d: other clips and noise", self.seed, record["seed"])
        if record["versions"] != versions():
            log.warning("resuming with other versions: %s instead of %s", versions(), record["versions"])
        old, new = record["global_batch"], global_batch(trainer)
        if old != new:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            samples = progress["total"]["ready"] * old
            batches = -(-samples // new)
            move_progress(progress, batches)
            log.warning(
                "resuming with a global batch of %d instead of %d (%d devices, %d before): goes on with sample %d of "
                "the same order, %d left out; max_steps and the learning rate go on counting optimizer steps",
                *(new, old, trainer.world_size, record["world_size"], batches * new, batches * new - samples),
            )


def global_batch(trainer: pl.Trainer) -> int:
    """Clips per forward pass over all devices."""
    return trainer.datamodule.config.batch_size * trainer.world_size  # type: ignore[attr-defined]


def move_progress(progress: dict[str, Any], batches: int) -> None:
    """Set Lightning's progress to `batches` taken in all, at the beginning of an epoch."""
    for name in progress["total"]:
        progress["total"][name] = batches
        progress["current"][name] = 0
    progress["is_last_batch"] = False


def raise_everywhere(trainer: pl.Trainer, problem: str) -> None:
    """Raise `StorageError` on every device when the first one has a problem, so that none waits for another."""
    problem = trainer.strategy.broadcast(problem)
    if problem:
        raise StorageError(problem)


def checkpoint_bytes(module: torch.nn.Module) -> int:
    """About how large a checkpoint is: every tensor once, and two moments for what is trained."""
    tensors = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    return tensors + 2 * trained


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "pytorch_lightning": pl.__version__}


def all_groups(trainer: pl.Trainer) -> list[dict[str, Any]]:
    """The parameter groups of all optimizers."""
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def optimizer_options(group: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of a parameter group; the present rate follows from `initial_lr` and the schedule."""
    return {name: group[name] for name in ("initial_lr", "betas", "weight_decay") if name in group}


def apply_options(trainer: pl.Trainer, options: Sequence[Mapping[str, Any]]) -> None:
    """Give optimizers and schedules these options in the place of those that came with a checkpoint."""
    for group, own in zip(all_groups(trainer), options, strict=True):
        group |= own
    for each in trainer.lr_scheduler_configs:
        scheduler = each.scheduler
        if not isinstance(scheduler, LambdaLR):
            continue
        scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]
        for group, base, factor in zip(
            scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
        ):
            rate = base * factor(scheduler.last_epoch)
            if isinstance(group["lr"], torch.Tensor):  # of moments in 8 bits, which keep the tensor
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
