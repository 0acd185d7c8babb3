"""Stories from a script to a film: what is made, what is made again, and what is refused before anything is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_model import FRAMES, SIDE, small_structure_yaml, small_videocrafter_yaml, write_model
from story_scripts import lay_out_images, script, write_script
from typer.testing import CliRunner

import lvdm.pipeline.pipeline
from lvdm.cli.app import app
from lvdm.media.video_reader import VideoReader
from lvdm.model_files import CHECKPOINTS_VARIABLE
from lvdm.story import making
from lvdm.story.film import Film
from lvdm.story.folder import StoryFolder
from lvdm.story.images import ImageGenerator
from lvdm.story.making import make_story
from lvdm.story.page import storyboard, summary
from lvdm.story.planning import StoryPlan, order_of, plan_story
from lvdm.story.reading import read_story
from lvdm.story.script import StoryError

RECODED = 8.0
"""Levels that encoding noisy frames a second time moves them on average, at most."""


def plan(tree: dict[str, Any], images: ImageGenerator | None = None, **typed: Any) -> StoryPlan:
    return plan_story(read_story(write_script(tree)), StoryFolder(Path("out"), "story"), typed, images)


def make(tree: dict[str, Any], images: ImageGenerator | None = None, **keywords: Any) -> tuple[dict[str, bool], Film]:
    """Which of the videos were made just now, and the film."""
    *videos, film = make_story(plan(tree, images), **keywords)
    assert isinstance(film, Film)
    return {event.title: event.is_new for event in videos if not isinstance(event, Film)}, film


def refusal(tree: dict[str, Any]) -> str:
    with pytest.raises(StoryError) as caught:
        plan(tree)
    return str(caught.value)


def frames(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(range(reader.num_frames)).numpy()


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """How far apart two videos are on average (levels), in the worst frame."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b.astype(float)).mean(axis=(1, 2, 3)).max())


