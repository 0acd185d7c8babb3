"""Which sounds begin when in a film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lvdm.errors import Problems
from lvdm.media.sound import SoundError, probe_sound
from lvdm.story.layout import FilmLayout
from lvdm.story.reading import label
from lvdm.story.script import Story, StoryError


@dataclass(frozen=True)
class Sound:
    """A file that begins at a time of the film. seconds: its length; name: of its shot, empty for the whole film."""

    path: Path
    start: float
    seconds: float
    volume: float
    name: str = ""


def story_sounds(story: Story, layout: FilmLayout, fps: float) -> tuple[Sound, ...]:
    """The sound under the film and those of the shots. Raises `StoryError` for a file that holds none."""
    found, problems = list[Sound](), Problems()
    if story.audio is not None:
        with problems.of_row():
            found.append(Sound(story.audio, 0.0, _seconds(story.audio), story.volume))
    for number, shot in enumerate(story.shots):
        with problems.of_row(f"{label(shot)}: "):
            if shot.audio is not None:
                start = layout.start(number) / fps
                found.append(Sound(shot.audio, start, _seconds(shot.audio), shot.volume, shot.name))
    problems.check()
    return tuple(found)


def _seconds(path: Path) -> float:
    try:
        return probe_sound(path)
    except SoundError as error:
        raise StoryError(f"audio: {error}") from error
