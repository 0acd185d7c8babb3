"""What a batch is: videos that are finished or fail as one, rows that cannot be made, and how the work is shared."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lvdm.declaration.run_parameters import BatchParameters
from lvdm.jobs.expected import work_of
from lvdm.jobs.plan import Plan, PlannedVideo
from lvdm.jobs.resolved import alike

Bundle = tuple[int, ...]
"""Numbers of items that are made at once; empty for a device that has nothing to do."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be made.

    number   counted from 1 among all rows
    place    such as "list.csv, line 3"
    problem  what is wrong, and what to do
    """

    number: int
    place: str
    name: str
    problem: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"row {self.number} ({self.place}): {self.problem}"


@dataclass(frozen=True, eq=False)
class BatchItem:
    """What is made as one: a video, or several of which the best is kept.

    row     its number, counted from 1
    plan    index of the plan that it is part of, see `BatchPlan.plans`
    videos  with the same settings, and different noise
    """

    row: int
    place: str
    name: str
    plan: int
    videos: tuple[PlannedVideo, ...]

    @property
    def output(self) -> Path:
        """Where the video lies in the end."""
        return self.videos[0].place

    @property
    def digests(self) -> tuple[str, ...]:
        """Those of all its videos."""
        return tuple(video.digest for video in self.videos)

    @property
    def work(self) -> float:
        """See `lvdm.jobs.expected.work_of`."""
        return sum(work_of(video.request) for video in self.videos)


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """A list, resolved.

    folder         where everything goes to
    plans          one for each model and mode, with its videos
    items          in the order of the list
    bad            rows that cannot be made, in their order
    skip_finished  whether a video whose record has the same digest is left as it is
    page           whether index.html is written
    """

    folder: Path
    plans: tuple[Plan, ...]
    items: tuple[BatchItem, ...]
    bad: tuple[BadRow, ...] = ()
    how: BatchParameters = field(default_factory=BatchParameters)
    skip_finished: bool = True
    page: bool = True

    @classmethod
    def of(cls, plan: Plan, folder: Path, how: BatchParameters) -> BatchPlan:
        """The batch of a plan with one video for each item, without a page."""
        items = [
            BatchItem(number, f"video {number}", video.output.stem, 0, (video,))
            for number, video in enumerate(plan.videos, 1)
        ]
        return cls(folder, (plan,), tuple(items), (), how, plan.skip_finished, page=False)

    @property
    def fingerprint(self) -> str:
        """The same in two processes if and only if they have the same list, settings and models."""
        text = "\n".join(f"{item.output} {' '.join(item.digests)}" for item in self.items)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def bundles(self, numbers: Sequence[int]) -> list[Bundle]:
        """The items `numbers`, by model and size so that what is alike follows each other; see `Bundle`."""

        def kind(number: int) -> tuple[int, int, int, int, str]:
            item = self.items[number]
            request = item.videos[0].request
            size = request.size
            return item.plan, size.height, size.width, request.settings.num_frames, repr((size, alike(request)))

        found: list[Bundle] = []
        for _, same in itertools.groupby(sorted(numbers, key=kind), key=kind):
            alone, together = list[int](), list[int]()
            for number in same:
                (alone if len(self.items[number].videos) > 1 else together).append(number)
            found += [(number,) for number in alone]
            step = self.how.batch_size
            found += [tuple(together[begin : begin + step]) for begin in range(0, len(together), step)]
        return found
