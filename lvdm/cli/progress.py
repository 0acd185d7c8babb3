"""What the user sees while a video is made: messages of the library, and a bar with stage, step and estimate."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from lvdm.progress import Progress, ProgressCallback

STAGES = {"encode": "reading image and prompt", "sample": "sampling", "decode": "decoding frames"}


class _Notes(logging.Handler):
    """Log records of the library as single lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        warning = record.levelno >= logging.WARNING
        line = f"{'Warning' if warning else 'Note'}: {record.getMessage()}"
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text(line, style="yellow" if warning else "dim"))


@contextmanager
def library_messages(visible: bool = True) -> Iterator[None]:
    """Show what the library and the commands log, while the block runs; or not, where another process does."""
    handler = _Notes() if visible else logging.NullHandler()
    levels = {logger: logger.level for logger in map(logging.getLogger, ("lvdm",))}
    for logger in levels:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressCallback]:
    """A bar on stderr that disappears at the end; yields what the pipeline reports to."""
    with _bar() as bar:
        task = bar.add_task(title, total=None)
        current = ""

        def show(progress: Progress) -> None:
            nonlocal current
            if progress.stage != current:
                current = progress.stage
                bar.reset(task, total=progress.total, description=f"{title}: {STAGES[current]}")
            bar.update(task, completed=progress.done)

        yield show


@contextmanager
def counting_bar() -> Iterator[ProgressCallback]:
    """Bars on stderr, one for each kind of thing that is counted; yields what the work reports to."""
    with _bar() as bar:
        tasks: dict[str, TaskID] = {}

        def show(progress: Progress) -> None:
            what, done, total = progress.stage, progress.done, progress.total
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, completed=done)  # what was there counts for no speed
            bar.update(tasks[what], completed=done, total=total)

        yield show


def _bar() -> Bars:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Bars(*columns, console=Console(stderr=True), transient=True)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in lines:
        console.print(line)
