"""From a script to a plan: every shot is resolved and checked, and its first frame is there, before one is made.

A shot that begins with the last frame of another one is checked with a frame in the place of it, as long as that other
one is not made; its digest is known then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.errors import Problems
from lvdm.jobs.expected import expected_seconds
from lvdm.jobs.finished import is_finished
from lvdm.jobs.memory import describe_plan, plan_for
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.jobs.plan import Plan, PlannedVideo, plan_videos
from lvdm.media.ownership import check_replaceable, check_video_replaceable
from lvdm.media.video_reader import VideoReader
from lvdm.request.layers import Values, all_parameters, checked
from lvdm.story.captions import check_captions
from lvdm.story.composition import as_frame, compose, placeholder
from lvdm.story.folder import StoryFolder, write_frame
from lvdm.story.images import ImageGenerator, stored_image
from lvdm.story.layout import FilmLayout, lay_out
from lvdm.story.reading import followed, label, named
from lvdm.story.script import FrameSource, Shot, Story, StoryError
from lvdm.story.sound import Sound, story_sounds

TRANSITION_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class VideoPlan:
    """One video of a story: that of a shot, or of an interpolated transition.

    frames    of its file
    first     its first frame, or one in the place of it; None where it has none
    is_known  whether it will be made of these very frames
    """

    name: str
    frames: int
    first: Path | None
    is_known: bool
    plan: Plan
    output: Path

    @property
    def video(self) -> PlannedVideo:
        """What is made, or the first of several of which the best is kept."""
        return self.plan.videos[0]

    @cached_property
    def is_finished(self) -> bool:
        """Whether it lies there as the plan says; it was not, as long as nobody asked."""
        return self.is_known and is_finished(self.video)


@dataclass(frozen=True, eq=False)
class StoryPlan:
    """All that is made for a story, in the order of the film.

    order        the numbers of the shots in the order in which they can be made
    transitions  the videos of interpolated transitions, by the number of the shot before
    """

    story: Story
    folder: StoryFolder
    planner: StoryPlanner
    shots: tuple[VideoPlan, ...]
    transitions: Mapping[int, VideoPlan]
    order: tuple[int, ...]
    layout: FilmLayout
    sounds: tuple[Sound, ...]

    @property
    def fps(self) -> float:
        """Frames per second of the film."""
        return self.planner.fps

    @property
    def seconds(self) -> float:
        """The length of the film."""
        return self.layout.num_frames / self.fps

    def seconds_of(self, number: int) -> float:
        """The length of a shot with its overlaps."""
        return self.layout.frames[number] / self.fps

    @property
    def videos(self) -> list[VideoPlan]:
        """All shots and transitions."""
        return [*self.shots, *self.transitions.values()]

    def cost(self, videos: Sequence[VideoPlan]) -> float | None:
        """Seconds that these videos will take, by the records in the folder; None where there are none."""
        found = [expected_seconds(video.plan, video.plan.videos) for video in videos]
        return None if None in found else float(sum(seconds or 0.0 for seconds in found))

    def memory(self) -> str:
        """The memory of the video that needs most, in words."""
        plans = [(plan_for(v.plan.model, v.video.request), v.plan.model.device_name) for v in self.videos]
        return describe_plan(*max(plans, key=lambda pair: pair[0].total))


@dataclass(frozen=True, eq=False)
class StoryPlanner:
    """What all shots have in common. `typed`: parameters that go before those of the script."""

    story: Story
    folder: StoryFolder
    typed: Mapping[str, Any] = field(default_factory=dict)
    images: ImageGenerator | None = None

    @cached_property
    def model(self) -> ChosenModel:
        """The usual model. Raises `StoryError`."""
        try:
            values = Values().under(checked(self.story.settings), "row").under(checked(self.typed), "typed")
            return choose_model(values.make(ModelParameters), values.make(MachineParameters))
        except ValueError as error:
            raise StoryError(f"settings: {error}") from error

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of all shots."""
        return self.story.size or (self.model.card.width, self.model.card.height)

    @property
    def fps(self) -> float:
        """Frames per second of all shots."""
        return float(self.story.fps or self.model.card.playback_fps)

    @property
    def overwrite(self) -> bool:
        """Whether files may be replaced that were not made here."""
        return bool(self.typed.get("overwrite"))

    def shot(self, number: int, others: Mapping[int, VideoPlan]) -> VideoPlan:
        """The plan of a shot. `others` has those that it follows. Raises `StoryError`."""
        shot = self.story.shots[number]
        before = followed(self.story, number)
        known = all(others[other].is_finished for other in before)
        values: dict[str, Any] = {"motion": shot.motion, "camera": shot.camera, "seed": self._seed(shot)}
        first, is_there = self.frame(number, shot, "first", others)
        if first is not None:
            values["image"] = first
        known = known and is_there
        if shot.end is not None:
            values["end_image"], is_there = self.frame(number, shot.end, "end", others)
            known = known and is_there
        if shot.mode == "structure":
            values |= {"depth": shot.depth, "driving_video": shot.driving_video}
        values["prompt"] = self.story.expanded(shot.prompt)
        settings = self._settings(shot.mode, shot.settings)
        frames = self._frames(shot, settings)
        output = self.folder.shot(shot.name)
        with _naming_fields(values):
            plan = self._plan(shot.mode, settings, values, frames + (shot.mode == "loop"), output)
        return VideoPlan(shot.name, frames, first, known, plan, output)

    def transition(self, number: int, overlap: int, shots: Sequence[VideoPlan]) -> VideoPlan:
        """The plan of the video from a shot to the next one, whose first and last frames those have."""
        before, after = shots[number], shots[number + 1]
        known = before.is_finished and after.is_finished
        if known:
            first = self._frame_of(before, before.frames - overlap - 1, self.folder.frame(before.name, "out"))
            last = self._frame_of(after, overlap, self.folder.frame(before.name, "in"))
        else:
            first, last = (video.first or self._unknown() for video in (before, after))
        shot = self.story.shots[number]
        values = {"image": first, "end_image": last, "prompt": self.story.expanded(shot.prompt)}
        settings = self._settings("interpolate", self.story.transition_settings)
        output = self.folder.transition(shot.name)
        plan = self._plan("interpolate", settings, {**values, "seed": self._seed(shot)}, overlap + 2, output)
        return VideoPlan(shot.name, overlap + 2, first, known, plan, output)

    def frame(
        self, number: int, source: FrameSource, part: str, others: Mapping[int, VideoPlan]
    ) -> tuple[Path | None, bool]:
        """The file of a frame that a shot is given, and whether it is the very one. Raises `ValueError`."""
        name = self.story.shots[number].name
        path = self.folder.frame(name, part)
        if source.image is not None:
            return source.image, True
        if source.compose is not None:
            with named("compose"):
                image = compose(source.compose, self.story.places, self.story.characters, self.size)
            return write_frame(image, path, self.overwrite), True
        if source.text_to_image:
            place = self.folder.generated_image(name, part)
            stored = stored_image(place, self.images, self.story.expanded(source.text_to_image), self.size)
            return (self._unknown(), False) if stored is None else (write_frame(stored, path, self.overwrite), True)
        if source.from_shot is None:
            return None, True
        names = [shot.name for shot in self.story.shots]
        other = others[number - 1 if source.from_shot not in names else names.index(source.from_shot)]
        if other.is_finished:
            return self._frame_of(other, other.frames - 1, path), True
        return other.first or self._unknown(), False

    def _frame_of(self, video: VideoPlan, index: int, path: Path) -> Path:
        """A frame of a finished video as a PNG."""
        with VideoReader(video.output) as reader:
            pixels = reader.read([index])[0].numpy()
        width, height = self.size
        return write_frame(Image.fromarray(pixels[:height, :width]), path, self.overwrite)

    def _unknown(self) -> Path:
        return write_frame(as_frame(placeholder(self.size), self.size), self.folder.folder / "frames/unknown.png")

    def _seed(self, shot: Shot) -> int:
        return self.story.seed if shot.seed is None else shot.seed

    def _settings(self, mode: str, of_shot: Mapping[str, Any]) -> Values:
        """The parameters of a video: those of the story that its mode reads, its own, those that were typed."""
        shared = {name: value for name, value in self.story.settings.items() if reads(mode, name)}
        return (
            Values().under(checked(shared), "preset").under(checked(of_shot), "row").under(checked(self.typed), "typed")
        )

    def _frames(self, shot: Shot, settings: Values) -> int:
        """Frames of the shot's file."""
        if shot.seconds is None:
            model = choose_model(settings.make(ModelParameters), settings.make(MachineParameters), mode=shot.mode)
            return model.card.num_frames - (shot.mode == "loop")
        frames = round(shot.seconds * self.fps)
        shortest = 2 if shot.mode == "interpolate" else 1
        if frames < shortest:
            raise StoryError(
                f"seconds {shot.seconds:g} are {frames} frames at {self.fps:g} frames per second; "
                f"use at least {shortest / self.fps:g}"
            )
        return frames

    def _plan(self, mode: str, settings: Values, values: Mapping[str, Any], num_frames: int, output: Path) -> Plan:
        width, height = self.size
        fixed = {"width": width, "height": height, "playback_fps": self.fps, "num_frames": num_frames}
        best = {"keep": "best"} if settings.values.get("num_videos_per_prompt", 1) > 1 else {}
        keywords: dict[str, Any] = {**settings.values, **values, **fixed, **best, "output": output}
        return plan_videos(mode, **keywords)


