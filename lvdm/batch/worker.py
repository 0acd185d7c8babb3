"""What a process of a batch does: the same function under every engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

import torch

from lvdm.batch.plan import BatchItem, BatchPlan
from lvdm.batch.states import is_item_finished, remove_failure, write_failure
from lvdm.jobs.finished import is_finished
from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.plan import Plan
from lvdm.jobs.run import PlanWork, batches, select, waiting_candidates
from lvdm.media.atomic import check_writable
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.progress import ProgressCallback, in_words

logger = logging.getLogger(__name__)

DEVICE_IS_LOST: tuple[type[Exception], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
"""After these, no other video can be made in the same process."""


class Reporter(Protocol):
    """How people see what a process does. It goes to other processes as a copy."""

    def start(self) -> None:
        """Begin, in a process that was started for the batch."""
        ...

    def progress(self, title: str) -> AbstractContextManager[ProgressCallback | None]:
        """A block in which the progress of one video is reported."""
        ...

    def show(self, lines: Iterable[str]) -> None:
        """Say something of what is finished, or failed."""
        ...


class BatchWorker:
    """Makes items one after the other, with models that it loads when they are first needed.

    device   of its pipelines, where `--device` leaves it open; None: as planned
    share    the items that it is going to make, for the estimate
    threads  on the CPU: sums are rounded in an order that depends on it, so all processes have the same number
    """

    def __init__(
        self,
        plan: BatchPlan,
        reporter: Reporter,
        device: str | None = None,
        share: Sequence[int] = (),
        threads: int | None = None,
    ) -> None:
        self._plan, self._reporter, self._device = plan, reporter, device
        self._loaded = LoadedModel()
        self._models: dict[int, ChosenModel] = {}
        self._total = len(share)
        self._estimate = Estimate([plan.items[number].work for number in share])
        self._done = 0
        if threads is not None:
            torch.set_num_threads(threads)

    def make(self, bundle: Sequence[int]) -> dict[int, str]:
        """Make the items of a bundle; what went wrong, by the number of the item.

        Raises `ValueError` if the model cannot be loaded, and what makes the device useless.
        """
        items = {number: self._plan.items[number] for number in bundle}
        if self._plan.skip_finished:  # an engine may ask for the same bundle again
            items = {number: item for number, item in items.items() if not is_item_finished(item)}
        problems = self._make(items) if items else {}
        self._done += len(bundle)
        self._estimate.add([self._plan.items[number].work for number in bundle])
        return problems

    def _make(self, items: dict[int, BatchItem]) -> dict[int, str]:
        first = next(iter(items.values()))
        plan, pipeline = self._plan.plans[first.plan], self._pipeline(first.plan)
        try:
            for item in items.values():
                check_writable(item.output)  # a disk that has become full is found before the work, not after it
            self._generate(plan, pipeline, list(items.values()))
        except DEVICE_IS_LOST:
            raise
        except Exception as error:  # of whatever kind: the other items are made all the same
            if len(items) > 1:
                logger.info("%s: %s; each is made alone", ", ".join(item.name for item in items.values()), error)
                return {key: text for n, item in items.items() for key, text in self._make({n: item}).items()}
            (number,) = items
            message = write_failure(first, error)
            self._reporter.show([f"{first.output}  failed: {message}"])
            return {number: message}
        for item in items.values():
            remove_failure(item)
        return {}

    def _generate(self, plan: Plan, pipeline: DynamiCrafterPipeline, items: Sequence[BatchItem]) -> None:
        """Make the videos of items and write them."""
        videos = tuple(video for item in items for video in item.videos)
        own = replace(plan, videos=videos, skip_finished=self._plan.skip_finished)
        todo = [video for video in videos if not (own.skip_finished and is_finished(video))]
        waiting = waiting_candidates(todo, own)
        for event in select(waiting):
            self._reporter.show(event.lines())
        work = PlanWork(own, pipeline, waiting, 1, self._progress)
        for batch in batches(todo, self._plan.how.batch_size):
            for made in work.make(batch):
                self._reporter.show(made.lines())

    def _progress(self, title: str) -> AbstractContextManager[ProgressCallback | None]:
        count = f"{self._done + 1}/{self._total} " if self._total > 1 else ""
        left = self._estimate.left()
        return self._reporter.progress(f"{count}{title}{'' if left is None else f', {in_words(left)} left'}")

    def _pipeline(self, number: int) -> DynamiCrafterPipeline:
        if number not in self._models:
            model = self._plan.plans[number].model
            if self._device is not None and model.machine.device == "auto":
                model = replace(model, machine=replace(model.machine, device=self._device))
            self._models[number] = model
        return self._loaded.load(self._models[number])


class Estimate:
    """How long the rest of a share takes, by the time that its first items took."""

    def __init__(self, works: Sequence[float]) -> None:
        self._left, self._done = float(sum(works)), 0.0
        self._seconds, self._before = 0.0, time.monotonic()

    def add(self, works: Sequence[float]) -> None:
        """These items are finished."""
        now = time.monotonic()
        self._seconds, self._before = self._seconds + now - self._before, now
        self._done, self._left = self._done + sum(works), max(0.0, self._left - sum(works))

    def left(self) -> float | None:
        """Seconds; None before anything is finished."""
        return self._left * self._seconds / self._done if self._done else None
