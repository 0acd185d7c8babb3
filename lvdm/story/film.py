"""The film: frames of all shots with their transitions and captions, its sound and its subtitles, in one mp4."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import __version__ as pillow_version

from lvdm.content_hash import content_hash
from lvdm.documents import DocumentError, read_json
from lvdm.media.atomic import together, write_json
from lvdm.media.ownership import STORY_FORMAT, check_replaceable, check_video_replaceable, record_path
from lvdm.media.sound import mix, read_sound
from lvdm.media.tracks import add_tracks
from lvdm.media.video_reader import VideoReader
from lvdm.media.video_writer import write_video
from lvdm.request.digest import digest_of
from lvdm.story.captions import Typesetter, over, srt_of, subtitles
from lvdm.story.layout import FilmSegment
from lvdm.story.planning import StoryPlan

if TYPE_CHECKING:
    from torch import Tensor

FILM_VERSION = 1
"""Goes up when the same shots become another film."""
_BLOCK = 16
"""Frames that are held at a time."""


@dataclass(frozen=True)
class Film:
    """A film that lies at its place. is_new: whether it was written just now."""

    output: Path
    record: Path
    subtitles: Path | None
    seconds: float
    is_new: bool


def make_film(plan: StoryPlan) -> Film:
    """Put the film together of videos that all are there; one of these very videos stays. Raises `OutputError`."""
    folder, overwrite = plan.folder, plan.planner.overwrite
    lines = subtitles(plan.story, plan.layout, plan.fps) if plan.story.captions == "subtitles" else ()
    digest = digest_of(_facts(plan))
    record = record_path(folder.film)
    srt = folder.subtitles if lines else None
    seconds = plan.seconds
    if _lies_there(folder.film, record, digest) and (srt is None or srt.is_file()):
        return Film(folder.film, record, srt, seconds, is_new=False)
    check_video_replaceable(folder.film, overwrite)
    if srt is not None:
        check_replaceable(srt, overwrite, beside=record)
    sound = _sound(plan)
    with together() as files:
        if sound is None and not lines:
            written = write_video(film_frames(plan), folder.film, plan.fps, files=files)
            size = written.bytes
        else:
            with tempfile.TemporaryDirectory(prefix=".film-", dir=folder.folder) as name:
                silent = Path(name) / folder.film.name
                written = write_video(film_frames(plan), silent, plan.fps)
                with files.path(folder.film) as temporary:
                    add_tracks(silent, temporary, sound, [(line.start, line.end, line.text) for line in lines])
                    size = temporary.stat().st_size
        if srt is not None:
            with files.path(srt) as temporary:
                temporary.write_text(srt_of(lines), encoding="utf-8", newline="\n")
        write_json(record, _record(plan, digest, written.num_frames, size), files)
    return Film(folder.film, record, srt, seconds, is_new=True)


def film_frames(plan: StoryPlan) -> Iterator[Tensor]:
    """The frames of the film in parts, uint8 (k, H, W, 3)."""
    import torch

    captions = _Burned(plan)
    for segment in plan.layout.segments():
        for begin in range(0, segment.count, _BLOCK):
            count = min(_BLOCK, segment.count - begin)
            frames = _frames(plan, segment, begin, count)
            yield torch.from_numpy(captions.on(frames, segment.start + begin))


def crossfaded(before: np.ndarray, after: np.ndarray, begin: int, length: int) -> np.ndarray:
    """uint8 frames from `begin` on of a crossfade of `length` frames, none of which is one of the shots alone."""
    share = ((np.arange(begin, begin + len(before), dtype=np.float32) + 1) / (length + 1))[:, None, None, None]
    return np.rint(before * (1 - share) + after * share).astype(np.uint8)


def _frames(plan: StoryPlan, segment: FilmSegment, begin: int, count: int) -> np.ndarray:
    """Frames `begin` to `begin + count` of a segment, uint8 (count, H, W, 3)."""
    if segment.kind == "interpolated":  # its first and last frame are the neighbours, which the film has already
        return _read(plan, plan.transitions[segment.shot].output, 1 + begin, count)
    shot = _read(plan, plan.shots[segment.shot].output, segment.begin + begin, count)
    if segment.kind == "cut":
        return shot
    return crossfaded(shot, _read(plan, plan.shots[segment.shot + 1].output, begin, count), begin, segment.count)


def _read(plan: StoryPlan, path: Path, begin: int, count: int) -> np.ndarray:
    width, height = plan.planner.size
    with VideoReader(path) as reader:
        pixels = reader.read(range(begin, begin + count)).numpy()
    return pixels[:, :height, :width]  # a file has even sides


class _Burned:
    """Captions drawn over the frames of a film, each prepared once."""

    def __init__(self, plan: StoryPlan) -> None:
        self._spans = list[tuple[int, int, np.ndarray]]()
        shots = [(number, shot) for number, shot in enumerate(plan.story.shots) if shot.caption.strip()]
        if plan.story.captions == "burned" and shots:
            typesetter = Typesetter(plan.story, plan.planner.size)
            for number, shot in shots:
                self._spans.append((*plan.layout.caption(number), typesetter.overlay(shot.caption)))

    def on(self, frames: np.ndarray, start: int) -> np.ndarray:
        """uint8 frames (k, H, W, 3), the first of which is frame `start` of the film, with their captions."""
        drawn = frames.copy()
        for begin, end, overlay in self._spans:
            inside = slice(max(begin - start, 0), max(end - start, 0))
            if len(drawn[inside]):
                drawn[inside] = over(drawn[inside], overlay)
        return drawn


def _sound(plan: StoryPlan) -> np.ndarray | None:
    if not plan.sounds:
        return None
    seconds = plan.seconds
    parts = ((read_sound(sound.path, seconds), sound.start, sound.volume) for sound in plan.sounds)
    return mix(parts, seconds)


def _facts(plan: StoryPlan) -> dict[str, Any]:
    """What decides on the film."""
    story, layout = plan.story, plan.layout
    captions = [shot.caption for shot in story.shots] if story.captions != "none" else []
    font = [None if story.font is None else content_hash(story.font), story.font_size, pillow_version]
    sounds = [[content_hash(sound.path), sound.start, sound.volume] for sound in plan.sounds]
    return {
        "version": FILM_VERSION,
        "videos": [content_hash(video.output) for video in plan.videos],
        "layout": [list(layout.frames), list(layout.overlaps), list(layout.kinds)],
        "captions": [story.captions, captions, font if any(captions) and story.captions == "burned" else []],
        "sounds": sounds,
        "fps": plan.fps,
    }


def _record(plan: StoryPlan, digest: str, num_frames: int, size: int) -> dict[str, Any]:
    layout = plan.layout
    shots = [
        {"name": video.name, "video": str(video.output.relative_to(plan.folder.folder)), "start": layout.start(number)}
        for number, video in enumerate(plan.shots)
    ]
    return {
        "format": STORY_FORMAT,
        "video": plan.folder.film.name,
        "title": plan.story.title,
        "digest": digest,
        "fps": plan.fps,
        "shots": shots,
        "output": {"num_frames": num_frames, "bytes": size},
    }


def _lies_there(film: Path, record: Path, digest: str) -> bool:
    try:
        stored = read_json(record)
        return film.is_file() and stored["digest"] == digest and stored["output"]["bytes"] == film.stat().st_size
    except (OSError, DocumentError, KeyError, TypeError):
        return False
