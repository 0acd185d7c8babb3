"""Whether a planned video is there already, by the digest in its record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lvdm.jobs.best_of import Candidates
from lvdm.jobs.plan import PlannedVideo
from lvdm.jobs.record import read_record
from lvdm.media.ownership import frame_name, names_frames, record_path, sheet_path
from lvdm.request.layers import shown_name

logger = logging.getLogger(__name__)


def is_finished(video: PlannedVideo) -> bool:
    """Whether the video lies there with the digest that is asked for, or lost to one of its candidates that does."""
    others = video.candidates
    if others and others.best and is_selected(others):
        return True
    return _lies_there(video.output, {video.digest}, None)


def say_skipped(skipped: Sequence[Path], count: int, contact_sheet: bool) -> None:
    """Log how many of `count` videos are there already, and how many of those lack a contact sheet that is wanted."""
    if skipped:
        logger.warning("%d of %d videos are finished already and skipped", len(skipped), count)
    without = sum(not sheet_path(record_path(video)).exists() for video in set(skipped)) if contact_sheet else 0
    if without:
        logger.warning(
            "%s has no effect on %d finished videos, which have none; remove them to have them made again",
            *(shown_name("contact_sheet"), without),
        )


def is_selected(candidates: Candidates) -> bool:
    """Whether the best of them lies at its place, chosen among as many."""
    return _lies_there(candidates.output, set(candidates.digests), len(candidates.entries))


def _lies_there(output: Path, digests: set[str], best_of: int | None) -> bool:
    """Whether `output` is a video with one of `digests`. It and its record appear together."""
    record = record_path(output)
    first_file = output.with_name(frame_name(output.name, 0)) if names_frames(output) else output
    if not (record.is_file() and first_file.exists()):
        return False
    try:
        finished = read_record(record)
    except ValueError as error:
        logger.warning("%s; the video is made again", error)
        return False
    if finished.digest is None:
        logger.warning("%s is of an earlier version and has no digest; the video is made again", record)
    return (
        finished.video == output.name
        and finished.digest in digests
        and finished.best_of == (best_of or finished.best_of)
    )
