"""What `--dry-run` says: the videos that would be made, where to, their digests and the memory they need."""

from __future__ import annotations

from collections.abc import Iterator

from lvdm.errors import counted
from lvdm.jobs.expected import expected_seconds
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
        seconds = expected_seconds(plan, todo)
        where = todo[0].output.parent
        yield (
            f"expected time: not known, as {where} has no record of this model on this device"
            if seconds is None
            else f"expected time: about {seconds:.0f} s, by the records in {where}"
        )
    yield "dry run: nothing was made"


def show_extension(plan: ExtensionPlan) -> Iterator[str]:
    """The lines for an extension."""
    new, overlap = plan.extension.num_frames, plan.extension.overlap
    segments = -(-new // (plan.settings.num_frames - overlap))
    frames = f"{counted(new, 'new frame')} in {counted(segments, 'segment')}"
    yield f"{plan.output}: {plan.source} and {frames}, overlap {overlap}"
    steps = plan.settings.num_inference_steps
    yield f"with {plan.model.files.checkpoint} on {plan.model.device_name}, {counted(steps, 'step')} each"
    yield "dry run: nothing was made"