FIELDS: Mapping[str, str] = {"end_image": "end: image"}
"""Parameters of a video with a file, where the field of a shot that gives it has another name."""


@contextmanager
def _naming_fields(values: Mapping[str, Any]) -> Iterator[None]:
    """A `ValueError` of the block that begins with a file becomes a `StoryError` that begins with its field."""
    try:
        yield
    except ValueError as error:
        files = {name: value for name, value in values.items() if isinstance(value, Path)}
        name = next((name for name, file in files.items() if str(error).startswith(f"{file}: ")), None)
        if name is None:
            raise
        raise StoryError(f"{FIELDS.get(name, name)}: {error}") from error


def reads(mode: str, name: str) -> bool:
    """Whether videos of `mode` read a parameter."""
    return mode in all_parameters()[name].parameter.modes


def plan_story(
    story: Story, folder: StoryFolder, typed: Mapping[str, Any] | None = None, images: ImageGenerator | None = None
) -> StoryPlan:
    """The plan of a story; first frames that are known are written into the folder. Nothing is generated.

    typed   parameters of `lvdm.request` by name, which go before those of the script
    images  makes the images of `text_to_image`
    Raises `StoryError` with all shots that cannot be made, and `OutputError`.
    """
    planner = StoryPlanner(
        story, folder, {name: value for name, value in (typed or {}).items() if value is not None}, images
    )
    _check_read(story)
    check_video_replaceable(folder.film, planner.overwrite)
    check_replaceable(folder.storyboard, planner.overwrite)
    planner.model.check()
    planned, problems = dict[int, VideoPlan](), Problems()
    order = order_of(story)
    for number in order:
        if all(other in planned for other in followed(story, number)):  # else the other one's problem is said
            with problems.of_row(), named(label(story.shots[number])):
                planned[number] = planner.shot(number, planned)
    problems.check()
    shots = tuple(planned[number] for number in range(len(story.shots)))
    layout = _layout(story, shots, planner.fps)
    transitions = dict[int, VideoPlan]()
    for number, shot in enumerate(story.shots):
        if shot.transition == "interpolated":
            with problems.of_row(), named(f"{label(shot)}: transition"):
                transitions[number] = planner.transition(number, layout.overlaps[number], shots)
    problems.check()
    check_captions(story, planner.size)
    sounds = story_sounds(story, layout, planner.fps)
    return StoryPlan(story, folder, planner, shots, transitions, order, layout, sounds)


