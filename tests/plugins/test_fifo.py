"""Frames that are denoised in a queue come to what they would come to alone, in order, each step once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from small_model import FRAMES, picture, write_small_model
from torch import Tensor

from lvdm.diffusion.noise import sample_noise
from lvdm.diffusion.parameterization import eps_from_x0, q_sample, scale_x0, training_target
from lvdm.diffusion.samplers.ddim import sample_ddim
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.jobs.memory import plan_for
from lvdm.jobs.plan import plan_videos
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.fifo import FIFO

B, C, H, W = 2, 3, 2, 2
MEAN, STD = 0.3, 0.7
ZERO_SNR = ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.7)
SCHEDULES = {"256": NoiseSchedule.from_config(ScheduleConfig()), "512": NoiseSchedule.from_config(ZERO_SNR)}


def normal(seed: int) -> Tensor:
    return torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(seed))


STILL = normal(1)


def frame_noise(frame: int) -> Tensor:
    return normal(1000 + frame)


def gaussian(schedule: NoiseSchedule):
    """The best network for normal data, whatever times its frames are at: E[x_0 | x_t] in closed form."""

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        abar, scale = (
            v[:, None, :, None, None] if t.ndim == 2 else v[:, None, None, None, None]
            for v in (schedule.alphas_cumprod[t], schedule.scale(t))
        )
        alpha = abar.sqrt() * scale
        x_0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + 1 - abar) * (x_t - alpha * MEAN)
        scaled = scale_x0(x_0, t, schedule)
        return training_target(scaled, eps_from_x0(x_t, scaled, t, schedule), t, schedule)

    return denoiser


@pytest.mark.parametrize("name", ["256", "512"])
@pytest.mark.parametrize(("steps", "window", "lookahead"), [(8, 4, True), (7, 4, True), (5, 3, False), (2, 8, True)])
def test_every_frame_comes_to_what_it_comes_to_alone(name: str, steps: int, window: int, lookahead: bool) -> None:
    """Zero terminal SNR and dynamic rescale, steps that the window divides and others, noise in every step."""
    schedule, count = SCHEDULES[name], 6
    spacing = "uniform" if name == "256" else "uniform_trailing"
    timesteps = make_timesteps(spacing, steps)

    def step_noise(frame: int, step: int) -> Tensor:
        return normal(100 * frame + step)

    found = list(
        FIFO(window, lookahead).stream(
            *(gaussian(schedule), STILL, frame_noise, schedule, timesteps, count), eta=0.5, step_noise=step_noise
        )
    )
    assert len(found) == count
    for number, frame in enumerate(found):
        alone = sample_ddim(
            *(gaussian(schedule), frame_noise(number)[:, :, None], schedule, timesteps),
            eta=0.5,
            step_noise=lambda step, shape, number=number: step_noise(number, step)[:, :, None],
        )
        torch.testing.assert_close(frame, alone[:, :, 0], rtol=1e-4, atol=1e-5, msg=f"frame {number} differs")


@pytest.mark.parametrize("lookahead", [True, False])
def test_windows_are_in_order_and_every_frame_takes_every_step_once(lookahead: bool) -> None:
    schedule, steps, count, method = SCHEDULES["512"], 6, 9, FIFO(4, lookahead)
    timesteps = make_timesteps("uniform_trailing", steps)
    taken: Counter[tuple[int, int]] = Counter()

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        assert x_t.shape[2] == t.shape[1] == method.window, "every window is as long as the trained clips"
        own = t[0].tolist()
        assert own == sorted(own), "in a window the cleaner frames come first"
        return torch.zeros_like(x_t)

    def noise_of(frame: int, step: int) -> Tensor:
        taken[frame, step] += 1
        return torch.zeros_like(STILL)

    finished = list(
        method.stream(*(denoiser, STILL, frame_noise, schedule, timesteps, count), eta=1.0, step_noise=noise_of)
    )
    assert len(finished) == count
    real = {key: number for key, number in taken.items() if 0 <= key[0] < count}
    expected = {(frame, step): 1 for frame in range(count) for step in range(steps)}
    assert real == expected, "a frame left a step out, or took it twice"


def test_before_the_video_stands_the_still_as_noisy_as_its_place() -> None:
    schedule, seen = SCHEDULES["512"], []
    timesteps = make_timesteps("uniform_trailing", 8)

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append((x_t, t))
        return torch.zeros_like(x_t)

    next(FIFO(4).stream(denoiser, STILL, frame_noise, schedule, timesteps, 3))
    x_t, t = seen[0]  # the first iteration: frame 0 at the tail, the still in front of it
    assert t[0].tolist() == timesteps[:4].flip(0).tolist()
    assert torch.equal(x_t[:, :, -1], frame_noise(0)), "frame 0 begins as its noise"
    for place, number in enumerate((-3, -2, -1)):
        expected = q_sample(scale_x0(STILL, t[:, place], schedule), frame_noise(number), t[:, place], schedule)
        torch.testing.assert_close(x_t[:, :, place], expected)
    assert torch.equal(seen[-1][0][:, :, 0], STILL), "finished frames are shown as they are"
    assert seen[-1][1][0, :2].tolist() == [0, 0]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


def test_frames_do_not_depend_on_how_many_follow_nor_on_chunks(pipe) -> None:
    videos = []
    for count, chunk in ((2 * FRAMES, 1), (3 * FRAMES, 4)):
        settings = {"num_frames": count, "long_video": "fifo", "decode_chunk_size": chunk, "eta": 1.0}
        result = pipe(picture(), "a ball", **settings)
        assert result.latents.shape == (1, 4, 0, 8, 8), "latents are gone with the frames"
        videos.append(result.video)
    short, long = videos
    assert long.shape[2] == 3 * FRAMES
    assert torch.isfinite(long).all()
    torch.testing.assert_close(long[:, :, : 2 * FRAMES], short, rtol=0, atol=1e-5)


def test_a_short_video_is_the_plain_one_and_the_model_stays_as_it_was(pipe) -> None:
    plain = pipe(picture(), "a ball").latents
    assert torch.equal(pipe(picture(), "a ball", long_video="fifo").latents, plain)
    pipe(picture(), "a ball", num_frames=FRAMES + 1, long_video="fifo")
    assert torch.equal(pipe(picture(), "a ball").latents, plain)


def test_noise_belongs_to_the_frame_and_the_sample(pipe) -> None:
    settings = {"num_frames": FRAMES + 2, "long_video": "fifo", "eta": 1.0}
    together = pipe([picture(), picture(seed=1)], "a ball", **settings).video
    alone = pipe(picture(seed=1), "a ball", sample_index=1, **settings).video
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-4)
    assert not torch.equal(*(sample_noise((2,), [1], [0], f"frame/{frame}") for frame in (0, 1)))


def test_memory_is_announced_for_windows(pipe, tmp_path) -> None:
    picture().save(tmp_path / "cat.png")
    common = {"image": tmp_path / "cat.png", "prompt": "a ball", "checkpoint": pipe.files.checkpoint.parent}
    plans = []
    for given in ({}, {"num_frames": 5000, "long_video": "fifo"}):
        plan = plan_videos("animate", output=tmp_path / "a.mp4", **common, **given)
        plans.append(plan_for(plan.model, plan.videos[0].request))
    assert plans[0] == plans[1], "the length of the video counts"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_frames": 2000}, "1 to 1024, or long_video fifo (--long-video fifo) for more"),
        ({"num_frames": 2000, "long_video": "fifo"}, "2000 frames are too many to hold; give frames_to"),
        ({"num_frames": 9, "long_video": "fifo", "sampler": "dpm++"}, "takes its steps with sampler 'ddim'"),
        ({"num_frames": 9, "long_video": "fifo", "anchor": "soft"}, "anchor soft work on a whole clip"),
        (
            {"num_frames": 9, "long_video": "fifo", "loop": True},
            "long_video fifo has no image to end at, as loop asks for",
        ),
        (
            {"num_frames": 9, "long_video": "fifo", "prompts_at": {5: "it stops"}},
            "prompts_at work on a whole clip and long_video fifo has none",
        ),
        ({"num_frames": 9, "long_video": "fifo", "keep_mask": torch.ones(32, 32)}, "keep_mask work on a whole clip"),
        ({"num_frames": 9, "long_video": "fifo", "low_pass": 0.5}, "low_pass work on a whole clip"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_beforehand(pipe, settings, message) -> None:
    with pytest.raises(ValueError) as caught:
        pipe(picture(), "a ball", **settings)
    assert message in str(caught.value)
    with pytest.raises(ValueError, match="a window of 1 frames is not possible"):
        FIFO(1)
