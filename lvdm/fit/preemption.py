"""Signals that ask a training to stop: remembered when they come, answered together by all devices at a step's end.

Lightning 2.6.6 ends with exit code 0 and saves nothing on SIGTERM, and broadcasts inside its signal handler, which
hangs when only some processes get the signal. `SignalWatch` takes its place while a training runs.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

log = logging.getLogger(__name__)

NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")
"""Signals that are answered, as far as the system has them; SIGINT is Ctrl-C."""


class Preempted(Exception):  # noqa: N818  a request that was met, not an error
    """The training was asked to stop and saved what it had; `exit_code` is for the shell: 143, or 130 for Ctrl-C."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(signum).name} after step {step}; --auto_resume goes on from there"
        )
        self.signum = signum
        self.step = step

    @property
    def exit_code(self) -> int:
        """As shells report a process that was ended by SIGTERM, or by Ctrl-C."""
        return 130 if self.signum == signal.SIGINT else 143


class SignalWatch:
    """Remembers the first signal; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.received = 0
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals. Only the main thread may; elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in NAMES:
            if hasattr(signal, name):
                signum = getattr(signal, name)
                self._previous[signum] = signal.signal(signum, self._remember)

    def restore(self) -> None:
        """Give the signals back to whom they belonged."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if self.received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signum
        again = "; Ctrl-C again stops at once, without saving" if signum == signal.SIGINT else ""
        log.warning("%s: saving after this step, then stopping%s", signal.Signals(signum).name, again)

    def agreed(self, trainer: pl.Trainer) -> int:
        """The signal that any device received, 0 for none; every device must call this at the same step."""
        if trainer.world_size == 1:
            return self.received
        received = torch.tensor(self.received, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(received, op=torch.distributed.ReduceOp.MAX)
        return int(received)


def exit_code_of(trainer: pl.Trainer, stop: Preempted) -> int:
    """What this process returns. Processes that Lightning itself started return 0, since it kills all others at once,

    with exit code 137, when one of them returns anything else. The first process speaks for them.
    """
    started_by_lightning = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
    return 0 if started_by_lightning and trainer.global_rank else stop.exit_code
