"""A list at work on small models: what is made, what fails, what goes on, and what the folder says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from batch_lists import Silent
from typer.testing import CliRunner

import lvdm.batch.worker
from lvdm.batch.page import LivePage
from lvdm.batch.plan import BatchPlan
from lvdm.batch.planning import plan_batch
from lvdm.batch.run import BatchReport, run_batch
from lvdm.batch.states import failure_path
from lvdm.cli.app import app
from lvdm.data.lists import STDIN
from lvdm.jobs.run import make_videos

MIXED = """image,end_image,mode,prompt,checkpoint,seed,width,num_videos_per_prompt,name
a.png,,,x,,7,,,first
a.png,,loop,x,,,,2,round
a.png,b.png,,x,,,48,,between
,,text-to-video,a cat,models/t2v,3,,,cat
gone.png,,,x,,,,,lost
b.png,,,x,,1,,,"<b>&""wild"
"""
FAST = {"num_inference_steps": 2}


def planned(text: str, **given: Any) -> BatchPlan:
    return plan_batch(STDIN, text, **({"output": "out"} | FAST | given))


def made(plan: BatchPlan) -> BatchReport:
    report = run_batch(plan, Silent())
    assert report is not None
    return report


def videos(folder: str = "out") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.mp4"))}


def break_videos(monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
    """Let the making of some videos fail in a way that nobody foresaw."""
    check = lvdm.batch.worker.check_writable

    def fail(path: Path) -> None:
        if path.stem in names:
            raise ZeroDivisionError("a <mistake>")
        check(path)

    monkeypatch.setattr(lvdm.batch.worker, "check_writable", fail)


@pytest.fixture
def mixed(here: Path, models: Path) -> str:
    Path("models").symlink_to(models)
    return MIXED


def test_a_mixed_list_is_made_as_each_row_alone_and_not_again(mixed: str) -> None:
    report = made(planned(mixed))
    assert (report.finished, len(report.bad), report.is_whole) == (6, 1, False)
    assert "row 5 (stdin, line 6): the image gone.png" in report.bad[0]
    assert sorted(videos()) == ["_b_&_wild.mp4", "between.mp4", "cat.mp4", "first.mp4", "round_01.mp4", "round_02.mp4"]
    alone = [
        ("animate", "first", {"image": "a.png", "prompt": "x", "seed": 7}),
        ("text-to-video", "cat", {"prompt": "a cat", "seed": 3, "checkpoint": "models/t2v"}),
    ]
    for mode, name, given in alone:
        make_videos(mode, output=f"alone/{name}.mp4", **FAST, **given)  # type: ignore[arg-type]
        assert videos("alone")[f"{name}.mp4"] == videos()[f"{name}.mp4"], f"{name} differs from what {mode} makes"
    assert videos()["round_01.mp4"] != videos()["round_02.mp4"]
    widths = {n: json.loads(Path(f"out/{n}.json").read_text())["output"]["width"] for n in ("between", "first")}
    assert widths == {"between": 48, "first": 32}
    times = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.mp4")}
    again = made(planned(mixed))
    assert (again.finished, again.skipped) == (6, 6)
    assert times == {path: path.stat().st_mtime_ns for path in Path("out").glob("*.mp4")}, "a video was made again"
    page = Path("out/index.html").read_text(encoding="utf-8")
    assert "<b>&" not in page, "a name is not escaped"
    for source in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert "/" not in source, f"{source} is not relative to the page"
    assert page.count("<video ") == 6
    assert "gone.png" in page


def test_what_fails_stops_nothing_and_is_made_again_when_asked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "image,prompt\na.png,x\nb.png,x\nc.png,x\n"
    with monkeypatch.context() as patch:
        break_videos(patch, ["b"])
        report = made(planned(text))
    assert sorted(videos()) == ["a.mp4", "c.mp4"]
    assert [(item.row, problem) for item, problem in report.failed] == [(2, "ZeroDivisionError: a <mistake>")]
    record = failure_path(Path("out/b.mp4"))
    failure = json.loads(record.read_text())
    assert "worker.py" in failure["traceback"], "nobody can find the mistake"
    record.write_text(json.dumps(failure | {"error": ["x" * 100_000]}))
    page = Path("out/index.html").read_text()
    assert "a &lt;mistake&gt;" in page
    left = made(planned(text))
    assert (left.finished, len(left.failed)) == (2, 1), "what failed is forgotten, or made again unasked"
    assert len(left.failed[0][1]) < 500, "an edited record is repeated in full"
    again = made(planned(text, retry_failed=True))
    assert again.is_whole
    assert (again.finished, again.skipped) == (3, 2)
    assert not list(Path("out").glob("*.failed.json")), "an old failure lies beside a finished video"


def test_another_request_of_the_same_name_is_no_old_failure(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        break_videos(patch, ["a"])
        assert not made(planned("image,prompt\na.png,x\n")).is_whole
    assert made(planned("image,prompt\na.png,y\n")).is_whole


def test_batches_of_several_fall_back_to_each_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned("image,prompt,width\na.png,x,\nb.png,x,\nc.png,x,\na.png,y,48\n", batch_size=4)
    assert plan.bundles(range(4)) == [(0, 1, 2), (3,)], "sizes are mixed in a batch"
    break_videos(monkeypatch, ["b"])
    report = made(plan)
    assert (report.finished, len(report.failed)) == (3, 1)


def test_the_best_of_several_is_kept_and_chosen_after_a_kill(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "image,prompt,num_videos_per_prompt\na.png,x,2\n"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lvdm.jobs.best_of.Candidates.select", killed)
        with pytest.raises(KeyboardInterrupt):
            run_batch(planned(text, keep="best"), Silent())
    assert not videos(), "the best one is there before it was chosen"
    assert made(planned(text, keep="best")).is_whole, "candidates that all lie there are never chosen among"
    assert list(videos()) == ["a.mp4"]
    assert not list(Path("out").glob("*.candidates"))


def test_a_foreign_file_stays_and_the_other_rows_are_made(here: Path) -> None:
    Path("out").mkdir()
    Path("out/b.mp4").write_bytes(b"somebody's")
    report = made(planned("image,prompt\na.png,x\nb.png,x\n"))
    assert "was not made here" in report.failed[0][1]
    assert Path("out/b.mp4").read_bytes() == b"somebody's"
    assert report.finished == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("list.csv", "--dry-run"), 0, "2 of 2 videos to make; 0 rows cannot be made"),
        (("bad.csv", "--dry-run"), 3, "row 1 (bad.csv, line 2): seed -1 is not possible"),
        (("list.csv", "--replay", "a.json"), 2, "batch does not read replay (--replay)"),
        (("list.csv", "--prompts", "list.csv"), 2, "batch does not read prompts (--prompts)"),
        (("list.csv", "--end-image", "b.png"), 2, "option '--end-image' is not known"),
        (("list.csv", "--overlap", "2"), 2, "none of the rows reads overlap (--overlap)"),
        (("list.csv", "--devices", "0"), 2, "devices 0 is not possible; use a whole number from 1 to 4096"),
        (("list.csv", "--engine", "rai"), 2, "engine 'rai' is not known; did you mean 'ray'?"),
        (("list.csv", "--mode", "jump"), 2, "list_mode 'jump' is not known"),
        (("list.csv", "--device", "abacus"), 2, "device 'abacus' cannot be used"),
        (("list.csv", "-o", "a.mp4"), 2, "--output a.mp4 should be a folder"),
        (("list.csv", "--keep", "best", "--dry-run"), 3, "--keep best needs several videos"),
        (("list.csv", "--preset", "512"), 2, "model.ckpt"),
        (("-",), 2, "say where the videos go by --output"),
    ],
)
def test_what_the_command_line_says_before_anything_is_made(
    here: Path, arguments: Sequence[str], code: int, said: str
) -> None:
    Path("list.csv").write_text("image,prompt\na.png,x\nb.png,x\n")
    Path("bad.csv").write_text("image,prompt,seed\na.png,x,-1\n")
    result = CliRunner().invoke(app, ["batch", *arguments], input="image,prompt\na.png,x\n")
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.split()), result.output
    assert not list(here.rglob("*.mp4"))
    assert not list(here.rglob("*.html"))


def test_the_page_is_written_while_the_batch_is_at_work(here: Path) -> None:
    plan = planned("image,prompt\na.png,x\n")
    LivePage(plan).refresh()
    assert not Path("out/index.html").exists(), "it is written after each video, however short"
    LivePage(plan, interval=0.0).refresh()
    assert "1 not made yet" in Path("out/index.html").read_text()


def test_a_page_of_somebody_else_stays(here: Path) -> None:
    Path("out").mkdir()
    Path("out/index.html").write_text("<p>mine")
    with pytest.raises(ValueError, match="was not made here"):
        planned("image,prompt\na.png,x\n")


def test_what_only_some_rows_read_is_said(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="lvdm")
    plan = planned("image,end_image,prompt,seed\na.png,,x,4\na.png,b.png,x,3\n", keep_mask="c.png", seed=4)
    assert [item.videos[0].request.inputs.keep_mask for item in plan.items] == [Path("c.png"), None]
    assert "keep_mask (--keep-mask) is taken for the rows of animate alone" in caplog.text
    assert "seed (--seed) is taken for all videos, also where the list has another one" in caplog.text
