"""The numbers of one video: names, order, values that are known, and what a clip cannot have."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from moving_pictures import flickering, shuffled, translating
from torch import Tensor

from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.metrics.registry import measure, measure_names, measures_id
from lvdm.media.video_writer import to_uint8
from lvdm.psnr import MAX_PSNR
from lvdm.quality.flow import ClassicalFlow

flow = ClassicalFlow()
MOTION, DYNAMIC, FLICKERING, FLICKER, SMOOTH, WARPING, PSNR, SSIM, LAST, SEAM, CONTINUITY = measure_names(flow)


def clip(video: Tensor, fps: float | None = 8.0) -> LoadedClip:
    frames = to_uint8(video)
    return LoadedClip(frames, fps, image=frames[0], last_image=frames[-1])


def moving(dx: float = 3.0, dy: float = 1.0, frames: int = 9) -> Tensor:
    return translating(dx, dy, frames)


def test_names_say_the_flow_and_keep_their_order() -> None:
    found = measure(clip(moving()), flow)
    assert tuple(found) == measure_names(flow)
    assert MOTION == "motion[flow-v1, diagonals/s]"
    assert measures_id(flow) == "v2-flow-v1"
    assert all(isinstance(value, float) for value in found.values())


def test_a_still_is_perfect_but_for_its_motion() -> None:
    found = measure(clip(moving(0, 0)), flow)
    still = {MOTION: 0, DYNAMIC: 0, FLICKERING: 1, FLICKER: 0, SMOOTH: 1, WARPING: 0, SEAM: 0, CONTINUITY: 1}
    assert {name: found[name] for name in still} == still
    assert (found[PSNR], found[LAST]) == (MAX_PSNR, MAX_PSNR), "finite, so that means over clips keep it"
    assert found[SSIM] == pytest.approx(1)


def test_motion_and_dynamic_degree_of_a_translation() -> None:
    found = measure(clip(moving()), flow)
    assert found[MOTION] == pytest.approx(math.hypot(3, 1) * 8 / math.hypot(64, 64), rel=0.05)
    assert found[DYNAMIC] == 1
    twice = measure(clip(moving(frames=17), fps=16), flow)
    assert twice[MOTION] == pytest.approx(2 * found[MOTION], rel=0.05)
    assert measure(clip(moving(0.5, 0.0), fps=8), flow)[DYNAMIC] == 0


def test_dynamic_degree_looks_at_eight_frames_a_second() -> None:
    slow = moving(0.8, 0, frames=17)
    assert measure(clip(slow, fps=8), flow)[DYNAMIC] == 0
    assert measure(clip(slow, fps=24), flow)[DYNAMIC] == 1, "2.4 pixels in an eighth of a second"


def test_motion_per_second_needs_a_frame_rate() -> None:
    with pytest.raises(ValueError, match="no frame rate, which motion needs"):
        measure(clip(moving(), fps=None), flow)


def test_distortions_are_seen() -> None:
    base = measure(clip(moving(1.5, 0.8)), flow)
    flicker = measure(clip(flickering(moving(1.5, 0.8), 0.1)), flow)
    order = measure(clip(shuffled(moving(1.5, 0.8))), flow)
    for found, factor in ((flicker, 3), (order, 1.3)):
        assert found[WARPING] > factor * base[WARPING]
        assert found[SMOOTH] < base[SMOOTH]
        assert found[FLICKER] > 1.5 * base[FLICKER]
        assert found[FLICKERING] < base[FLICKERING]


def test_what_a_clip_cannot_have_is_nan() -> None:
    bare = dataclasses.replace(clip(moving(frames=2)), image=None, last_image=None)
    found = measure(bare, flow)
    missing = {name for name, value in found.items() if math.isnan(value)}
    assert missing == {FLICKER, SMOOTH, PSNR, SSIM, LAST, CONTINUITY}


@pytest.mark.parametrize("frames", [torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.zeros(4, 16, 16, 3)])
def test_what_is_no_clip_is_refused(frames: Tensor) -> None:
    with pytest.raises(ValueError):
        measure(LoadedClip(frames, 8), flow)


def test_the_same_clip_has_the_same_numbers_on_one_thread_and_on_several() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = measure(clip(moving(frames=4)), flow)
        torch.set_num_threads(2)
        assert measure(clip(moving(frames=4)), flow) == alone
    finally:
        torch.set_num_threads(threads)
