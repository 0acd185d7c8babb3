"""Several videos, of which the best one is kept or told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from small_model import picture
from typer.testing import CliRunner

import lvdm.jobs.best_of
import lvdm.jobs.run
import lvdm.pipeline.pipeline
from lvdm.cli.app import app
from lvdm.jobs.record import read_record
from lvdm.quality.ranking import rank

PROMPT = "a red ball moves to the right"
COUNT = 3


def run(*args: object) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def succeed(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 0, f"exit {result.exit_code}: {result.output}"
    return str(result.stdout)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"cat.png"}


def read(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_every_video_is_measured(here: Path) -> None:
    told = succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.gif")
    quality = read("a.json")["quality"]
    assert f"motion {quality['motion']:.3f} diagonals/s" in told
    assert quality["first_frame_psnr"] == read("a.json")["measured"]["first_frame_psnr_db"]
    assert -1 <= quality["prompt_agreement"] <= 1
    assert read_record("a.json").quality is not None


def test_all_are_kept_and_ranked_or_the_best_under_the_asked_name_which_can_be_replayed(here: Path) -> None:
    common = ("animate", "cat.png", "-p", PROMPT, "--num-videos", COUNT)
    told = succeed(*common, "-o", "all/a.gif")
    assert files(here / "all") == {f"a_{i + 1:02d}.{suffix}" for i in range(COUNT) for suffix in ("gif", "json")}
    reports = [read_record(f"all/a_{i + 1:02d}.json").quality for i in range(COUNT)]
    ranking = rank([report for report in reports if report])
    best = ranking.best
    assert f"best first: {', '.join(str(i + 1) for i in ranking.order)};" in told
    told = succeed(*common, "-o", "kept/a.gif", "--keep", "best", "--contact-sheet")
    assert files(here / "kept") == {"a.gif", "a.json", "a_sheet.png"}, "the others were left"
    assert not (here / "kept/a.gif.candidates").exists()
    assert Path("kept/a.gif").read_bytes() == Path(f"all/a_{best + 1:02d}.gif").read_bytes()
    record = read("kept/a.json")
    assert (record["video"], record["input"]["index"]) == ("a.gif", best)
    assert (record["chosen"]["of"], record["chosen"]["number"]) == (COUNT, best + 1)
    assert f"number {best + 1} of {COUNT}: {record['chosen']['ranking'][0]['reason']}" in told
    succeed("animate", "--replay", "kept/a.json")
    assert Path("kept/a_replay.gif").read_bytes() == Path("kept/a.gif").read_bytes()


@pytest.mark.parametrize("output", ["shot_%03d.png", "frames"])
def test_single_frames_of_the_best_are_kept(here: Path, output: str) -> None:
    succeed("animate", "cat.png", "-p", PROMPT, "-o", output, "--num-videos", 2, "--keep", "best")
    record = read(f"{output.partition('_')[0]}.json")
    made = files(here)
    assert len(made) == record["settings"]["num_frames"] + 1
    assert not [name for name in made if "candidates" in name]
    again = "again_%03d.png" if "%" in output else "again"
    succeed("animate", "--replay", f"{output.partition('_')[0]}.json", "-o", again)
    first, copy = (
        ("shot_000.png", "again_000.png") if "%" in output else ("frames/frame_00000.png", "again/frame_00000.png")
    )
    assert Path(first).read_bytes() == Path(copy).read_bytes()


def write_list() -> None:
    picture(seed=2).save("dog.png")
    with open("list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "prompt", "seed"], ["cat.png", "left", 3], ["dog.png", "right", ""]])


LIST = ("animate", "--prompts", "list.csv", "-o", "made", "--num-videos", 2, "--keep", "best")


def test_of_a_list_the_best_of_each_is_kept_and_finished_ones_are_skipped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list()
    succeed(*LIST)
    assert files(here / "made") == {"cat.mp4", "cat.json", "dog.mp4", "dog.json"}
    before = {name: Path("made", name).read_bytes() for name in files(here / "made")}
    with monkeypatch.context() as patch:
        patch.setattr(lvdm.pipeline.pipeline, "load_model", None)
        assert "4 of 4 videos are finished already" in run(*LIST).stderr
    assert {name: Path("made", name).read_bytes() for name in files(here / "made")} == before
    assert run(*LIST, "--seed", 5).exit_code == 0
    for name in ("cat", "dog"):
        assert Path(f"made/{name}.mp4").read_bytes() != before[f"{name}.mp4"], "what was typed goes before the list"
        assert json.loads(Path(f"made/{name}.json").read_text())["input"]["seed"] == 5


def test_an_interrupted_list_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_list()
    succeed(*LIST)
    whole = {name: Path("made", name).read_bytes() for name in ("cat.mp4", "dog.mp4")}
    for path in (here / "made").iterdir():
        path.unlink()
    save = lvdm.jobs.run.save_video
    made: list[Path] = []

    def interrupted(*args: Any) -> Path:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(args[3])
        return save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(lvdm.jobs.run, "save_video", interrupted)
        assert run(*LIST).exit_code == 130
    assert files(here / "made") == {"cat.mp4", "cat.json"} | {
        f"dog.mp4.candidates/01/dog.{suffix}" for suffix in ("mp4", "json")
    }
    assert "3 of 4 videos are finished already" in run(*LIST).stderr
    assert files(here / "made") == {"cat.mp4", "cat.json", "dog.mp4", "dog.json"}
    assert {name: Path("made", name).read_bytes() for name in whole} == whole


def test_a_choice_that_was_interrupted_is_made_without_the_model(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_list()

    def interrupted(*args: Any) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lvdm.jobs.best_of.Candidates, "select", interrupted)
        assert run(*LIST).exit_code == 130
    assert len(files(here / "made")) == 4
    succeed(*LIST)
    assert files(here / "made") == {"cat.mp4", "cat.json", "dog.mp4", "dog.json"}


def test_static_videos_are_flagged(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvdm.quality.report.STATIC_REACH", 10.0)
    told = succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.gif", "--num-videos", 2, "--keep", "best")
    assert "the best one is static: raise motion (--motion 0.8)" in told
    assert read("a.json")["quality"]["static"] is True


def test_wrong_choices_are_refused_before_weights_are_loaded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvdm.pipeline.pipeline, "load_model", None)
    for args, message in (
        (("--keep", "best"), "--num-videos 4"),
        (("--keep", "good", "--num-videos", 2), "use one of all, best"),
    ):
        result = run("animate", "cat.png", "-p", PROMPT, *args)
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_record_with_measures_of_another_version_can_still_be_replayed(here: Path) -> None:
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.gif")
    record = read("a.json")
    for quality in ({"of": "another version"}, None, 3):
        Path("a.json").write_text(json.dumps(record | {"quality": quality, "unknown": [1]}))
        assert read_record("a.json").quality is None
    succeed("animate", "--replay", "a.json")
    assert Path("a_replay.gif").read_bytes() == Path("a.gif").read_bytes()
