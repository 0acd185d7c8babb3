"""`animate --keyframe`: pictures at any frames, recorded and made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_model import FRAMES, picture
from test_commands import PROMPT, fail, succeed

from lvdm.cli.options import repeated_flags

ASKED = ("animate", "-p", PROMPT, "-o", "keyed.mp4", "--steps", 2)


@pytest.fixture
def here(here: Path) -> Path:
    picture(seed=1).save("dog.png")
    return here


def test_values_that_follow_each_other_belong_to_the_option() -> None:
    assert repeated_flags(["--keyframe", "0=a.png", "15=b c.png", "-p", "3=x"]) == [
        *("--keyframe", "0=a.png", "--keyframe", "15=b c.png"),
        *("-p", "3=x"),
    ]
    assert repeated_flags(["cat.png", "1=b.png"]) == ["cat.png", "1=b.png"], "a file may have such a name"


def test_key_frames_are_shown_recorded_and_replayed(here: Path) -> None:
    picture(seed=4).save("third.png")
    succeed(*ASKED, "--keyframe", "0=cat.png", "2=third.png", f"{FRAMES - 1}=dog.png")
    record = json.loads(Path("keyed.json").read_text())
    assert Path(record["input"]["image"]).name == "cat.png"
    keyed = [(key["frame"], Path(key["image"]).name) for key in record["input"]["keyframes"]]
    assert keyed == [(2, "third.png"), (FRAMES - 1, "dog.png")]
    succeed("animate", "--replay", "keyed.json", "-o", "again.mp4")
    assert Path("again.mp4").read_bytes() == Path("keyed.mp4").read_bytes(), "the replay is another video"
    picture(seed=5).save("third.png")
    assert "is no longer the image of frame 2" in fail("animate", "--replay", "keyed.json")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("cat.png", "--keyframe", "0=dog.png", "3=dog.png"), "frame 0 was given twice"),
        (("--keyframe", "3=dog.png"), "the video begins with an image"),
        (("cat.png", "--keyframe", "3=dog.png", "3=cat.png"), "gives frame 3 twice"),
        (("--keyframe", "0=cat.png"), "give images for other frames"),
        (("cat.png", "--keyframe", "three=dog.png"), "should be FRAME=FILE"),
        (("cat.png", "--keyframe", "900=dog.png"), "key frame 900 is not among frames 1 to"),
        (("cat.png", "--keyframe", "3=nothing.png"), "nothing.png"),
    ],
)
@pytest.mark.usefixtures("here", "no_weights")
def test_what_is_wrong_is_said_before_weights_are_read(given: tuple[str, ...], message: str) -> None:
    assert message in fail(*ASKED, *given)


@pytest.mark.usefixtures("here", "no_weights")
def test_other_commands_take_no_key_frames() -> None:
    assert "loop does not read keyframes (--keyframe)" in fail(
        "loop", "cat.png", "-p", PROMPT, "--keyframe", "3=dog.png"
    )
