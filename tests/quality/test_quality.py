"""Reports on single videos, and the order of several."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from moving_pictures import flickering, jittering, translating
from small_model import picture, write_small_model
from torch import Tensor

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.quality.flow import ClassicalFlow
from lvdm.quality.generated import assess_videos
from lvdm.quality.motion import reach
from lvdm.quality.ranking import rank
from lvdm.quality.report import QualityReport, assess

MOVING = translating(1.0, 0.5, frames=8)
GOOD = QualityReport(first_frame_psnr=30, motion=0.1, flicker=1, warping_error=1e-4, prompt_agreement=0.3, static=False)


def report(video: Tensor, psnr: float = 30.0, agreement: float | None = 0.3) -> QualityReport:
    return assess(video, psnr, fps=8, prompt_agreement=agreement)


def test_a_moving_video_has_nothing_to_remark() -> None:
    found = report(MOVING)
    assert found.motion == pytest.approx(math.hypot(1, 0.5) * 8 / math.hypot(64, 64), rel=0.05)
    assert (found.static, found.remarks, found.flow) == (False, (), "flow-v1")
    assert found.line() == (
        f"frame 0 30.0 dB, motion {found.motion:.3f} diagonals/s, warping error {found.warping_error:.1e}, prompt 0.300"
    )


def test_a_still_is_called_static_and_told_what_to_do() -> None:
    still = report(MOVING[:, :1].expand_as(MOVING))
    assert (still.motion, still.static, still.warping_error) == (0, True, 0)
    assert any("--motion" in remark for remark in still.remarks)


def test_a_shimmer_is_static_and_a_loop_is_not() -> None:
    shimmer = jittering(MOVING[:, :1].expand_as(MOVING), 1)
    assert report(shimmer).motion > 0.05, "from frame to frame it moves"
    assert reach(shimmer, ClassicalFlow()) < 0.03
    there_and_back = torch.cat([MOVING, MOVING.flip(1)], dim=1)
    assert not report(there_and_back).static


def test_what_is_wrong_is_said() -> None:
    flicker = report(flickering(MOVING, 0.3), psnr=12.0)
    assert [remark.split(":")[0] for remark in flicker.remarks] == ["unlike the image", "unsteady"]


def test_large_videos_are_measured_at_a_smaller_size() -> None:
    large = translating(4.0, 2.0, frames=3, height=256, width=256)
    assert report(large).motion == pytest.approx(math.hypot(4, 2) * 8 / math.hypot(256, 256), rel=0.1)


@pytest.mark.parametrize("frames", [1, 2])
def test_short_videos_are_reported_too(frames: int) -> None:
    found = report(translating(3.0, 1.0, frames), psnr=math.inf, agreement=None)
    assert found.first_frame_psnr == 100
    assert (found.warping_error is None) == (frames == 1)
    assert not found.static, "one frame is no video, two are three pixels apart"


def test_a_report_goes_through_json() -> None:
    for made in (report(MOVING), report(MOVING[:, :1], agreement=math.nan)):
        stored = json.loads(json.dumps(made.as_dict(), allow_nan=False))
        assert QualityReport.from_dict(stored) == made
    with pytest.raises(KeyError):
        QualityReport.from_dict({"motion": 1})


def better(**changes: float | bool | None) -> QualityReport:
    return dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]


def test_the_order_is_that_of_mean_places() -> None:
    reports = [
        better(first_frame_psnr=28.0, motion=0.3, warping_error=3e-4, prompt_agreement=0.30),  # places 3 1 3 2
        better(first_frame_psnr=30.0, motion=0.2, warping_error=2e-4, prompt_agreement=0.35),  # places 1 2 2 1
        better(first_frame_psnr=29.0, motion=0.1, warping_error=1e-4, prompt_agreement=0.25),  # places 2 3 1 3
    ]
    found = rank(reports)
    assert found.order == (1, 0, 2), "0 and 2 have the same mean: the lower number first"
    assert found.best == 1
    assert found.reasons[0] == "mean place 1.50 (frame 0 1, motion 2, steadiness 2, prompt 1)"


def test_equal_values_share_their_place() -> None:
    assert rank([GOOD, GOOD]).order == (0, 1)
    assert rank([GOOD, GOOD, better(motion=0.2)]).reasons[1].startswith("mean place 2.12 (frame 0 2, motion 2.5,")


def test_static_videos_are_last_however_faithful() -> None:
    still = better(first_frame_psnr=50.0, warping_error=0.0, prompt_agreement=0.9, motion=0.0, static=True)
    found = rank([still, GOOD])
    assert found.order == (1, 0)
    assert found.reasons[1].startswith("static; ")


def test_a_respect_that_one_lacks_is_left_out() -> None:
    found = rank([GOOD, better(prompt_agreement=None, motion=0.2)])
    assert found.order == (1, 0)
    assert "prompt" not in found.reasons[0]
    with pytest.raises(ValueError, match="no videos"):
        rank([])


def test_towers_that_do_not_agree_judge_no_prompt(tmp_path: Path) -> None:
    """The embedded model's text encoder was trained on with the network: its cosines with images are chance."""
    pipe = DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path / "small"), device="cpu", dtype="fp32")
    result = pipe(picture(), "a cat", num_inference_steps=1)
    assert assess_videos(pipe, result, 8)[0].prompt_agreement is not None
    pipe.card = dataclasses.replace(pipe.card, encoders_agree=False)
    assert assess_videos(pipe, result, 8)[0].prompt_agreement is None, "judged by encoders that do not agree"
    assert not DynamiCrafterPipeline.from_pretrained("tiny").card.encoders_agree
