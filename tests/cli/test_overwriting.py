"""Every command that writes: what was not made here stays, is named in one line, and goes only by --overwrite."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small_model import FRAMES, picture
from typer.testing import CliRunner

from lvdm.cli.app import app

PROMPT = "a red ball moves to the right"
GENERATE = ("animate", "cat.png", "-p", PROMPT, "--frames", "2", "--steps", "1")


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    return result.stderr


def refuse(*args: object, name: str) -> None:
    """The command names the file in one line, and leaves it."""
    content = Path(name).read_bytes()
    error = run(*args, code=2)
    assert name in error, error
    assert "was not made here" in error, error
    assert error.count("Error: ") == len([line for line in error.splitlines() if line.strip()]) == 1
    assert Path(name).read_bytes() == content


def test_pictures_of_ones_own(here: Path, no_weights: None) -> None:
    Path("fr").mkdir()
    for number in range(6):
        Path(f"fr/{number:03d}.png").write_bytes(b"mine")
    refuse(*GENERATE, "--output", "fr/%03d.png", name="fr/000.png")
    assert len(os.listdir("fr")) == 6


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("-o", "a.mp4"), "a.mp4"),
        (("-o", "frames"), "frames/frame_00000.png"),
        (("-o", "b.mp4", "--contact-sheet"), "b_sheet.png"),
        (("-o", "c.mp4", "--num-videos", "2"), "c_02.mp4"),
        (("-o", "d.mp4", "--num-videos", "2", "--keep", "best"), "d.mp4"),
        (("-o", "e.mp4", "--num-videos", "2", "--keep", "best"), "e.mp4.candidates/01/e.mp4"),
        (("-o", "e.mp4", "--num-videos", "2", "--keep", "best"), "e.mp4.candidates/02/notes.txt"),
    ],
)
def test_outputs_of_one_image(here: Path, no_weights: None, options: tuple[str, ...], name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(b"mine")
    refuse(*GENERATE, *options, name=name)


def test_outputs_of_a_list_are_all_looked_at_first(here: Path, no_weights: None) -> None:
    rows = "".join(f'{{"image": "cat.png", "prompt": "{PROMPT}", "name": "{name}"}}\n' for name in "abc")
    Path("list.jsonl").write_text(rows)
    Path("out").mkdir()
    Path("out/c.mp4").write_bytes(b"mine")
    refuse("animate", "--prompts", "list.jsonl", "-o", "out", name="out/c.mp4")
    assert os.listdir("out") == ["c.mp4"]


def test_a_finished_video_that_was_edited_is_no_obstacle_to_a_list(here: Path) -> None:
    rows = [f'{{"image": "cat.png", "prompt": "{PROMPT}", "name": "{name}"}}' for name in "ab"]
    Path("list.jsonl").write_text(rows[0])
    listed = ("animate", "--prompts", "list.jsonl", "-o", "out", "--frames", "2", "--steps", "1")
    run(*listed)
    Path("out/a.mp4").write_bytes(b"edited")
    Path("list.jsonl").write_text("\n".join(rows))
    assert "1 of 2 videos are finished already" in run(*listed)
    assert Path("out/a.mp4").read_bytes() == b"edited"
    assert sorted(os.listdir("out")) == ["a.json", "a.mp4", "b.json", "b.mp4"]


def test_what_was_made_here_is_made_anew_and_the_rest_by_permission(here: Path) -> None:
    run(*GENERATE, "-o", "a.mp4", "--contact-sheet")
    first = Path("a.mp4").read_bytes()
    run(*GENERATE, "-o", "a.mp4", "--contact-sheet", "--seed", "5")
    second = Path("a.mp4").read_bytes()
    assert second != first
    assert json.loads(Path("a.json").read_text())["output"]["bytes"] == len(second)
    Path("a.mp4").write_bytes(b"edited")
    refuse(*GENERATE, "-o", "a.mp4", name="a.mp4")
    refuse("animate", "--replay", "a.json", "-o", "a.mp4", name="a.mp4")
    run("animate", "--replay", "a.json", "-o", "a.mp4", "--overwrite")
    assert Path("a.mp4").read_bytes() == second
    Path("b.mp4").write_bytes(b"mine")
    refuse("extend", "a.mp4", "-p", PROMPT, "-o", "b.mp4", name="b.mp4")
    run("extend", "a.mp4", "-p", PROMPT, "-o", "b.mp4", "--overwrite", "--frames", "1", "--steps", "1")
    told = json.loads(Path("b.json").read_text())["output"]
    assert (told["num_frames"], told["bytes"]) == (3, Path("b.mp4").stat().st_size)
    run("extend", "a.mp4", "-p", PROMPT, "-o", "b.mp4", "--frames", "1", "--steps", "1")
    assert sorted(os.listdir()) == ["a.json", "a.mp4", "a_sheet.png", "b.json", "b.mp4", "cat.png"]


def test_the_folder_of_candidates_keeps_what_is_not_ours(here: Path) -> None:
    Path("a.gif.candidates").mkdir()
    Path("a.gif.candidates/notes.txt").write_text("mine")
    run(*GENERATE, "-o", "a.gif", "--num-videos", "2", "--keep", "best")
    assert os.listdir("a.gif.candidates") == ["notes.txt"]


def test_a_name_that_is_no_utf8(here: Path) -> None:
    """The video was made, written, and left without its record."""
    name = os.fsdecode(b"caf\xe9")
    try:
        picture().save(f"{name}.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    run("animate", f"{name}.png", "-p", PROMPT, "--frames", FRAMES, "--steps", "1", "-o", f"{name}.mp4")
    record = json.loads(Path(f"{name}.json").read_text())
    assert record["video"] == f"{name}.mp4"
    assert os.fsencode(record["input"]["image"]) == os.fsencode(Path(f"{name}.png").resolve())
    run("animate", "--replay", f"{name}.json", "-o", "again.mp4")
    assert Path("again.mp4").read_bytes() == Path(f"{name}.mp4").read_bytes()


def test_a_prompt_that_is_no_text(here: Path, no_weights: None) -> None:
    prompt = PROMPT + os.fsdecode(b"\xe9")
    for options in (("-p", prompt), ("-p", PROMPT, "--negative-prompt", prompt)):
        assert "prompt is no UTF-8 text, at its character 30" in run("animate", "cat.png", *options, code=2).replace(
            " of cat", ""
        )
    assert os.listdir() == ["cat.png"]


def test_a_record_with_numbers_that_are_none(here: Path, no_weights: None) -> None:
    Path("a.json").write_text('{"format": "dynamicrafter-video/1", "video": "a.mp4", "seed": NaN}')
    assert "holds NaN" in run("animate", "--replay", "a.json", code=2)
    assert "holds NaN" in run("extend", "--replay", "a.json", code=2)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("evaluate", "manifest", "m.jsonl", "--videos", "."), "m.jsonl"),
        (("evaluate", "manifest", "m.csv", "--procedural", "--count", "1"), "images/00000.png"),
        (("evaluate", "manifest", "m.csv", "--procedural", "--count", "1"), "videos/00000.mp4"),
        (("evaluate", "score", "--fake", "m.jsonl", "--output", "out"), "out/results.json"),
        (("evaluate", "score", "--fake", "m.jsonl", "--output", "out"), "out/per_video.csv"),
        (("evaluate", "compare", "m.jsonl", "m.jsonl", "--output", "out"), "out/comparison.json"),
        (("evaluate", "extract", "--fake", "m.jsonl", "--failures", "f.json"), "f.json"),
        (("data", "check", ".", "--output", "out"), "out/report.html"),
        (("data", "check", ".", "--output", "out"), "out/report.json"),
        (("data", "check", ".", "--output", "out"), "out/contact_sheet.png"),
        (("data", "check", ".", "--output", "out"), "out/examined.jsonl"),
        (("stats", "analytic-init", "s.safetensors", "--config", "absent.yaml"), "s.safetensors"),
    ],
)
def test_outputs_of_other_commands(here: Path, command: tuple[str, ...], name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(b"mine")
    refuse(*command, name=name)


def test_a_report_of_data_is_made_anew_over_its_own(here: Path) -> None:
    Path("data").mkdir()
    picture().save("data/a.png")
    for _ in range(2):
        run("data", "check", "data", "--captions", "none", "--output", "out")
    assert json.loads(Path("out/report.json").read_text())["format"] == "dynamicrafter-data-check/1"
    assert len(Path("out/examined.jsonl").read_text().split("\n")) < 6


def test_caches_and_measured_levels_replace_no_other_files(here: Path) -> None:
    Path("cache").mkdir()
    Path("cache/index.json").write_text('{"chunks": []}')  # of LitData, which has the same name
    error = run("data", "cache", "cache", "--config", "absent.yaml", code=2)
    assert "index.json is there and is no index of a latent cache" in error
    rows = [json.dumps({"image": "cat.png", "prompt": PROMPT, "name": name}) for name in "abc"]
    Path("list.jsonl").write_text("\n".join(rows))
    for content in ("mine", "[1]", '{"a": 1}'):
        Path("levels.json").write_text(content)
        error = run("stats", "motion", "list.jsonl", "levels.json", code=2)
        assert "levels.json" in error
        assert Path("levels.json").read_text() == content
