"""Stories of visitors, without a browser: uploads, limits, boxes that are dragged, and a shot that is made alone."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image, ImageFont
from served import LIMITS
from shared_models import shared_models
from story_scripts import lay_out_images, script

from lvdm.app.endpoints import Desk
from lvdm.app.storytelling import Storyteller, moved, with_new_seed
from lvdm.app.work import Work
from lvdm.hosting.library import Library
from lvdm.story.page import cards


def text(**changes: Any) -> str:
    return yaml.safe_dump(script(**changes), sort_keys=False)


@pytest.fixture
def teller(library: Library, tmp_path: Path) -> Storyteller:
    return Storyteller(Desk(library, LIMITS, tmp_path / "jobs", "cpu"))


@pytest.fixture
def story(teller: Storyteller, tmp_path: Path) -> str:
    """The id of a story whose images are loaded."""
    lay_out_images(tmp_path)
    id_ = teller.begin("visitor")
    teller.receive(id_, [tmp_path / name for name in ("cat.png", "sea.png", "red.png")])
    return id_


def test_a_story_is_shown_and_a_shot_made_alone(teller: Storyteller, story: str) -> None:
    plan = teller.plan(story, text(), "small")
    assert 'data-shot="one" data-index="0"' in cards(plan)
    with Image.open(plan.folder.folder / "red.png") as layer:
        assert layer.mode == "RGBA", "the character lost its transparency"
    work: Work[Any] = Work(lambda job: teller.make(job, story, text(), "small", "two"), teller.desk.turn)
    with shared_models():
        work.start()
        told = work.result()
    assert told.video.name == "two.mp4"
    assert [video.is_finished for video in teller.plan(story, text(), "small").shots] == [True, True, False]
    teller.desk.sessions.forget("visitor")
    assert not plan.folder.folder.exists(), "files of a visitor who has left stay"
    with pytest.raises(ValueError, match="are no longer here; load them again"):
        teller.plan(story, text(), "small")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"places": {"sea": {"image": "/etc/hostname"}}}, "hostname: name a file that was loaded here"),
        ({"places": {"sea": {"image": "../x/sea.png"}}}, "sea.png: name a file that was loaded here"),
        ({"font": "/usr/share/fonts/a.ttf"}, "a.ttf: name a file that was loaded here"),
        ({"settings": {"checkpoint": "sea.png"}}, "settings: checkpoint is not chosen in a script here"),
        ({"settings": {"device": "cpu"}}, "settings: device is not chosen in a script here"),
        ({"size": "256x256"}, "megapixels, more than is made here"),
        ({"settings": {"num_inference_steps": 61}}, "num_inference_steps 61 is more"),
        ({"shots": [{"image": "cat.png", "prompt": "a"}] * 4}, "4 shots and transitions are more than are made here"),
        ({"shots": [{"image": "cat.png", "prompt": "a", "seconds": 9}]}, "num_frames 72 is more"),
        ({"shots": [{"text_to_image": "a", "prompt": "a"}]}, "there is no image generator"),
        ({"shots": [{"image": "gone.png", "prompt": "a"}]}, "gone.png is not loaded; choose it above the script"),
    ],
)
def test_what_a_visitor_may_not_is_refused(
    changes: dict[str, Any], part: str, teller: Storyteller, story: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        teller.plan(story, text(**changes), "small")
    message = teller.in_own_words(story, str(caught.value))
    assert part in message, message
    assert str(tmp_path) not in message, "the message names a folder of the server"


def test_uploads_are_images_within_the_limits(teller: Storyteller, story: str, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "large.png")
    (tmp_path / "no.png").write_bytes(b"no image")
    for name, part in (("large.png", "^large.png: .*megapixels"), ("no.png", "^no.png: not an image")):
        with pytest.raises(ValueError, match=part):
            teller.receive(story, [tmp_path / name])


def test_fonts_and_sounds_are_loaded_too(teller: Storyteller, story: str, tmp_path: Path) -> None:
    built_in = ImageFont.load_default(10)
    assert isinstance(built_in, ImageFont.FreeTypeFont)
    (tmp_path / "own.TTF").write_bytes(built_in.path.getvalue())  # type: ignore[union-attr]
    with wave.open(str(tmp_path / "sea.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    teller.receive(story, [tmp_path / "own.TTF", tmp_path / "sea.wav"])
    shots = [{**script()["shots"][2], "caption": "ok", "audio": "sea.wav"}]
    plan = teller.plan(story, text(shots=shots, font="own.TTF", captions="burned", font_size=8), "small")
    assert [sound.seconds for sound in plan.sounds] == [0.1]
    assert plan.story.font == plan.folder.folder / "own.ttf"
    for name, part in (("no.ttf", "font: no.ttf cannot be used"), ("no.mp3", "no.mp3: not a sound that can be read")):
        (tmp_path / name).write_bytes(b"no font and no sound")
        with pytest.raises(ValueError, match=part):
            teller.receive(story, [tmp_path / name])


def test_a_dragged_box_and_a_new_seed_are_written_into_the_script() -> None:
    tree = yaml.safe_load(moved(text(), "one", 0, [0.1, 0.2, 0.30001, 0.4]))
    assert tree["shots"][0]["compose"]["characters"][0]["box"] == [0.1, 0.2, 0.3, 0.4]
    assert tree == script(shots=tree["shots"]), "something else changed"
    seeds = {yaml.safe_load(with_new_seed(text(), "two"))["shots"][1]["seed"] for _ in range(3)}
    assert len(seeds) == 3
    for shot, index in (("two", 0), ("one", 5), ("four", 0)):
        with pytest.raises(ValueError, match="has no such box"):
            moved(text(), shot, index, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="there is no shot 'four'"):
        with_new_seed(text(), "four")
    assert "shot_01" not in moved(text(shots=[{**script()["shots"][0], "name": None}]), "shot_01", 0, [0, 0, 1, 1])