def order_of(story: Story) -> tuple[int, ...]:
    """The numbers of the shots, each after those that it follows, else as in the film."""
    order, waiting = list[int](), list(range(len(story.shots)))
    before = [followed(story, number) for number in waiting]
    while waiting:
        ready = next(number for number in waiting if before[number].issubset(order))
        waiting.remove(ready)
        order.append(ready)
    return tuple(order)


def _check_read(story: Story) -> None:
    """Raise `StoryError` for a setting of the story that no shot reads."""
    for name in story.settings:
        if not any(reads(shot.mode, name) for shot in story.shots):
            raise StoryError(f"settings: {name} is read by none of the shots; leave it out")
    if story.transition_settings and not any(shot.transition == "interpolated" for shot in story.shots):
        raise StoryError("transition_settings has no effect without an interpolated transition; leave it out")


def _layout(story: Story, shots: Sequence[VideoPlan], fps: float) -> FilmLayout:
    overlaps = [
        0 if shot.transition == "cut" else max(round((shot.transition_seconds or TRANSITION_SECONDS) * fps), 1)
        for shot in story.shots
    ]
    problems = Problems()
    for number, (shot, video) in enumerate(zip(story.shots, shots, strict=True)):
        before = overlaps[number - 1] if number else 0
        with problems.of_row(f"{label(shot)}: "):
            if before + overlaps[number] >= video.frames:
                raise StoryError(
                    f"transition_seconds: the shot has {video.frames} frames, and the transitions before and after it "
                    f"take {before} and {overlaps[number]} of them; make them shorter, or the shot longer"
                )
    problems.check()
    return lay_out([video.frames for video in shots], overlaps, [shot.transition for shot in story.shots])
