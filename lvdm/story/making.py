"""A story is made: shot by shot, each kept where it is finished, then the transitions between them, then the film."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.run import Load, ProgressOf, SelectedVideo, run
from lvdm.story.film import Film, make_film
from lvdm.story.images import generate_image, stored_image
from lvdm.story.planning import StoryPlan, VideoPlan
from lvdm.story.reading import followed, label, named
from lvdm.story.script import StoryError


@dataclass(frozen=True)
class FinishedShot:
    """A shot or a transition lies at its place. is_new: whether it was made just now."""

    video: VideoPlan
    title: str
    is_new: bool
    lines: tuple[str, ...] = ()


Event = FinishedShot | Film


def make_story(
    plan: StoryPlan, only: str | None = None, progress: ProgressOf | None = None, load: Load | None = None
) -> Iterator[Event]:
    """Make what is not finished, and the film; gives each video when it lies at its place.

    only      the name of a shot: it alone is made, with those that it follows, and no film
    progress  see `lvdm.jobs.run.run`
    load      makes the pipeline of a model; left out, the last one stays loaded
    An error names the shot; what was made before it stays, and is found again. Raises `StoryError`, `OutputError`.
    """
    load = LoadedModel().load if load is None else load
    shots = dict[int, VideoPlan]()
    for number in plan.order if only is None else _needed(plan, only):
        shot = plan.story.shots[number]
        with named(label(shot)):
            _make_images(plan, number)
            event = _make(_resolved(plan, number, shots), f"shot {shot.name}", progress, load)
        shots[number] = dataclasses.replace(event.video)  # asks anew whether it is finished
        yield event
    if only is not None:
        return
    made = [shots[number] for number in range(len(shots))]
    transitions = dict[int, VideoPlan]()
    for number in plan.transitions:
        with named(f"{label(plan.story.shots[number])}: transition"):
            video = plan.planner.transition(number, plan.layout.overlaps[number], made)
            event = _make(video, f"transition after {video.name}", progress, load)
        transitions[number] = event.video
        yield event
    yield make_film(dataclasses.replace(plan, shots=tuple(made), transitions=transitions))


def _needed(plan: StoryPlan, name: str) -> list[int]:
    """The numbers of the shot and of those that it follows, in the order of making. Raises `StoryError`."""
    names = [shot.name for shot in plan.story.shots]
    if name not in names:
        raise StoryError(f"there is no shot {name!r}; use one of {', '.join(names)}")
    needed, waiting = set[int](), {names.index(name)}
    while waiting:
        number = waiting.pop()
        needed.add(number)
        waiting |= followed(plan.story, number) - needed
    return [number for number in plan.order if number in needed]


def _resolved(plan: StoryPlan, number: int, shots: dict[int, VideoPlan]) -> VideoPlan:
    """The plan of a shot with the frames that it is made of, now that what it follows is there."""
    planned = plan.shots[number]
    if planned.is_known:
        return planned
    resolved = plan.planner.shot(number, shots)
    if not resolved.is_known:
        raise StoryError("a shot that it follows is no longer there; start again")
    return resolved


def _make_images(plan: StoryPlan, number: int) -> None:
    """Make the images of `text_to_image` of a shot that are not there yet."""
    generator, shot = plan.planner.images, plan.story.shots[number]
    for source, part in ((shot, "first"), (shot.end, "end")):
        if source is not None and source.text_to_image and generator is not None:
            path = plan.folder.generated_image(shot.name, part)
            prompt, size = plan.story.expanded(source.text_to_image), plan.planner.size
            if stored_image(path, generator, prompt, size) is None:
                generate_image(path, generator, prompt, size, plan.planner.overwrite)


def _make(video: VideoPlan, title: str, progress: ProgressOf | None, load: Load) -> FinishedShot:
    if video.is_finished:
        return FinishedShot(video, title, is_new=False)
    lines = list[str]()
    for event in run(video.plan, progress=progress, load=load):
        lines += event.lines() if len(video.plan.videos) == 1 or isinstance(event, SelectedVideo) else []
    return FinishedShot(dataclasses.replace(video), title, is_new=True, lines=tuple(lines))
