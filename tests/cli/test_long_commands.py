"""Long videos, sentences at later frames and `extend`, from the command line to files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from small_model import FRAMES, SIDE
from tiny_videos import write_video
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.media.video_reader import VideoReader

PROMPT = "a red ball moves to the right"


def succeed(*args: object):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, f"exit {result.exit_code}: {result.output}"
    return result


def fail(*args: object) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 2, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    return line


def test_a_long_video_says_its_method_and_can_be_made_again(here):
    frames = 2 * FRAMES + 1
    result = succeed(
        *("animate", "cat.png", "-p", PROMPT, "--frames", frames, "--prompt-at", "5=it stops", "-o", "a.mp4")
    )
    assert "FreeNoise" in result.stderr
    record = json.loads(Path("a.json").read_text())
    assert record["settings"]["long_video"] == "freenoise"
    assert record["settings"]["chunk_frames"] == FRAMES
    assert record["input"]["prompts_at"] == [[5, "it stops"]]
    succeed("animate", "--replay", "a.json")
    assert Path("a_replay.mp4").read_bytes() == Path("a.mp4").read_bytes()
    succeed("animate", "cat.png", "-p", PROMPT, "--frames", frames, "--long", "plain", "-o", "plain.mp4")
    assert json.loads(Path("plain.json").read_text())["settings"]["chunk_frames"] is None
    assert Path("plain.mp4").read_bytes() != Path("a.mp4").read_bytes()


def test_a_video_by_fifo_is_streamed_and_can_be_made_again(here):
    frames = 2 * FRAMES + 1
    succeed("animate", "cat.png", "-p", PROMPT, "--frames", frames, "--long", "fifo", "-o", "a.mp4", "--eta", 1)
    with VideoReader("a.mp4") as reader:
        assert reader.num_frames == frames
    record = json.loads(Path("a.json").read_text())
    assert (record["settings"]["long_video"], record["settings"]["chunk_frames"]) == ("fifo", None)
    succeed("animate", "--replay", "a.json")
    assert Path("a_replay.mp4").read_bytes() == Path("a.mp4").read_bytes()


def test_a_streamed_loop_leaves_its_last_frame_out(here):
    frames = 2 * FRAMES + 1
    succeed("loop", "cat.png", "-p", PROMPT, "--frames", frames, "-o", "a.mp4", "--contact-sheet")
    with VideoReader("a.mp4") as reader:
        assert reader.num_frames == frames - 1
    record = json.loads(Path("a.json").read_text())
    assert record["quality"]["motion"] > 0, "a streamed video is measured, too"
    assert record["measured"]["first_frame_psnr_db"] > 0
    assert Path("a_sheet.png").is_file()


@pytest.mark.usefixtures("here", "no_weights")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--long", "freenois"), "long_video 'freenois' is not known; did you mean 'freenoise'?"),
        (("--frames", 10000), "use a whole number from 1 to 1024, or long_video fifo (--long-video fifo) for more"),
        (("--frames", 10000, "--long", "fifo", "-o", "a.gif"), "10000 frames are too many for .gif; use mp4 or webm"),
        (("--frames", 10000, "--long", "fifo", "--contact-sheet"), "too many for a contact sheet"),
        (("--prompt-at", "it stops"), "--prompt-at 'it stops' should be FRAME=PROMPT"),
        (("--frames", 9, "--prompt-at", "9=it stops"), "ascending frames from 1 to 8, these do at [9]"),
        (("--frames", 9, "--prompt-at", "0=it stops"), "ascending frames from 1 to 8"),
        (("--long", "freelong", "--frames", 9, "--chunk-frames", 2), "looks at frames, rows and columns together"),
        (("--chunk-frames", 0), "chunk_frames 0 is not possible"),
    ],
)
def test_what_makes_no_sense_is_said_beforehand(options, message):
    assert message in fail("animate", "cat.png", "-p", PROMPT, *options)


def test_a_video_goes_on(here):
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4")
    output = succeed(
        *("extend", "a.mp4", "-p", "it goes on", "--frames", 5, "--overlap", 2, "-o", "b.mp4", "--contact-sheet"),
        *("--reader", "imageio"),
    ).stdout
    assert "brightness" in output, "drift is printed"
    with VideoReader("b.mp4") as reader, VideoReader("a.mp4") as given:
        assert (reader.num_frames, reader.height, reader.width) == (FRAMES + 5, SIDE, SIDE)
        assert reader.fps == given.fps
    record = json.loads(Path("b.json").read_text())
    assert len(record["drift"]) == record["output"]["segments"] == 3, "segments of 2 new frames each, the last of 1"
    assert {"torch", "python"} <= set(record["versions"]), "the record does not say what made the video"
    assert record["measured"]["peak_memory_bytes"] > 0
    assert record["extension"] == {"num_frames": 5, "overlap": 2, "color_lock": 1.0}
    assert record["runtime"]["reader"] == "imageio", "the record does not name what decoded the video"
    assert Path("b_sheet.png").is_file()
    told = succeed("extend", "--replay", "b.json", "--dry-run").stdout
    assert f"digest {record['digest'][:12]}" in told, "a replay plans another video than it made"
    assert "of memory needed on cpu" in told
    assert re.search(r"expected time: about \d+ s, by the records in \.", told), told
    output = succeed("extend", "--replay", "b.json").stdout
    assert Path("b_replay.mp4").read_bytes() == Path("b.mp4").read_bytes(), "a replay is another video"
    assert "seam" in output, "drift is printed again"
    written = Path("b.json").read_text()
    Path("b.json").write_text(written.replace(record["model"]["config_sha256"], "0" * 64))
    told = " ".join(succeed("extend", "--replay", "b.json", "--dry-run").stderr.split())
    assert "is another configuration than the one in b.json" in told, "a hash of the record is not looked at"
    Path("a.mp4").write_bytes(Path("b.mp4").read_bytes())
    assert "a.mp4 is no longer the video that b.json was made with" in fail("extend", "--replay", "b.json")


def test_another_video_goes_before_that_of_the_record(here):
    """As another image does in `animate IMAGE --replay`; the rate of the record is that of its own video."""
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4")
    words = ("-p", PROMPT, "--num-inference-steps", 3, "--frames", 1, "--overlap", 2)
    succeed("extend", "a.mp4", *words, "-o", "b.mp4")
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "c.mp4", "--seed", 5, "--playback-fps", 5)
    told = " ".join(succeed("extend", "c.mp4", "--replay", "b.json", "-o", "d.mp4").stderr.split())
    assert re.search(r"changed against b.json: video \S+ to c.mp4; playback_fps 8.0 to 5.0", told), told
    succeed("extend", "c.mp4", *words, "-o", "e.mp4")
    assert Path("d.mp4").read_bytes() == Path("e.mp4").read_bytes(), "a replay is not what was typed over the record"
    shutil.copy("a.mp4", "f.mp4")
    told = succeed("extend", "f.mp4", "--replay", "b.json", "-o", "g.mp4").stderr
    assert "changed against" not in told, "the same video lies elsewhere"
    assert Path("g.mp4").read_bytes() == Path("b.mp4").read_bytes()


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("a.mp4",), "the prompt is empty"),
        (("a.mp4", "-p", PROMPT, "--overlap", FRAMES), f"an overlap of {FRAMES} is not possible"),
        (("a.mp4", "-p", PROMPT, "-o", "a.mp4"), "--output a.mp4 would replace the video"),
        (("none.mp4", "-p", PROMPT), "none.mp4"),
        (("words.mp4", "-p", PROMPT, "--dry-run"), "words.mp4: not a readable video"),
        (("two.mp4", "-p", PROMPT, "--overlap", 3), "the video has 2 frames, fewer than the overlap of 3"),
        ((), "give a video to go on with, or --replay"),
        (
            ("a.mp4", "-p", PROMPT, "--attention", "flash"),
            "attention flash cannot be used: it computes in fp16",
        ),
        (("--replay", "none.json"), "none.json: there is no such file"),
        (("--replay", "cat.png"), "is not the record of an extended video"),
        (("a.mp4", "-p", PROMPT, "--num-videos", 2), "extend does not read num_videos_per_prompt"),
    ],
)
def test_what_cannot_be_extended_is_said_beforehand(here, options, message):
    Path("words.mp4").write_text("hello")
    for name, frames in (("a.mp4", FRAMES), ("two.mp4", 2)):
        write_video(Path(name), frames)
    assert message in fail("extend", *options)
