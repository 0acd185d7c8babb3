"""What `--dry-run` says: the videos that would be made, where to, their digests and the memory they need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lvdm.errors import counted
from lvdm.jobs.expected import expected_seconds, seconds_for, work_of
from lvdm.jobs.extend import ExtensionPlan
from lvdm.jobs.finished import is_finished
from lvdm.jobs.memory import describe_plan, plan_for
from lvdm.jobs.outputs import check_places
from lvdm.jobs.plan import Plan

MAX_LISTED = 20
"""Videos that are listed."""


def show_plan(plan: Plan) -> Iterator[str]:
    """The lines for a plan of videos."""
    todo = [video for video in plan.videos if not (plan.skip_finished and is_finished(video))]
    check_places(todo, plan.output)
    yield f"{len(todo)} of {len(plan.videos)} videos to make with {plan.model.files.checkpoint}"
    for video in todo[:MAX_LISTED]:
        request, settings = video.request, video.request.settings
        size = f"{request.size.inner.width}x{request.size.inner.height}, {counted(settings.num_frames, 'frame')}"
        steps = counted(settings.num_inference_steps, "step")
        yield (
            f"{video.output}: {settings.mode}, {size}, {steps} of {settings.sampler}, "
            f"fs {request.fs}, seed {request.seed}, digest {video.digest[:12]}"
        )
    if len(todo) > MAX_LISTED:
        yield f"and {len(todo) - MAX_LISTED} more"
    if todo:
        yield describe_plan(plan_for(plan.model, todo[0].request), plan.model.device_name)
        yield _expected(expected_seconds(plan, todo), todo[0].output.parent)
    yield "dry run: nothing was made"


def show_extension(plan: ExtensionPlan) -> Iterator[str]:
    """The lines for an extension."""
    request, size, steps = plan.request, plan.request.size.inner, plan.request.settings.num_inference_steps
    given, new = counted(plan.frames, "frame"), counted(plan.extension.num_frames, "new frame")
    frames = f"{new} in {counted(plan.segments, 'segment')}, overlap {plan.extension.overlap}"
    yield (
        f"{plan.output}: {plan.source} ({given}) and {frames}, {size.width}x{size.height}, seed {request.seed}, "
        f"digest {plan.digest[:12]}"
    )
    yield f"with {plan.model.files.checkpoint} on {plan.model.device_name}, {counted(steps, 'step')} each"
    yield describe_plan(plan_for(plan.model, request, held=plan.held), plan.model.device_name)
    where = plan.output.parent
    yield _expected(seconds_for(plan.segments * work_of(request), [where], plan.model), where)
    yield "dry run: nothing was made"


def _expected(seconds: float | None, where: Path) -> str:
    if seconds is None:
        return f"expected time: not known, as {where} has no record of this model on this device"
    return f"expected time: about {seconds:.0f} s, by the records in {where}"
