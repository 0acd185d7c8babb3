"""How far each item of a batch is, by what lies in its folder: nothing else remembers it."""

from __future__ import annotations

import functools
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lvdm.batch.plan import BatchItem, BatchPlan
from lvdm.documents import DocumentError, one_line, read_json
from lvdm.errors import UserError
from lvdm.jobs.finished import is_finished, is_selected
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.outputs import check_places
from lvdm.media.atomic import OutputError, write_json
from lvdm.media.ownership import check_replaceable, record_stem

logger = logging.getLogger(__name__)

FAILURE_FORMAT = "dynamicrafter-failure/1"

Kind = Literal["finished", "failed", "refused", "open"]


@dataclass(frozen=True)
class State:
    """How far an item is.

    finished  its video lies there with the digest that is asked for
    failed    it failed when it was made, with just these digests
    refused   it cannot be written or made, see `problem`
    open      it is still to be made
    """

    kind: Kind
    problem: str = ""


FINISHED, OPEN = State("finished"), State("open")


def survey(plan: BatchPlan, numbers: Sequence[int] | None = None) -> dict[int, State]:
    """The states of the items `numbers`, or of all."""
    chosen = range(len(plan.items)) if numbers is None else numbers
    # it builds a network
    look = functools.cache(lambda index, perturbed: _perturbed_problem(plan.plans[index].model, perturbed))
    return {number: _state(plan, plan.items[number], look) for number in chosen}


def to_make(plan: BatchPlan, states: dict[int, State]) -> list[int]:
    """The items that this run makes."""
    again = {"failed"} if plan.how.retry_failed or not plan.skip_finished else set()
    again |= set() if plan.skip_finished else {"finished"}
    return [number for number, state in states.items() if state.kind in {"open", *again}]


def is_item_finished(item: BatchItem) -> bool:
    """Whether what the item keeps lies there; candidates alone do not count."""
    candidates = item.videos[0].candidates
    if candidates and candidates.best:
        return is_selected(candidates)
    return all(map(is_finished, item.videos))


def failure_path(output: Path) -> Path:
    """Where the failure of a video is written: clip.failed.json for clip.mp4."""
    return output.with_name(f"{record_stem(output)}.failed.json")


def write_failure(item: BatchItem, error: Exception) -> str:
    """Write that the item failed, and why, beside where its video would lie; returns the message."""
    message = problem_of(error)
    failure: dict[str, Any] = {
        "format": FAILURE_FORMAT,
        "video": item.output.name,
        "row": item.row,
        "digests": list(item.digests),
        "error": message,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if not isinstance(error, UserError):
        failure["traceback"] = "".join(traceback.format_exception(error))
    try:
        check_replaceable(failure_path(item.output))
        write_json(failure_path(item.output), failure)
    except OutputError as problem:
        logger.warning("that %s failed is not written down: %s", item.output, problem)
    return message


def remove_failure(item: BatchItem) -> None:
    """Forget that the item failed before."""
    path = failure_path(item.output)
    if path.is_file() and _failure(item) is not None:
        path.unlink(missing_ok=True)


def problem_of(error: Exception) -> str:
    """What is wrong in one line; of a mistake of ours with its kind."""
    text = one_line(str(error))
    return text if isinstance(error, UserError | ValueError) and text else f"{type(error).__name__}: {text}"


def _state(plan: BatchPlan, item: BatchItem, perturbed_problem: Callable[[int, Any], str]) -> State:
    if is_item_finished(item):
        return FINISHED
    failure = _failure(item)
    if failure is not None and failure.get("digests") == list(item.digests):
        return State("failed", one_line(str(failure.get("error"))))
    try:
        check_places(item.videos, plan.plans[item.plan].output)
        check_replaceable(failure_path(item.output))
    except ValueError as error:
        return State("refused", problem_of(error))
    problem = perturbed_problem(item.plan, item.videos[0].request.settings.perturbed_guidance)
    return State("refused", problem) if problem else OPEN


def _perturbed_problem(model: ChosenModel, perturbed: Any) -> str:
    if perturbed is None:
        return ""
    from lvdm.plugins.perturbed_guidance import check_blocks  # it builds the network, with torch

    try:
        check_blocks(perturbed, model.config.unet_config.params)
    except ValueError as error:
        return problem_of(error)
    return ""


def _failure(item: BatchItem) -> dict[str, Any] | None:
    """What was written of an earlier failure of a video of this name."""
    try:
        failure = read_json(failure_path(item.output))
    except (OSError, DocumentError):
        return None
    ours = isinstance(failure, dict) and failure.get("format") == FAILURE_FORMAT
    return failure if ours and isinstance(failure.get("digests"), list) else None
