"""Scripts: what they may hold, and that every mistake names the shot and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from story_scripts import script

from lvdm.declaration.parameter import parameters_of
from lvdm.story.reading import KEYS, followed, parse_story, read_story
from lvdm.story.script import MAX_SHOTS, Character, Composition, Placement, Shot, Story, StoryError, StoryPlace


def parse(tree: Any) -> Story:
    return parse_story(tree, "story.yaml", Path("folder"))


def refusal(tree: Any) -> str:
    with pytest.raises(StoryError) as caught:
        parse(tree)
    return str(caught.value)


def shot(**fields: Any) -> dict[str, Any]:
    """A story of one shot that is fine but for `fields`."""
    return script(shots=[{"name": "one", "image": "cat.png", "prompt": "a cat", **fields}])


def test_a_script_is_read_with_files_below_its_folder() -> None:
    story = parse(script(size="96x64", settings={"num_inference_steps": 3, "preset": "tiny", "checkpoint": "a.ckpt"}))
    assert story.size == (96, 64)
    assert story.characters["Ruby"].image == Path("folder/red.png")
    assert story.settings["checkpoint"] == str(Path("folder/a.ckpt")), "a file of the settings is not beside the script"
    one, two, three = story.shots
    assert one.compose is not None
    assert one.compose.characters[0].box == (0.25, 0.5, 0.5, 1.0)
    assert (two.from_shot, three.image, three.mode) == ("previous", Path("folder/cat.png"), "animate")


def test_names_expand_to_descriptions_as_whole_words_and_once() -> None:
    cast = {"Ruby": "a bar called Max", "Max": "a ring", "Max Two": "a star"}
    characters = {name: {"image": "red.png", "description": text} for name, text in cast.items()}
    story = parse(script(characters=characters, style="{prompt} on a plain background"))
    assert story.expanded("Ruby meets Max Two, Maximum and Max") == (
        "a bar called Max meets a star, Maximum and a ring on a plain background"
    )
    assert parse(script(style="watercolor")).expanded("Ruby stays") == "the red bar stays, watercolor"


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ([], ("story.yaml: should be a mapping",)),
        ({"title": "x"}, ("shots is missing",)),
        (script(shots=[]), ("shots: 0 are not possible",)),
        (script(shots=[{}] * (MAX_SHOTS + 1)), (f"shots: {MAX_SHOTS + 1} are not possible",)),
        (script(shots=["one"]), ("shot 1: should be a mapping",)),
        (script(size="huge"), ("size 'huge'", "512x320")),
        (script(fps=0), ("fps 0",)),
        (script(colour="red"), ("field 'colour' is not known",)),
        (script(settings={"num_frames": 3}), ("settings: num_frames is set by the story itself; use seconds",)),
        (script(settings={"stepps": 3}), ("settings: parameter 'stepps' is not known",)),
        (script(characters={"a/b": {"image": "x.png"}}), ("name of a character", "'/'")),
        (shot(promt="x"), ("shot 'one': field 'promt' is not known; did you mean 'prompt'?",)),
        (shot(seconds=0), ("shot 'one': seconds 0 is not possible",)),
        (shot(seconds=float("nan")), ("shot 'one': seconds nan",)),
        (shot(motion=2), ("shot 'one': motion 2",)),
        (shot(mode="walk"), ("shot 'one': mode 'walk' is not known",)),
        (shot(prompt=" "), ("shot 'one': prompt is missing",)),
        (shot(prompt="x" * 3000), ("shot 'one'", "3000 characters")),
        (shot(name="../up"), ("shot '../up': name", "'/'")),
        (shot(name="previous"), ("name 'previous' is what `from` calls",)),
        (shot(image=None), ("shot 'one': its first frame is missing",)),
        (shot(text_to_image="a cat"), ("shot 'one': image and text_to_image are given",)),
        (shot(mode="interpolate"), ("shot 'one': end, its last frame, is missing",)),
        (shot(end={"image": "cat.png"}), ("shot 'one': end is not read in mode animate",)),
        (shot(mode="interpolate", end={}), ("shot 'one': end: give one of",)),
        (shot(mode="text-to-video"), ("shot 'one': image is not read in mode text-to-video",)),
        (shot(depth="d.npz"), ("shot 'one': depth is not read in mode animate",)),
        (shot(transition="crossfade"), ("shot 'one': transition crossfade has no next shot",)),
        (shot(transition_seconds=1), ("shot 'one': transition_seconds has no effect at a cut",)),
        (shot(volume=0.5), ("shot 'one': volume has no effect without audio",)),
        (shot(settings={"output": "x"}), ("shot 'one': settings: output",)),
        (shot(image=None, **{"from": "previous"}), ("shot 'one': from previous: it is the first shot",)),
        (shot(image=None, **{"from": "two"}), ("shot 'one': from 'two' is not known",)),
        (shot(image=None, compose={"place": "see"}), ("shot 'one': compose: place 'see'", "did you mean 'sea'")),
        (shot(image=None, compose={}), ("shot 'one': compose: place is missing",)),
    ],
)
def test_a_mistake_names_the_shot_and_the_field(tree: Any, parts: tuple[str, ...]) -> None:
    message = refusal(tree)
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize(
    ("placement", "part"),
    [
        ({"character": "Rubi", "box": [0, 0, 1, 1]}, "compose: character 'Rubi' is not known; did you mean 'Ruby'?"),
        ({"character": "Ruby"}, "compose: characters: 1: box is missing"),
        ({"character": "Ruby", "box": [0, 0, 1]}, "compose: characters: 1: box should be [left, top, right, bottom]"),
        ({"character": "Ruby", "box": [0, 0, 64, 64]}, "is in shares of the frame"),
        ({"character": "Ruby", "box": [0.5, 0, 0.5, 1]}, "has no area"),
        ({"character": "Ruby", "box": [1.5, 0, 2, 1]}, "lies outside of the frame"),
    ],
)
def test_a_wrong_layout_names_the_character(placement: dict[str, Any], part: str) -> None:
    message = refusal(shot(image=None, compose={"place": "sea", "characters": [placement]}))
    assert message.startswith("story.yaml: shot 'one': ")
    assert part in message, message


def test_all_wrong_shots_are_said_at_once() -> None:
    message = refusal(script(shots=[{"prompt": "a"}, {"image": "cat.png"}, {"image": "cat.png", "prompt": "fine"}]))
    assert "2 problems" in message
    assert "shot 'shot_01': its first frame is missing" in message
    assert "shot 'shot_02': prompt is missing" in message
    twice = refusal(script(shots=[{"name": name, "image": "cat.png", "prompt": "a"} for name in ("one", "One")]))
    assert "shot 2: name 'One' is that of shot 1" in twice


def test_circles_of_from_are_refused_with_their_shots() -> None:
    def story(*sources: str) -> Any:
        return script(shots=[{"name": f"s{i}", "from": source, "prompt": "a"} for i, source in enumerate(sources)])

    assert "from goes round in a circle: 's0' -> 's0'" in refusal(story("s0"))
    message = refusal(story("s2", "previous", "previous"))
    assert "'s0' -> 's2' -> 's1' -> 's0'" in message, message
    tree = script(shots=[{"name": "s0", "image": "a.png", "prompt": "a"}])
    tree["shots"] += [
        {"name": f"s{i}", "mode": "interpolate", "from": "previous", "end": {"from": f"s{i // 2}"}, "prompt": "a"}
        for i in range(1, MAX_SHOTS)
    ]
    assert followed(parse(tree), 20) == {19, 10}, "500 shots of two sources each are read"


def test_prompts_and_captions_may_hold_any_text() -> None:
    text = "🦊 שלום 你好"
    (one,) = parse(shot(prompt=text, caption=text)).shots
    assert (one.prompt, one.caption) == (text, text)


def test_the_page_describes_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs/stories.md").read_text(encoding="utf-8")
    keys = {field: key for key, field in KEYS.items()}
    for cls in (Story, Shot, Composition, Placement, Character, StoryPlace):
        for name, field in parameters_of(cls).items():
            unit = f" [{field.parameter.unit}]" if field.parameter.unit else ""
            choices = f" ({', '.join(field.choices)})" if field.choices else ""
            row = f"| `{keys.get(name, name)}` | {field.parameter.help}{choices}{unit} |"
            assert row in page, f"docs/stories.md lacks the row {row}"


def test_the_example_is_a_script() -> None:
    folder = Path(__file__).parents[2] / "examples/story"
    story = read_story(folder / "story.yaml")
    assert (len(story.shots), len(story.characters)) == (3, 2)
    for part in (*story.characters.values(), *story.places.values()):
        assert part.image.is_file(), f"{part.image} is missing"
