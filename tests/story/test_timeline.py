"""What an editor is handed: the clips, their ranges, transitions and sounds, read back by OpenTimelineIO itself."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from small_model import FRAMES
from story_scripts import script, write_script

from lvdm.story.folder import StoryFolder
from lvdm.story.making import make_story
from lvdm.story.planning import StoryPlan, plan_story
from lvdm.story.reading import read_story
from lvdm.story.script import StoryError
from lvdm.story.timeline import export_timeline

otio = pytest.importorskip("opentimelineio", reason="comes with the extra `story`")


def plan(tree: dict[str, Any]) -> StoryPlan:
    return plan_story(read_story(write_script(tree)), StoryFolder(Path("out"), "story"))


def write_tone(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * round(8000 * seconds)))


def test_the_timeline_is_the_film(here: Path) -> None:
    write_tone(Path("tone.wav"), 0.6)
    shots = [
        {"name": "a b", "image": "cat.png", "prompt": "a", "transition": "crossfade", "transition_seconds": 0.25},
        {"name": "two", "image": "cat.png", "prompt": "b", "seed": 2, "audio": "tone.wav", "caption": "Two"},
        {"name": "three", "image": "cat.png", "prompt": "c", "seed": 3, "audio": "tone.wav"},
    ]
    tree = script(shots=shots, audio="tone.wav", volume=0.5, settings={"num_inference_steps": 1})
    shots[1] |= {"transition": "interpolated", "transition_seconds": 0.125}
    with pytest.raises(StoryError, match=r"shot 'a b': .* is not made as the story says; use story make first"):
        export_timeline(plan(tree))
    list(make_story(plan(tree)))
    planned = plan(tree)
    timeline = otio.adapters.read_from_file(str(export_timeline(planned)))
    assert timeline.duration().value == planned.layout.num_frames == 3 * FRAMES - 2 - 1
    video, *sounds = timeline.tracks
    clips = [item for item in video if isinstance(item, otio.schema.Clip)]
    ranges = [(clip.source_range.start_time.value, clip.source_range.duration.value) for clip in clips]
    assert ranges == [(0, 3), (1, 2), (1, 1), (1, 3)], "a clip shows other frames than the film"
    (fade,) = (item for item in video if isinstance(item, otio.schema.Transition))
    assert (fade.in_offset.value, fade.out_offset.value) == (1, 1)
    assert fade.transition_type == otio.schema.TransitionTypes.SMPTE_Dissolve
    for clip in clips:
        file = Path("out") / unquote(clip.media_reference.target_url)
        assert file.is_file(), f"{clip.media_reference.target_url} leads nowhere from the timeline"
        assert clip.media_reference.available_range.duration.value >= clip.source_range.end_time_exclusive().value
    handles = clips[0].media_reference.available_range.duration.value - clips[0].source_range.duration.value
    assert handles >= fade.out_offset.value, "the crossfade has no frames to show behind the cut"
    assert [marker.comment for marker in clips[1].markers] == ["Two"]
    assert clips[1].metadata["dynamicrafter"]["seed"] == 2
    placed = [
        (clip.name, track.range_of_child(clip).start_time.value)
        for track in sounds
        for clip in track
        if isinstance(clip, otio.schema.Clip)
    ]
    assert placed == [("tone", 0), ("three", 5), ("two", 2)], "sounds that overlap are on tracks of their own"
