"""The film as an OpenTimelineIO timeline: shots, transitions and sounds as they are, for an editor to go on with."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lvdm.media.atomic import atomic_path
from lvdm.media.ownership import check_replaceable
from lvdm.story.planning import StoryPlan, VideoPlan
from lvdm.story.script import StoryError
from lvdm.story.sound import Sound

if TYPE_CHECKING:
    import opentimelineio as otio

METADATA = "dynamicrafter"
"""The key under which a timeline of ours says what made its clips."""


def check_exportable() -> None:
    """Raise `StoryError` where OpenTimelineIO is missing."""
    if importlib.util.find_spec("opentimelineio") is None:
        raise StoryError('a timeline needs OpenTimelineIO; use pip install "dynamicrafter[story]"')


def export_timeline(plan: StoryPlan) -> Path:
    """Write the timeline of a story that is made into its folder; returns where. Raises `StoryError`, `OutputError`."""
    check_exportable()
    for video in plan.videos:
        if not video.is_finished:
            raise StoryError(f"shot {video.name!r}: {video.output} is not made as the story says; use story make first")
    path = plan.folder.timeline
    check_replaceable(path, plan.planner.overwrite)
    text = timeline_of(plan).to_json_string()
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path


def timeline_of(plan: StoryPlan) -> otio.schema.Timeline:
    """The timeline: a track of shots, and as many of sounds as overlap. Media are relative to the story's folder."""
    import opentimelineio as otio

    about = {METADATA: {"format": "dynamicrafter-timeline/1", "size": "{}x{}".format(*plan.planner.size)}}
    timeline = otio.schema.Timeline(plan.story.title, metadata=about)
    timeline.tracks.append(_shots(plan))
    for number, sounds in enumerate(_packed(plan.sounds), start=1):
        timeline.tracks.append(_sounds(plan, f"Sound {number}", sounds))
    return timeline


def _shots(plan: StoryPlan) -> otio.schema.Track:
    """Shots and what lies between them.

    A crossfade of n frames lies around a cut: from n // 2 frames before it on, and as far behind it as makes n.
    """
    import opentimelineio as otio

    track = otio.schema.Track("Shots", kind=otio.schema.TrackKind.Video)
    layout, begin = plan.layout, 0
    for number, video in enumerate(plan.shots):
        overlap, kind = layout.overlaps[number], layout.kinds[number]
        before = overlap // 2
        end = video.frames - (overlap if kind == "interpolated" else overlap - before)
        clip = _clip(plan, video, begin, end - begin)
        caption = plan.story.shots[number].caption
        if caption:
            clip.markers.append(otio.schema.Marker("caption", clip.source_range, comment=caption))
        track.append(clip)
        begin = 0
        if kind == "crossfade":
            offsets = _time(before, plan.fps), _time(overlap - before, plan.fps)
            kind_name = otio.schema.TransitionTypes.SMPTE_Dissolve
            track.append(otio.schema.Transition("crossfade", kind_name, *offsets))
            begin = before
        elif kind == "interpolated":
            track.append(_clip(plan, plan.transitions[number], 1, overlap))
            begin = overlap
    return track


def _clip(plan: StoryPlan, video: VideoPlan, begin: int, count: int) -> otio.schema.Clip:
    import opentimelineio as otio

    request = video.video.request
    facts = {"mode": request.settings.mode, "prompt": request.inputs.prompt, "seed": request.seed}
    available = _range(0, video.frames, plan.fps)
    media = otio.schema.ExternalReference(_url(video.output, plan.folder.folder), available)
    name = video.name if video in plan.shots else f"after {video.name}"
    metadata: Any = {METADATA: {**facts, "digest": video.video.digest}}
    return otio.schema.Clip(name, media, _range(begin, count, plan.fps), metadata)


def _sounds(plan: StoryPlan, name: str, sounds: list[Sound]) -> otio.schema.Track:
    import opentimelineio as otio

    track, at = otio.schema.Track(name, kind=otio.schema.TrackKind.Audio), 0.0
    for sound in sounds:
        if sound.start > at:
            track.append(otio.schema.Gap(duration=_time((sound.start - at) * plan.fps, plan.fps)))
        count = min(sound.seconds, plan.seconds - sound.start) * plan.fps
        media = otio.schema.ExternalReference(
            _url(sound.path, plan.folder.folder), _range(0, sound.seconds * plan.fps, plan.fps)
        )
        volume: Any = {METADATA: {"volume": sound.volume}}
        track.append(otio.schema.Clip(sound.name or sound.path.stem, media, _range(0, count, plan.fps), volume))
        at = sound.start + count / plan.fps
    return track


def _packed(sounds: tuple[Sound, ...]) -> Iterator[list[Sound]]:
    """The sounds in as few tracks as hold them without an overlap."""
    tracks = list[list[Sound]]()
    for sound in sorted(sounds, key=lambda sound: sound.start):
        free = (track for track in tracks if track[-1].start + track[-1].seconds <= sound.start)
        track = next(free, None)
        if track is None:
            tracks.append([sound])
        else:
            track.append(sound)
    yield from tracks


def _url(path: Path, folder: Path) -> str:
    """A file relative to the folder, or from the root on where it lies elsewhere."""
    path, folder = path.resolve(), folder.resolve()
    return quote(path.relative_to(folder).as_posix()) if path.is_relative_to(folder) else path.as_uri()


def _time(frames: float, fps: float) -> otio.opentime.RationalTime:
    import opentimelineio as otio

    return otio.opentime.RationalTime(frames, fps)


def _range(begin: float, count: float, fps: float) -> otio.opentime.TimeRange:
    import opentimelineio as otio

    return otio.opentime.TimeRange(_time(begin, fps), _time(count, fps))
