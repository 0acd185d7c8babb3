"""Jobs, limits, places and times of the page, without a server."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from lvdm.app.pace import VideoTimes, in_words
from lvdm.app.server import Access
from lvdm.app.sessions import KEPT, Sessions
from lvdm.app.showing import running
from lvdm.app.work import View, Work
from lvdm.diffusion.samplers import SamplingCancelled
from lvdm.jobs.preview import LatentColors
from lvdm.model_card import RELEASED
from lvdm.progress import Progress


def work_of(make: Any, turn: threading.Lock | None = None) -> Work[Any]:
    return Work(make, turn or threading.Lock())


def test_a_job_is_stopped_at_its_next_report() -> None:
    reports, works = list[int](), list[Work[str]]()

    def make(work: Work[str]) -> str:
        with work.progress("video.mp4") as show:
            for step in range(1000):
                reports.append(step)
                if step == 3:
                    works[0].cancel()
                show(Progress("sample", step, 1000))
        return "made"

    works.append(work_of(make))
    works[0].start()
    with pytest.raises(SamplingCancelled):
        works[0].result()
    assert reports == [0, 1, 2, 3], "it went on after the step in which it was cancelled"
    early = work_of(make)
    early.cancel()
    early.start()
    with pytest.raises(SamplingCancelled):
        early.result()
    assert len(reports) == 4, "it began although it had been cancelled"


def test_jobs_take_turns_and_one_that_waits_can_be_cancelled() -> None:
    turn = threading.Lock()
    turn.acquire()
    work = work_of(lambda own: "made", turn)
    work.start()
    work.cancel()
    with pytest.raises(SamplingCancelled):
        work.result()
    turn.release()
    assert work_then_result(turn) == "made"


def work_then_result(turn: threading.Lock) -> str:
    work = work_of(lambda own: "made", turn)
    work.start()
    made: str = work.result()
    assert not turn.locked()
    return made


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    def make(work: Work[str]) -> str:
        raise ValueError("no such thing")

    work = work_of(make)
    work.start()
    with pytest.raises(ValueError, match="no such thing"):
        work.result()


def test_views_tell_stage_step_notes_and_a_preview() -> None:
    def make(work: Work[str]) -> str:
        work.show_colors(LatentColors(torch.eye(3), torch.zeros(3)))
        logging.getLogger("lvdm.somewhere").warning("a <b>note</b> (--num-frames)")
        with work.progress("2/4 video.mp4") as show:
            show(Progress("sample", 0, 25))
            show(Progress("sample", 5, 25))
        work.on_step(0, 999, torch.zeros(1, 3, 2, 4, 4), torch.zeros(1, 3, 2, 4, 4))
        return "made"

    work = work_of(make)
    work.start()
    assert work.result() == "made"
    view = work.view
    assert (view.title, view.stage, view.done, view.total) == ("2/4", "sampling", 5, 25)
    assert view.left is not None
    assert view.left >= 0
    assert view.image is not None
    assert view.image[:4] == b"RIFF"
    html = running(view)
    assert "2/4: sampling 5 of 25" in html
    assert "a &lt;b&gt;note&lt;/b&gt; (num_frames)" in html, "notes are escaped and speak of fields"
    assert "data:image/webp;base64," in html
    assert "img" not in running(View())


def test_the_files_of_old_jobs_and_of_those_who_left_are_removed(tmp_path: Path) -> None:
    sessions, work = Sessions(tmp_path), work_of(lambda own: "made")
    for number in range(KEPT + 2):
        name = f"job{number}"
        (tmp_path / name).mkdir()
        sessions.end("one", sessions.begin("one", "animate", "p", work, name), "completed", 1.0, number)
    assert len(list(tmp_path.iterdir())) == KEPT
    assert [row[5] for row in sessions.rows("one")][:2] == [str(KEPT + 1), str(KEPT)]
    (tmp_path / "failed").mkdir()
    sessions.end("one", sessions.begin("one", "animate", "p", work, "failed"), "failed")
    assert not (tmp_path / "failed").exists()
    running_one = sessions.begin("one", "animate", "p", work, "running")
    (tmp_path / "running").mkdir()
    sessions.forget("one")
    assert work.cancelled
    sessions.end("one", running_one, "completed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_needs_no_password(host: str) -> None:
    assert Access(host).password is None


@pytest.mark.parametrize(
    "given", [{"host": "0.0.0.0"}, {"host": "192.168.1.5"}, {"host": "box.local"}, {"share": True}]
)
def test_others_need_one_unless_it_is_said(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lets others use this machine; give --password"):
        Access(**given)
    assert "geheim" not in repr(Access(**given, password="geheim"))
    assert Access(**given, for_everyone=True).for_everyone
    with pytest.raises(ValueError, match="the password is empty"):
        Access(**given, password="")


def test_ports_are_checked() -> None:
    with pytest.raises(ValueError, match="--port 70000 is not possible"):
        Access(port=70000)


def test_times_follow_the_videos_that_were_made() -> None:
    pace, card = VideoTimes(), RELEASED["512"]
    assert pace.seconds(card, "draft") is None
    assert "times are known after the first video" in pace.line(card)
    settings = {"num_frames": 16, "num_inference_steps": 50, "guidance_scale": 7.5, "image_guidance_scale": None}
    output = {"network_height": 320, "network_width": 512}
    pace.learn(
        "512", {"settings": settings, "output": output, "measured": {"seconds": {"sample": 90.0, "decode": 10.0}}}
    )
    assert pace.seconds(card, "normal") == pytest.approx(100)
    assert pace.seconds(card, "draft") == pytest.approx(28), "only sampling is in proportion to the steps"
    assert pace.seconds(card, "best") == pytest.approx(400)
    assert "draft about 28 s, normal about 2 min, best about 7 min" in pace.line(card)
    extended = {"settings": settings, "output": output | {"segments": []}, "measured": {"seconds": {"decode": 5.0}}}
    pace.learn("512", extended)
    assert pace.seconds(card, "normal") == pytest.approx(100), "the record of an extended video tells no sampling"
    assert [in_words(seconds) for seconds in (0.2, 89, 90, 7200)] == ["1 s", "89 s", "2 min", "2 h 0 min"]
