"""`--max-memory` makes plans smaller until they fit, without another digest, or says what would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import lvdm.pipeline.process_memory
from lvdm.batch.plan import BatchPlan
from lvdm.batch.planning import plan_batch
from lvdm.declaration.values import memory_bytes
from lvdm.jobs.extend import ExtensionPlan, plan_extension
from lvdm.jobs.fitting import fit_plan
from lvdm.jobs.memory import plan_for
from lvdm.jobs.plan import Plan, plan_videos
from lvdm.jobs.run import run
from lvdm.media.video_writer import write_video

IMAGE = Path(__file__).parents[2] / "prompts" / "tiny" / "08_red_star.png"
PROCESS = 900_000_000


@pytest.fixture(autouse=True)
def a_usual_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests holds more than that of a command."""
    monkeypatch.setattr(lvdm.pipeline.process_memory, "interpreter_memory", lambda: PROCESS)


def plan(tmp_path: Path, **given: Any) -> Plan:
    large = {"height": 512, "width": 512, "guidance_scale": 2.0, "scale": "off"}
    return plan_videos("animate", image=IMAGE, prompt="it moves", output=tmp_path / "a.mp4", **{**large, **given})


def total(made: Plan) -> int:
    return plan_for(made.model, made.videos[0].request).total


def test_what_fits_stays_as_it_is(tmp_path: Path) -> None:
    free, enough = plan(tmp_path), plan(tmp_path, max_memory="100GB")
    assert enough.videos[0].request.settings == free.videos[0].request.settings
    assert not enough.model.machine.low_memory


def test_less_memory_takes_smaller_pieces_and_the_same_digest(tmp_path: Path) -> None:
    free = plan(tmp_path)
    least, before = PROCESS, total(free)
    for share in (0.95, 0.85, 0.75):
        allowed = round(before * share, -6)
        fitted = plan(tmp_path, max_memory=f"{allowed / 1e6:.0f}MB")
        assert least < total(fitted) <= allowed
        assert fitted.videos[0].digest == free.videos[0].digest, "the video would be made again"
        again = fit_plan(fitted)
        assert again.videos[0].request.settings == fitted.videos[0].request.settings, "it is made smaller twice"
    assert fitted.model.machine.low_memory, "branches of guidance are still computed together"


def test_too_little_is_refused_with_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"max_memory 950MB is too little for 512x512 and 16 frames .* would do"
    ) as error:
        plan(tmp_path, max_memory="950MB")
    amount = str(error.value).split(": ")[1].split(" would do")[0]
    fitted = plan(tmp_path, max_memory=amount.replace(" ", ""))
    assert total(fitted) <= memory_bytes(amount), f"{amount} do not do"


def test_a_video_that_goes_on_is_counted_with_its_frames(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    write_video(torch.zeros(3, 40, 256, 256), video, 8)

    def longer(**given: Any) -> ExtensionPlan:
        return plan_extension(video, prompt="it moves", output=tmp_path / "b.mp4", scale="off", **given)

    free = longer(height=256, width=256)
    assert free.held == 24 * 40 * 256 * 256
    assert needed(free) == plan_for(free.model, free.request).total + free.held
    fitted = longer(height=256, width=256, max_memory=f"{(needed(free) - 60_000_000) / 1e6:.0f}MB")
    assert needed(fitted) <= needed(free) - 60_000_000
    assert fitted.digest == free.digest, "a limit makes another video"
    with pytest.raises(ValueError, match="or a shorter video"):
        longer(height=256, width=256, max_memory="950MB")


def needed(made: ExtensionPlan) -> int:
    return plan_for(made.model, made.request, held=made.held).total


def test_a_limit_of_a_batch_is_for_as_many_as_are_made_at_once(tmp_path: Path) -> None:
    rows = tmp_path / "list.csv"
    rows.write_text(f"image,prompt,seed\n{IMAGE},it moves,1\n{IMAGE},it stops,2\n")

    def planned(**given: Any) -> tuple[BatchPlan, int]:
        plan = plan_batch(
            rows, output=tmp_path / "out", height=384, width=384, scale="off", guidance_scale=2.0, batch_size=2, **given
        )
        return plan, plan_for(plan.plans[0].model, plan.items[0].videos[0].request, batch=2).total

    free, most = planned()
    fitted, total = planned(max_memory=f"{most * 0.9 / 1e6:.0f}MB")
    assert total <= most * 0.9, "the items are not those that fit"
    assert [item.videos[0].request for item in fitted.items] == [video.request for video in fitted.plans[0].videos]
    assert fitted.fingerprint == free.fingerprint, "a limit makes other videos"
    with pytest.raises(ValueError, match="max_memory 950MB is too little"):
        planned(max_memory="950MB")


@pytest.mark.parametrize("text", ["6", "6 gigs", "-1GB", "0GB", ""])
def test_what_is_no_amount_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no amount of memory; give it as in 6GB or 900MB"):
        plan(tmp_path, max_memory=text)


def test_amounts() -> None:
    assert [memory_bytes(text) for text in ("6GB", "1.5 gb", "900MB")] == [6_000_000_000, 1_500_000_000, 900_000_000]


def test_a_limit_has_freed_memory_given_back_and_is_planned_without_what_malloc_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        calls: ClassVar[list[tuple[int, int]]] = []

        def mallopt(self, parameter: int, value: int) -> int:
            self.calls.append((parameter, value))
            return 1

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    monkeypatch.setattr("sys.platform", "linux")
    kept, limited = total(plan(tmp_path)), total(plan(tmp_path, max_memory="100GB"))
    assert 0 < kept - limited <= lvdm.pipeline.process_memory.MOST_KEPT
    assert not Library.calls, "a plan alone changes the process"
    made = plan(tmp_path, max_memory="100GB")

    def load(model: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        list(run(made, load=load))
    assert Library.calls == [(-3, 2**20)], "M_MMAP_THRESHOLD, before the weights are loaded"
    monkeypatch.setattr("sys.platform", "darwin")
    assert total(plan(tmp_path, max_memory="100GB")) == kept, "planned as if another C library gave memory back"
