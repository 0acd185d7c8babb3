"""`dynamicrafter text-to-video` from a sentence to files, and what is refused before weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_model import FRAMES, small_videocrafter_yaml, write_model, write_small_model
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.media.video_reader import VideoReader

PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_small_model(folder / "tiny")
    write_model(folder / "base_512_v2", small_videocrafter_yaml())
    write_model(folder / "i2v_512_v1", small_videocrafter_yaml(images=True))
    return folder


def succeed(*args: object) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    return result.stdout


def fail(*args: object) -> str:
    """The one line that a refused command prints."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 2, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, f"not one line: {result.stderr}"
    return lines[0]


def frames_of(path: Path) -> int:
    with VideoReader(path) as reader:
        return len(reader)


def test_a_sentence_is_enough_and_is_replayed(here):
    said = succeed("text-to-video", PROMPT, "--preset", "vc2", "--contact-sheet")
    video = here / "outputs/a_red_ball_moves_to_the_right_text-to-video_123.mp4"
    record = json.loads(video.with_suffix(".json").read_text())
    assert frames_of(video) == FRAMES
    assert "dB" not in said, "there is no image to compare with"
    assert record["input"]["image"] is None
    assert record["settings"]["mode"] == "text-to-video"
    assert record["measured"]["first_frame_psnr_db"] is None
    succeed("text-to-video", "--replay", video.with_suffix(".json"), "-o", "again.mp4")
    assert (here / "again.mp4").read_bytes() == video.read_bytes()


def test_a_list_of_sentences_skips_what_is_finished(here):
    (here / "prompts.txt").write_text("left\nright\n")
    succeed("text-to-video", "--prompts", "prompts.txt", "--preset", "vc2", "-o", "out")
    made = {path: path.stat().st_mtime_ns for path in (here / "out").glob("*.mp4")}
    assert sorted(path.name for path in made) == ["left.mp4", "right.mp4"]
    (here / "prompts.txt").write_text("left\nright\nup\n")
    succeed("text-to-video", "--prompts", "prompts.txt", "--preset", "vc2", "-o", "out")
    assert all(path.stat().st_mtime_ns == before for path, before in made.items()), "finished videos were made again"
    assert (here / "out/up.mp4").is_file()


def test_the_image_model_animates(here):
    succeed("animate", "cat.png", "-p", PROMPT, "--preset", "vc-i2v", "-o", "a.mp4", "--frames", 5)
    assert frames_of(here / "a.mp4") == 5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("text-to-video", PROMPT), "needs an image and cannot make a video from text alone; use animate"),
        (("text-to-video", PROMPT, "--preset", "vc-i2v"), "a checkpoint for text-to-video, such as preset vc2"),
        (("animate", "cat.png", "-p", PROMPT, "--preset", "vc2"), "from text alone and cannot animate"),
        (("interpolate", "cat.png", "cat.png", "-p", PROMPT, "--preset", "vc2"), "from text alone and cannot interpol"),
        (("loop", "cat.png", "-p", PROMPT, "--preset", "vc-i2v"), "animates one image and cannot loop"),
        (("text-to-video", "--preset", "vc2"), "give one of: a prompt, --prompts or --replay; nothing was given"),
        (("text-to-video", " ", "--preset", "vc2"), "the prompt is empty"),
        (("text-to-video", PROMPT, "-p", PROMPT, "--preset", "vc2"), "the prompt was given twice"),
        (
            ("text-to-video", PROMPT, "--preset", "vc2", "--keep-mask", "cat.png"),
            "does not read keep_mask",
        ),
        (("text-to-video", PROMPT, "--preset", "vc2", "--fit", "crop"), "text-to-video does not read fit"),
        (("text-to-video", PROMPT, "--preset", "vc2", "--frame-stride", 3), "small does not take frame_stride"),
        (
            ("text-to-video", PROMPT, "--preset", "vc2", "--image-guidance", 2),
            "does not read image_guidance_scale",
        ),
        (("text-to-video", PROMPT, "--preset", "vc1"), "base_512_v1"),
        (
            ("animate", "cat.png", "-p", PROMPT, "--preset", "vc-i2v", "--keep-mask", "cat.png"),
            "does not show the image itself",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line_before_weights_are_loaded(here, no_weights, arguments, expected):
    assert expected in fail(*arguments)
