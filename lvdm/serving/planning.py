"""From a request to the plan of `lvdm.jobs`, with the models of the server and within its limits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lvdm.declaration.parameter import IMAGELESS, known_name
from lvdm.hosting.checks import check_plan
from lvdm.hosting.words import in_words_of_guests
from lvdm.jobs.extend import ExtensionPlan, plan_extension
from lvdm.jobs.memory import plan_for
from lvdm.jobs.plan import Plan, plan_videos
from lvdm.serving.asking import Submission
from lvdm.serving.settings import Settings

_BEGUN = {"prompt": ("prompt",), "image": ("image", "end_image", "keyframes")}
"""One of these is given, or nothing is there to begin with; what is missing beside it is said by the library."""


def plan_job(submission: Submission, folder: Path, settings: Settings) -> Plan | ExtensionPlan:
    """The plan of a request whose files are in `folder`; what is made goes into a folder in it. Raises `ValueError`."""
    known_name(submission.model, settings.models, "model")  # a job may be older than the server
    machine = {"device": "auto"} | dict(settings.machine)
    if submission.record:  # the others are the record's, unless the request has them
        machine = {"device": machine["device"]}
    given = machine | submission.parameters(folder)
    if not submission.model_of_record:
        given |= settings.models[submission.model].values
    needed = "prompt" if submission.mode in IMAGELESS else "image"
    if submission.mode != "extend" and not submission.record and given.keys().isdisjoint(_BEGUN[needed]):
        raise ValueError(f"{submission.mode} needs {needed}, and none was given")
    if submission.mode != "extend":
        plan = plan_videos(submission.mode, **given)  # type: ignore[arg-type]  # names are checked by the declaration
        check_plan(plan, settings.limits)
        return plan
    video = given.pop("video", None)
    if video is None and not submission.record:
        raise ValueError("extend needs a video, and none was given")
    extension = plan_extension(video, **given)
    check_plan(extension, settings.limits)
    return extension


def about(plan: Plan | ExtensionPlan, dry_run: bool = False) -> dict[str, Any]:
    """What a plan came to, for people and for JSON; on a dry run also the memory that it needs."""
    if isinstance(plan, ExtensionPlan):
        request, num_frames, videos, held = plan.request, plan.frames + plan.extension.num_frames, 1, plan.held
    else:
        request, videos, held = plan.videos[0].request, len(plan.videos), 0
        num_frames = request.settings.num_frames - plan.drop_last_frame
    summary: dict[str, Any] = {
        "prompt": request.inputs.prompt,
        "seed": request.seed,
        "width": request.size.inner.width,
        "height": request.size.inner.height,
        "num_frames": num_frames,
        "playback_fps": plan.playback_fps,
        "num_inference_steps": request.settings.num_inference_steps,
        "videos": videos,
        "digest": plan.digest if isinstance(plan, ExtensionPlan) else plan.videos[0].digest,
    }
    return summary | {"memory_bytes": plan_for(plan.model, request, held=held).total} if dry_run else summary


class _Heard(logging.Handler):
    """The warnings of one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of `record`, once."""
        if record.thread == self._thread and (line := record.getMessage()) not in self.lines:
            self.lines.append(line)


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """The warnings that the library logs in this thread, as they come."""
    handler, logger = _Heard(), logging.getLogger("lvdm")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


def public(text: str, folder: Path, settings: Settings) -> str:
    """A message for the client, without the places of this machine: uploads and models by their names."""
    for model in settings.models.values():
        for path in (model.files.checkpoint, model.files.config):
            text = text.replace(str(path), f"the {path.suffix.lstrip('.')} file of model {model.name}")
    for place in (folder, settings.jobs):
        text = text.replace(f"{place}/", "").replace(f"{place}\\", "").replace(str(place), "the folder of the job")
    return in_words_of_guests(text, settings.models)