def with_shot(number: int, **fields: Any) -> dict[str, Any]:
    """The story of `script` with other fields of one shot."""
    tree = script()
    tree["shots"][number] |= fields
    return tree


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Path:
    """A folder in which the story of `script` is made."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(CHECKPOINTS_VARIABLE, str(checkpoints))
        lay_out_images(folder)
        everything, film = make(script())
        assert everything == {"shot one": True, "shot two": True, "shot three": True}
        assert len(frames(film.output)) == 3 * FRAMES == json.loads(film.record.read_text())["output"]["num_frames"]
    return folder / "out"


@pytest.fixture
def made(here: Path, finished: Path) -> Path:
    """The working folder with a copy of that."""
    shutil.copytree(finished, here / "out")
    return here


def test_an_edited_shot_and_what_follows_it_are_made_again(made: Path) -> None:
    again, film = make(script())
    assert not any(again.values()), "what was finished was made again"
    assert not film.is_new
    tree = with_shot(0, prompt="Ruby falls")
    alone = [event for event in make_story(plan(tree), only="two") if not isinstance(event, Film)]
    assert {event.title: event.is_new for event in alone} == {"shot one": True, "shot two": True}
    edited, film = make({**tree, "title": "Another title"})
    assert not any(edited.values()), "shot three was made again, for nothing"
    assert film.is_new, "the film shows the old shots"
    tree["shots"][0] |= {"caption": "!", "transition": "crossfade", "transition_seconds": 0.125}
    edited, film = make(tree)
    assert film.is_new, "the film shows no caption"
    assert not any(edited.values()), "captions and transitions decide on no shot"
    with pytest.raises(StoryError, match="there is no shot 'four'; use one of one, two, three"):
        list(make_story(plan(script()), only="four"))


def test_a_shot_follows_the_last_frame_and_the_film_has_all_frames(made: Path) -> None:
    shots = [frames(Path(f"out/shots/{name}.mp4")) for name in ("one", "two", "three")]
    given = np.asarray(Image.open("out/frames/two.first.png").convert("RGB"))
    assert np.array_equal(given, shots[0][-1]), "shot two does not begin with the last frame of shot one"
    assert apart(frames(Path("out/story.mp4")), np.concatenate(shots)) < RECODED, "the film is not its shots"


def test_a_crossfade_and_an_interpolation_shorten_the_film(made: Path) -> None:
    tree = with_shot(0, transition="crossfade", transition_seconds=0.25)
    tree["shots"][1] |= {"transition": "interpolated", "transition_seconds": 0.125}
    planned = plan(tree)
    assert planned.layout.num_frames == 3 * FRAMES - 2 - 1
    assert any(f"{planned.seconds:.2f} s, 0.375 s less" in line for line in summary(planned))
    videos, film = make(tree)
    assert [title for title, is_new in videos.items() if is_new] == ["transition after two"]
    shown = frames(film.output)
    one, two, three = (frames(Path(f"out/shots/{name}.mp4")).astype(float) for name in ("one", "two", "three"))
    between = frames(Path("out/transitions/two.mp4")).astype(float)
    assert len(between) == 3, "one frame between two that the film has"
    expected = [*one[:2], one[2] * 2 / 3 + two[0] / 3, one[3] / 3 + two[1] * 2 / 3, two[2], between[1], *three[1:]]
    assert apart(shown, np.stack(expected)) < RECODED
    again, _ = make(tree)
    assert not any(again.values())


def test_an_error_names_the_shot_and_nothing_made_is_lost(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(planned: Any, **keywords: Any) -> Any:
        raise ValueError("the device is gone")

    tree = with_shot(1, prompt="Ruby turns")
    with monkeypatch.context() as patch:
        patch.setattr(making, "run", fail)
        with pytest.raises(StoryError, match="shot 'two': the device is gone"):
            list(make_story(plan(tree)))
    again, _ = make(tree)
    assert again == {"shot one": False, "shot two": True, "shot three": False}


def test_shots_may_follow_later_ones_and_interpolate_and_loop(here: Path) -> None:
    tree = script(
        shots=[
            {"name": "late", "mode": "interpolate", "from": "round", "end": {"image": "cat.png"}, "prompt": "a"},
            {"name": "round", "mode": "loop", "image": "cat.png", "prompt": "b"},
        ]
    )
    planned = plan(tree)
    assert planned.order == order_of(planned.story) == (1, 0)
    assert [video.frames for video in planned.shots] == [FRAMES, FRAMES - 1], "a loop's file lacks its last frame"
    made, film = make(tree)
    assert all(made.values())
    assert len(frames(film.output)) == 2 * FRAMES - 1


def test_shots_of_other_models_and_from_depth(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    models = tmp_path_factory.mktemp("models")
    words = write_model(models / "words", small_videocrafter_yaml())
    depth = write_model(models / "depth", small_structure_yaml(estimator=False))
    ramp = np.tile(np.arange(16.0), (FRAMES, 16, 1))
    np.savez("depth.npz", depth=ramp)
    shots = [
        {"mode": "text-to-video", "prompt": "Ruby", "settings": {"checkpoint": str(words)}},
        {"mode": "structure", "depth": "depth.npz", "prompt": "Ruby", "settings": {"checkpoint": str(depth)}},
    ]
    made, film = make(script(shots=shots))
    assert list(made) == ["shot shot_01", "shot shot_02"]
    assert len(frames(film.output)) == 2 * FRAMES
    for array, part in (
        (ramp[:1], "is the depth of one frame"),
        (ramp[:3], "is the depth of 3 frames and the video has 4"),
        (ramp * np.nan, "holds values that are no numbers"),
        (ramp * 0, "shows no structure"),
    ):
        np.savez("depth.npz", depth=array)
        assert refusal(script(shots=shots)).startswith("shot 'shot_02': depth: depth.npz"), "shot or field is not named"
        assert part in refusal(script(shots=shots))


def test_a_generator_makes_first_frames_which_are_kept(here: Path) -> None:
    asked = list[tuple[str, int, int]]()

    def generate(prompt: str, width: int, height: int) -> Image.Image:
        asked.append((prompt, width, height))
        return Image.new("RGB", (100, 50), (0, 200, 0))

    tree = script(shots=[{"name": "one", "text_to_image": "Ruby in a wood", "prompt": "Ruby stays"}])
    assert "shot 'one': text_to_image: there is no image generator" in refusal(tree)
    make(tree, ImageGenerator(generate))
    assert asked == [("the red bar in a wood", SIDE, SIDE)]
    made, _ = make(tree)
    assert not any(made.values()), "the stored image was not found without a generator"
    tree["shots"][0]["text_to_image"] = "a field"
    with pytest.raises(StoryError, match="shot 'one': text_to_image: a Python callable gave no image"):
        make(tree, ImageGenerator(lambda prompt, width, height: "no image"))


def test_the_storyboard_shows_every_shot(here: Path) -> None:
    tree = with_shot(1, caption="<b>שלום</b>", prompt="Ruby & <i>x</i>")
    page = storyboard(plan({**tree, "captions": "subtitles"}))
    assert len(re.findall("<figure>", page)) == 3
    assert "&lt;b&gt;שלום" in page
    assert "<i>x" not in page
    assert 'x="25.00" y="50.00" width="25.00" height="50.00"' in page, "the box of the character is not shown"
    assert page.count("in the place of a frame") == 1
    assert page.count("to make") == 4, "three shots and the sum"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"image": "gone.png", "from": None}, "shot 'two': image: gone.png: there is no such file"),
        ({"seconds": 0.01}, "shot 'two': seconds 0.01 are 0 frames at 8 frames per second"),
        ({"transition": "crossfade", "transition_seconds": 5}, "shot 'two': transition_seconds: the shot has 4 frames"),
        ({"camera": "spin"}, "shot 'two': camera 'spin' is not known"),
        ({"settings": {"num_inference_steps": 0}}, "shot 'two': num_inference_steps 0 is not possible"),
        ({"mode": "text-to-video", "from": None}, "shot 'two': checkpoint small needs an image"),
        (
            {"mode": "structure", "from": None, "depth": "d.npz", "settings": {"preset": "small"}},
            "shot 'two': checkpoint small reads no depth",
        ),
        ({"audio": "cat.png"}, "shot 'two': audio: cat.png: not a sound that can be read"),
        ({"audio": "gone.wav"}, "shot 'two': audio: gone.wav: there is no such file"),
        ({"caption": "🦊"}, "shot 'two': caption: the built-in font has no glyph for 🦊 (U+1F98A)"),
        ({"caption": "word " * 300}, "shot 'two': caption: needs"),
    ],
)
def test_what_cannot_be_made_is_refused_before_weights_are_loaded(
    changes: dict[str, Any], part: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*args: object) -> None:
        raise AssertionError("weights were loaded before the story was checked")

    monkeypatch.setattr(lvdm.pipeline.pipeline, "load_model", load)
    message = refusal(with_shot(1, **changes))
    assert part in message, message


def test_the_story_itself_is_refused(here: Path) -> None:
    assert "settings: keep_feather is read by none" in refusal(
        script(settings={"keep_feather": 3}, shots=[{"mode": "text-to-video", "prompt": "a"}])
    )
    assert "settings: gone.ckpt" in refusal(script(settings={"checkpoint": "gone.ckpt"}))
    assert "font: gone.ttf: there is no such file" in refusal(script(font="gone.ttf"))
    assert "font: cat.png cannot be used" in refusal(script(font="cat.png"))
    assert "font has no effect with captions: none" in refusal(script(font="cat.png", captions="none"))
    assert "transition_settings has no effect" in refusal(script(transition_settings={"preset": "tiny"}))
    with pytest.raises(StoryError, match=r"gone\.yaml: there is no such file"):
        read_story("gone.yaml")


def test_files_of_others_are_not_replaced(here: Path) -> None:
    Path("out").mkdir()
    Path("out/story.mp4").write_bytes(b"of the user")
    with pytest.raises(ValueError, match="was not made here"):
        plan(script())
    plan(script(), overwrite=True)
    assert Path("out/story.mp4").read_bytes() == b"of the user"


def test_settings_reach_the_videos(here: Path) -> None:
    planned = plan(
        {**with_shot(2, settings={"num_inference_steps": 3}, seed=9), "settings": {"eta": 0.5}}, dtype="fp32"
    )
    requests = [video.video.request for video in planned.shots]
    assert [request.settings.num_inference_steps for request in requests] == [2, 2, 3]
    assert [request.seed for request in requests] == [123, 123, 9]
    assert {request.settings.eta for request in requests} == {0.5}


def test_the_commands_plan_make_and_export(made: Path) -> None:
    write_script(script())
    said = {}
    for command in ("plan", "make", "export"):
        result = CliRunner().invoke(app, ["story", command, "story.yaml", "--output", "out"])
        assert result.exit_code == 0, result.output
        said[command] = result.stdout.splitlines()
    assert said["plan"][0] == "Three shots: 3 shots, 1.50 s, 32x32 at 8 frames per second"
    assert said["plan"][-1] == said["make"][0] == "out/storyboard.html"
    assert "out/shots/two.mp4  (finished already)" in said["make"]
    assert "out/story.mp4  (1.50 s)" in said["make"]
    assert said["export"] == ["out/story.otio"]
    result = CliRunner().invoke(app, ["story", "make", "story.yaml", "-o", "out", "--image-model", "m"])
    assert (result.exit_code, "belong together; give both" in result.stderr) == (2, True)
