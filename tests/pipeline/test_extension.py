"""Going on with a video: known frames stay, colours are locked, drift is measured."""

from __future__ import annotations

import pytest
import torch
from golden_vectors import rand
from small_model import FRAMES, SIDE, picture, write_small_model

from lvdm.diffusion.noise import initial_noise
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.jobs.extend import plan_extension
from lvdm.media.video_writer import write_video
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.extension import (
    Extension,
    Reference,
    extend_video,
    measure_drift,
    segment_settings,
    show_known_frames,
)
from lvdm.pipeline.requests import GenerationRequest
from lvdm.plugins.methods.color_lock import ColorStatistics, lock_colors
from lvdm.request.settings import GenerationSettings


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def settings(pipe):
    return segment_settings(pipe.settings(), SIDE, SIDE)


def test_segments_make_as_many_frames_as_asked_and_each_can_be_made_again(pipe, settings):
    video = rand("video", (3, 6, SIDE, SIDE)).clamp(-1, 1)
    segments = list(extend_video(pipe, video, "it goes on", Extension(5, 2), settings, seed=4))
    assert [segment.frames.shape[1] for segment in segments] == [2, 2, 1], "segments of 4 frames, 2 of them known"
    again = list(extend_video(pipe, video, "it goes on", Extension(3, 2), settings, seed=4))
    assert torch.equal(again[0].frames, segments[0].frames)
    assert torch.equal(again[1].frames, segments[1].frames[:, :1])
    for segment in segments:
        own, given = ColorStatistics.of(segment.frames), ColorStatistics.of(video)
        for name in ("mean", "deviation"):
            assert (getattr(own, name) - getattr(given, name)).abs().max() < 0.25, "colours are not locked"


def test_known_frames_are_shown_as_the_next_step_expects_them_and_end_clean(pipe, settings):
    schedule = pipe.runtime.model.schedule
    known, x_t = rand("known", (1, 4, 2, 8, 8)), rand("x_t", (1, 4, FRAMES, 8, 8))
    request = GenerationRequest(picture(), "", seed=3, index=1)
    show = show_known_frames(known, settings, schedule, request)
    steps = make_timesteps(settings.timestep_spacing, settings.num_inference_steps)
    assert len(steps) == 2
    changed = show(0, int(steps[0]), x_t, x_t)
    noise = initial_noise((4, FRAMES, 8, 8), [3], [1])[:, :, :2]
    expected = q_sample(scale_x0(known, steps[1:], schedule), noise, steps[1:], schedule)
    assert torch.allclose(changed[:, :, :2], expected)
    assert torch.equal(changed[:, :, 2:], x_t[:, :, 2:])
    assert torch.equal(show(1, int(steps[1]), x_t, x_t)[:, :, :2], known)


def test_locked_colours_have_the_given_mean_and_contrast():
    video, reference = 0.2 * rand("a", (3, 4, 9, 9)), 0.3 * rand("b", (3, 5, 9, 9)) + 0.1
    statistics = ColorStatistics.of(reference)
    locked = lock_colors(video, statistics, 1.0)
    for frame in locked.unbind(1):
        own = ColorStatistics.of(frame[:, None])
        assert torch.allclose(own.mean, statistics.mean, atol=0.02)  # values beyond [-1, 1] are cut off
        assert torch.allclose(own.deviation, statistics.deviation, atol=0.02)
    assert torch.equal(lock_colors(video, statistics, 0.0), video)


def test_drift_of_known_changes():
    reference = 0.3 * rand("c", (3, 6, 16, 16))
    new = 1.5 * reference + 0.1
    drift = measure_drift(Reference.of(reference), reference[:, -1], new, new)
    mean = reference.mean(dim=(1, 2, 3))
    assert drift.brightness == pytest.approx(127.5 * (0.5 * mean + 0.1).abs().max().item(), rel=1e-3)
    assert drift.contrast == pytest.approx(1.5, rel=1e-3)
    assert drift.sharpness == pytest.approx(1.5, rel=1e-3)
    same = measure_drift(Reference.of(reference), reference[:, -1], reference, reference)
    assert (same.brightness, same.contrast) == (0, pytest.approx(1))
    still = torch.zeros(3, 3, 4, 4)
    jump = torch.ones(3, 4, 4)
    moving = still + torch.arange(3)[None, :, None, None] * 0.1
    assert measure_drift(Reference.of(reference), jump, still, moving).seam == pytest.approx(10, rel=1e-3)


def test_motion_changes_the_speed_alone_and_every_step_shows_the_known_frames(tmp_path):
    write_video(torch.zeros(3, 8, SIDE, SIDE), tmp_path / "a.mp4", 8)
    settings = plan_extension(
        tmp_path / "a.mp4", prompt="a ball", motion=1.0, output=tmp_path / "b.mp4"
    ).request.settings
    assert (settings.motion, settings.truncated_start) == (1.0, 1.0), "the level of the card begins elsewhere"
    for given in ({"truncated_start": 0.9}, {"camera": "hold:begin=yes"}):
        with pytest.raises(ValueError, match="at the usual steps and size only"):
            Extension(4, 1).check(GenerationSettings(**given))


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        (Extension(0), "0 new frames are not possible"),
        (Extension(4, FRAMES), f"an overlap of {FRAMES} is not possible with segments of {FRAMES} frames; use 1 to 3"),
        (Extension(4, 0), "an overlap of 0"),
        (Extension(4, 2, 1.5), "color lock 1.5 is not possible"),
        (Extension(4, 3), "the video has 2 frames, fewer than the overlap of 3"),
    ],
)
def test_what_is_not_possible_is_said(pipe, settings, extension, message):
    with pytest.raises(ValueError, match=message):
        next(extend_video(pipe, torch.zeros(3, 2, SIDE, SIDE), "", extension, settings))
