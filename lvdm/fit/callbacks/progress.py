"""How far the whole training is, when it will end, and how it does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lvdm.declaration.ranges import Seconds, with_ranges
from lvdm.fit.callbacks.batches import batch_size_of
from lvdm.fit.callbacks.failures import DataFailures
from lvdm.fit.callbacks.guard import StepGuard

_REFRESH_SECONDS = 0.25


@with_ranges
@dataclass(frozen=True)
class TrainingProgressConfig:
    """`line_every` seconds between lines where there is no terminal to draw a bar in."""

    line_every: Seconds = 30.0


@dataclass
class Pace:
    """Steps, samples and seconds of a training from `first` on; `total` steps in all, None where nobody knows.

    The pace shown is that of the last steps. The estimate uses all but the first, which warms up, so that validation,
    samples and checkpoints count in it.
    """

    first: int
    total: int | None
    begun: float
    now: float = 0.0
    step: int = 0
    _marks: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=50))  # time, step, samples
    _warm: tuple[float, int] | None = None
    _samples: int = 0

    def advance(self, step: int, samples: int, now: float) -> None:
        """A batch of `samples` is done, `step` optimizer steps are done in all."""
        self._samples += samples
        is_new, self.step, self.now = step != self.step, step, now
        if is_new:
            self._marks.append((now, step, self._samples))
            self._warm = self._warm or (now, step)

    def recent(self) -> tuple[float, float] | None:
        """(seconds per step, samples per second) of the last steps; None before the second step."""
        if len(self._marks) < 2:
            return None
        (begin, first, before), (end, last, after) = self._marks[0], self._marks[-1]
        seconds = max(end - begin, 1e-9)
        return seconds / (last - first), (after - before) / seconds

    def remaining(self) -> float | None:
        """Seconds until the last step; None where that cannot be known yet."""
        if self.total is None or self._warm is None or self.step <= self._warm[1]:
            return None
        since, first = self._warm
        return (self.total - self.step) * (self.now - since) / (self.step - first)

    def text(self, values: Mapping[str, float]) -> str:
        """One line: step, `values`, pace, time gone and left."""
        parts = [f"step {self.step}/{self.total} ({self.step / self.total:.0%})" if self.total else f"step {self.step}"]
        parts += [f"{name} {value:.4g}" for name, value in values.items()]
        recent = self.recent()
        if recent:
            parts += [f"{recent[0]:.3g} s/it", f"{recent[1]:.3g} samples/s"]
        parts.append(f"{clock(self.now - self.begun)} gone")
        left = self.remaining()
        if left is not None:
            parts.append(f"{clock(left)} left")
        return ", ".join(parts)


class TrainingProgress(ProgressBar):
    """A bar over the whole training on a terminal, elsewhere a line now and then; both go to stderr.

    It takes the place of Lightning's bar, which starts anew with every epoch.
    """

    Config = TrainingProgressConfig

    def __init__(
        self,
        config: TrainingProgressConfig,
        console: Console | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        self.config = config
        self.console = console or Console(stderr=True)
        self._now = now
        self._enabled = True
        self._pace = Pace(0, None, 0.0)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._shown_at = 0.0
        self._shown_step = -1

    def disable(self) -> None:
        """Show nothing: so in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print without breaking the bar."""
        self.console.print(*args, **kwargs)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        total = trainer.estimated_stepping_batches
        known = int(total) if total not in (float("inf"), -1) else None
        begun = self._now()
        self._pace = Pace(trainer.global_step, known, begun, begun, trainer.global_step)
        self._shown_at = begun
        if self._enabled and self.console.is_terminal:
            columns = (TextColumn("training"), BarColumn(bar_width=20), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, console=self.console, refresh_per_second=4)
            self._task = self._bar.add_task("training", total=known, completed=trainer.global_step, text="starting")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A batch is done."""
        now = self._now()
        self._pace.advance(trainer.global_step, batch_size_of(batch) * trainer.world_size, now)
        pause = _REFRESH_SECONDS if self._bar else self.config.line_every
        if self._enabled and now - self._shown_at >= pause:
            self._show(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say why there are no steps."""
        if self._bar:
            self._bar.update(self._task, text=f"step {trainer.global_step}, validating")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last line."""
        self._finish(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._finish(trainer)

    def values(self, trainer: pl.Trainer) -> dict[str, float]:
        """The values beside the bar: logged with `prog_bar`, the learning rate, what was skipped or failed."""
        values = {name.rpartition("/")[2]: float(value) for name, value in trainer.progress_bar_metrics.items()}
        if trainer.optimizers:
            values["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
        for callback in callbacks:
            if isinstance(callback, StepGuard) and callback.total:
                values["skipped"] = callback.total
            if isinstance(callback, DataFailures) and callback.total:
                values["failures"] = callback.total
        return values

    def _show(self, trainer: pl.Trainer) -> None:
        self._shown_at, self._shown_step = self._now(), self._pace.step
        text = self._pace.text(self.values(trainer))
        if self._bar:
            self._bar.update(self._task, completed=self._pace.step, text=text)
        else:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _finish(self, trainer: pl.Trainer) -> None:
        if not self._enabled:
            return
        if self._pace.step not in (self._pace.first, self._shown_step):
            self._show(trainer)
        if self._bar:
            self._bar.stop()
            self._bar = None


def clock(seconds: float) -> str:
    """Seconds as people read them: 0:42, 12:05, 3:07:00, 2 d 03:15:00."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours:02d}:{minutes:02d}:{left:02d}"
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
