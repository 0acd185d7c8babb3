"""How long work reports how far it is: generation, evaluation and caching alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: `done` of `total` of `stage`, which is what is counted or what is being done.

    A generation has the stages encode, sample and decode; the others count files, clips, videos or captions.
    """

    stage: str
    done: int
    total: int


SHARES: Mapping[str, tuple[float, float]] = {"encode": (0.0, 0.05), "sample": (0.05, 0.9), "decode": (0.9, 1.0)}
"""Where each stage begins and ends in the making of a video, about."""

ProgressCallback = Callable[[Progress], None]
"""What is called with it, from the thread that works; an exception in it ends the work."""


def share_of_video(progress: Progress) -> float:
    """How much of a video is made, 0 to 1, about."""
    begin, end = SHARES.get(progress.stage, (0.0, 1.0))
    return begin + (end - begin) * progress.done / max(1, progress.total)


def report_progress(on_progress: ProgressCallback | None, stage: str, done: int, total: int) -> None:
    """Call `on_progress`, if there is one."""
    if on_progress is not None:
        on_progress(Progress(stage, done, total))


def in_words(seconds: float) -> str:
    """A duration for people: 50 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
