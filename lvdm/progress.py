"""How long work reports how far it is: generation, evaluation and caching alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: `done` of `total` of `stage`, which is what is counted or what is being done.

    A generation has the stages encode, sample and decode; the others count files, clips, videos or captions.
    """

    stage: str
    done: int
    total: int


ProgressCallback = Callable[[Progress], None]
"""What is called with it, from the thread that works; an exception in it ends the work."""


def report_progress(on_progress: ProgressCallback | None, stage: str, done: int, total: int) -> None:
    """Call `on_progress`, if there is one."""
    if on_progress is not None:
        on_progress(Progress(stage, done, total))
