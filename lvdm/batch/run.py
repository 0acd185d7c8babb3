"""A batch at work: what is unfinished goes to an engine, then the folder says what became of it."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvdm.batch.page import write_page
from lvdm.batch.plan import BatchItem, BatchPlan, Bundle
from lvdm.batch.states import FINISHED, State, survey, to_make
from lvdm.errors import UserError, counted
from lvdm.jobs.expected import expected_seconds
from lvdm.jobs.finished import say_skipped
from lvdm.jobs.memory import announce_memory
from lvdm.launched import launch, process_number

if TYPE_CHECKING:
    from lvdm.batch.worker import Reporter  # it computes: plans and dry runs need no torch

logger = logging.getLogger(__name__)

MAX_LISTED = 50
"""Bad rows and failures that are listed; the page has all."""


@dataclass(frozen=True)
class BatchReport:
    """What became of a list.

    finished  items whose video lies there, `skipped` of them from before
    failed    items that failed or were refused, and why
    missing   items that are neither: the run was cut short
    bad       lines about rows that cannot be made
    """

    finished: int
    skipped: int
    failed: tuple[tuple[BatchItem, str], ...]
    missing: int
    bad: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every row is finished."""
        return not (self.failed or self.missing or self.bad)

    def lines(self) -> list[str]:
        """What there is to say of it."""
        problems = [*self.bad, *(f"row {item.row} ({item.place}): {problem}" for item, problem in self.failed)]
        counts = [f"{counted(self.finished, 'video')} finished"]
        counts += [f"{self.skipped} of them before"] if self.skipped else []
        counts += [f"{len(self.failed)} failed"] if self.failed else []
        counts += [f"{counted(len(self.bad), 'row')} cannot be made"] if self.bad else []
        counts += [f"{self.missing} not made"] if self.missing else []
        return [*listed(problems), ", ".join(counts)]


def listed(lines: Sequence[str]) -> list[str]:
    """The first of many lines, and how many more there are."""
    more = len(lines) - MAX_LISTED
    return [*lines[:MAX_LISTED], f"and {more} more"] if more > 0 else list(lines)


def run_batch(plan: BatchPlan, reporter: Reporter) -> BatchReport | None:
    """Make what is unfinished; None in all processes but the first. Started again, it goes on where it was.

    What fails is written down and stops nothing. Raises `ValueError` where nothing can be made at all.
    """
    if plan.how.engine == "ray":
        check_ray()
    if process_number():  # it does what the first one says
        _engine(plan, [], reporter)
        return None
    for row in listed([row.line for row in plan.bad]):
        logger.warning("%s", row)
    before = survey(plan)
    todo = to_make(plan, before)
    states = before | dict.fromkeys(todo, State("open"))
    _announce(plan, before, todo)
    if plan.page:
        write_page(plan, states)
    if todo or launch() is not None:
        try:
            _engine(plan, plan.bundles(todo), reporter)
        finally:
            states |= survey(plan, todo)
            if plan.page:
                write_page(plan, states)
    return report(plan, states, sum(state == FINISHED for state in before.values()) if plan.skip_finished else 0)


def report(plan: BatchPlan, states: dict[int, State], skipped: int = 0) -> BatchReport:
    """The report of a plan whose items are in these states."""
    failed = [(plan.items[n], state.problem) for n, state in states.items() if state.kind in ("failed", "refused")]
    kinds = [state.kind for state in states.values()]
    bad = tuple(row.line for row in plan.bad)
    return BatchReport(kinds.count("finished"), skipped, tuple(failed), kinds.count("open"), bad)


def check_ray() -> None:
    """Raise `UserError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError('--engine ray needs Ray; install it with: pip install "dynamicrafter[ray]"')
    if launch() is not None:
        raise UserError("--engine ray starts its own processes; leave out torchrun or srun, or use --engine lightning")


def _engine(plan: BatchPlan, bundles: Sequence[Bundle], reporter: Reporter) -> None:
    """Make the bundles by the engine that is asked for."""
    if plan.how.engine == "ray":
        from lvdm.batch.ray_pool import make_with_ray  # an extra

        make_with_ray(plan, bundles, reporter)
        return
    from lvdm.batch.predicting import predict

    predict(plan, bundles, reporter)


def _announce(plan: BatchPlan, before: dict[int, State], todo: Sequence[int]) -> None:
    """Log what is skipped, how much memory the largest video needs, and how long all take."""
    skipped = [plan.items[number] for number, state in before.items() if plan.skip_finished and state == FINISHED]
    sheets = any(plan.plans[item.plan].output.contact_sheet for item in skipped)
    say_skipped([item.output for item in skipped], len(before), sheets)
    failed = [number for number, state in before.items() if state.kind == "failed" and number not in todo]
    if failed:
        logger.warning("%d failed before and are left; --retry-failed makes them again", len(failed))
    if not todo:
        return
    for index, own in enumerate(plan.plans):
        mine = [plan.items[number] for number in todo if plan.items[number].plan == index]
        if mine:
            largest = max(mine, key=lambda item: item.videos[0].request.size.height * item.videos[0].request.size.width)
            announce_memory(own.model, largest.videos[0].request, min(plan.how.batch_size, len(mine)))
    seconds = expected_batch_seconds(plan, todo)
    if seconds is not None:
        from lvdm.batch.worker import in_words

        logger.info("about %s on one device, by earlier records in %s", in_words(seconds), plan.folder)


def expected_batch_seconds(plan: BatchPlan, numbers: Sequence[int]) -> float | None:
    """Seconds that one device takes for the items `numbers`, by records in the folder; None where there are none."""
    total = 0.0
    for index, own in enumerate(plan.plans):
        videos = [video for n in numbers if plan.items[n].plan == index for video in plan.items[n].videos]
        seconds = expected_seconds(own, videos) if videos else 0.0
        if seconds is None:
            return None
        total += seconds
    return total
