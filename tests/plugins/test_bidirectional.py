"""From picture to picture both ways: closed forms of the blend and of the noise, symmetry, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from small_model import FRAMES, picture, write_small_model
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.conditioning import Conditioning
from lvdm.diffusion.noise import make_step_noise
from lvdm.diffusion.parameterization import scale_x0, velocity
from lvdm.diffusion.samplers.ddim import ddim_steps, sample_ddim
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.model_files import CHECKPOINTS_VARIABLE
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.bidirectional import (
    Pass,
    Views,
    look,
    make_passes,
    noise_again,
    sample_in_passes,
)
from lvdm.plugins.methods.between import ForwardBackward, Fusion
from lvdm.request.settings import GenerationSettings

PROMPT = "a red ball moves to the right"
SCHEDULE = NoiseSchedule.from_config(
    ScheduleConfig(parameterization="v", rescale_betas_zero_snr=True, use_dynamic_rescale=True, base_scale=0.3)
)
TIMESTEPS = torch.tensor([999, 799, 599, 399, 199])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_small_model(folder / "tiny", ("i2v",))
    return folder


@pytest.fixture(scope="module")
def pipe(checkpoints):
    return DynamiCrafterPipeline.from_pretrained(checkpoints / "tiny", device="cpu", dtype="fp32")


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def legs_that_tell(frames: list[int], num_frames: int) -> tuple[list[Pass], list]:
    """Legs, and branches that put out the number of their one everywhere."""
    passes = make_passes(frames, num_frames, lambda number, length, backwards: ())
    return passes, [lambda x, t, n=n: (torch.full_like(x, float(n)),) for n in range(len(passes))]


def test_each_view_takes_every_frame_from_the_right_picture():
    passes, branches = legs_that_tell([0, 3, 5], 8)
    assert [(one.begin, one.end, one.backwards) for one in passes] == [
        *((0, 3, False), (0, 3, True), (3, 5, False), (3, 5, True), (5, 7, False))
    ]
    x_t, t = torch.zeros(1, 4, 8, 2, 2), torch.tensor([5])
    seen = {view: look(passes, branches, view, x_t, t)[0][0, 0, :, 0, 0] for view in ("forward", "backward", "both")}
    assert seen["forward"].tolist() == [0, 0, 0, 2, 2, 4, 4, 4]
    assert seen["backward"].tolist() == [1, 1, 1, 1, 3, 3, 4, 4]
    both = torch.tensor([0, 1 / 3, 2 / 3, (1 + 2) / 2, 2.5, (3 + 4) / 2, 4, 4])
    torch.testing.assert_close(seen["both"], both)


def test_noise_added_again_gives_latents_of_the_step_before():
    steps = ddim_steps(SCHEDULE, TIMESTEPS, 1.0, False, torch.float32)
    for i, (step, t) in enumerate(zip(steps, TIMESTEPS.tolist(), strict=True)):
        kept, fresh = noise_again(step, t, SCHEDULE)
        abar, scale = float(SCHEDULE.alphas_cumprod[t]), float(SCHEDULE.scale(torch.tensor([t])))
        assert kept * step.abar_prev**0.5 * step.scale_prev == pytest.approx(abar**0.5 * scale, abs=1e-6)
        assert kept**2 * (1 - step.abar_prev) + fresh**2 == pytest.approx(1 - abar, abs=1e-6)
        assert (kept == 0) == (i == 0), "under zero terminal SNR nothing but noise is left at the first step only"


@pytest.mark.parametrize("method", [ForwardBackward(), Fusion(repeats=3, until=0.4)], ids=str)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_with_a_perfect_network_the_passes_end_at_the_clean_latents(method, eta):
    x_0, views, seen = random(0, 1, 4, 3, 4, 4), Views(), []

    def denoiser(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append((int(t[0]), views.now))
        abar = SCHEDULE.alphas_cumprod[t][:, None, None, None, None]
        scaled = scale_x0(x_0, t, SCHEDULE)
        return velocity(scaled, (x_t - abar.sqrt() * scaled) / (1 - abar).sqrt(), t, SCHEDULE)

    noise, sampled = make_step_noise([1], [0]), partial(sample_in_passes, method, views)
    given = {"eta": eta, "step_noise": noise, "fix_final_step": True}
    found = sampled(denoiser, random(1, *x_0.shape), SCHEDULE, TIMESTEPS, **given)
    torch.testing.assert_close(found, x_0, rtol=0, atol=1e-4)
    if isinstance(method, ForwardBackward):
        later = [(t, view) for t in TIMESTEPS.tolist()[1:] for view in ("forward", "backward")]
        assert seen == [(999, "backward"), *later], "there and back in every step but the first"
    else:
        assert [t for t, _ in seen] == [999, 799, 799, 799, 599, 399, 199]


def test_one_pass_of_the_blend_is_ddim_to_the_bit():
    """Passes use the noise of plain steps where nothing is repeated."""

    def denoiser(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 0.3 * x_t

    x_T, noise = random(0, 1, 4, 3, 4, 4), make_step_noise([1], [0])
    plain = sample_ddim(denoiser, x_T, SCHEDULE, TIMESTEPS, eta=1.0, step_noise=noise)
    passes = sample_in_passes(Fusion(), Views(), denoiser, x_T, SCHEDULE, TIMESTEPS, eta=1.0, step_noise=noise)
    assert torch.equal(passes, plain)


def clip_conditions(pipe, seed: int) -> Conditioning:
    concat = random(seed, 1, 4, FRAMES, 8, 8)[:, :, :1].expand(-1, -1, FRAMES, -1, -1)
    return Conditioning(random(9, 1, 16, 32), random(seed + 50, 1, 2 * FRAMES, 32), concat, torch.tensor([10]))


def test_swapped_pictures_and_reversed_noise_give_the_reversed_video(pipe):
    model, a, b = pipe.runtime.model, clip_conditions(pipe, 1), clip_conditions(pipe, 2)

    def sample(first: Conditioning, last: Conditioning, x_T: torch.Tensor) -> torch.Tensor:
        passes = make_passes([0, FRAMES - 1], FRAMES, lambda number, length, back: [last if back else first])
        branches = [model.branches(one.conditions) for one in passes]
        with torch.inference_mode():
            denoiser = lambda x_t, t: look(passes, branches, "both", x_t, t)[0]  # noqa: E731
            return sample_ddim(denoiser, x_T, model.schedule, TIMESTEPS)

    x_T = random(3, 1, 4, FRAMES, 8, 8)
    forwards, backwards = sample(a, b, x_T), sample(b, a, x_T.flip(2))
    torch.testing.assert_close(backwards.flip(2), forwards, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(sample(a, a, x_T), forwards, atol=1e-2), "the last picture has no effect"


def test_there_alone_is_the_network_that_animates_the_first_picture(pipe):
    model, a = pipe.runtime.model, clip_conditions(pipe, 1)
    passes = make_passes([0, FRAMES - 1], FRAMES, lambda *_: [a])
    x_t, t = random(4, 1, 4, FRAMES, 8, 8), torch.tensor([500])
    with torch.inference_mode():
        (plain,) = model.branches([a])(x_t, t)
        (there,) = look(passes, [model.branches(one.conditions) for one in passes], "forward", x_t, t)
    assert torch.equal(there, plain)


@pytest.mark.parametrize(
    "given",
    [
        {"between": "trf:repeats=2", "end_image": picture(seed=1), "between_prompt": "it goes back", "anchor": "exact"},
        {"between": "trf", "loop": True, "sampler": "dpm++"},
        {"between": "vibid", "keyframes": {2: picture(seed=1), 4: picture(seed=2)}, "num_frames": 6},
        {"between": "vibid", "end_image": picture(seed=1), "num_frames": 5, "truncated_start": 0.9},
    ],
    ids=lambda given: f"{given['between']} {' '.join(given)}",
)
def test_a_model_for_one_image_goes_between_pictures(pipe, given):
    result = pipe(picture(), PROMPT, **given)
    assert torch.isfinite(result.video).all()
    assert result.video.shape[2] == result.settings.num_frames


def test_the_last_picture_and_the_sentence_back_have_their_effect_and_nothing_is_left_of_them(pipe):
    common = {"num_inference_steps": 2, "between": "vibid"}
    between = pipe(picture(), PROMPT, end_image=picture(seed=1), **common).latents
    plain = pipe(picture(), PROMPT).video
    assert not torch.equal(pipe(picture(), PROMPT, end_image=picture(seed=3), **common).latents, between)
    back = pipe(picture(), PROMPT, end_image=picture(seed=1), between_prompt="it goes back", **common)
    assert not torch.equal(back.latents, between)
    assert torch.equal(pipe(picture(), PROMPT).video, plain), "it is still at work"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"between": "vibd"}, "between 'vibd' is not known; did you mean 'vibid'"),
        ({"between": "trf:repeats=0"}, "repeats 0 is not possible"),
        ({"between": "vibid:first=x"}, "first 'x' is not known"),
        ({"between": "vibid", "mode": "animate"}, "give a last image or key frames"),
        ({"between": "vibid", "sampler": "dpm++", "eta": 0.0}, "which sampler 'dpm\\+\\+' cannot"),
        ({"between": "vibid", "low_pass": 0.5}, "between and low_pass both decide on the image latents"),
        ({"between_prompt": "it goes back"}, "between_prompt is for the backward pass of between"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_loaded(given, message):
    with pytest.raises(ValueError, match=message):
        GenerationSettings(**{"mode": "interpolate"} | given)


def test_what_does_not_suit_the_checkpoint_or_the_request_is_refused(pipe):
    end = {"end_image": picture(seed=1)}
    with pytest.raises(ValueError, match=r"cannot interpolate.*--between vibid"):
        pipe(picture(), PROMPT, **end)
    with pytest.raises(ValueError, match="prompts_at and between both decide on the prompt"):
        pipe(picture(), PROMPT, **end, between="vibid", prompts_at={2: "it stops"})
    only_two = DynamiCrafterPipeline(pipe.runtime, replace(pipe.card, capabilities=("interpolation",)), pipe.files)
    with pytest.raises(ValueError, match="which it does by itself"):
        only_two(picture(), PROMPT, **end, between="vibid")


def test_the_command_and_its_record(tmp_path, monkeypatch, checkpoints):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(checkpoints))
    picture().save("a.png")
    picture(seed=1).save("b.png")
    words = ["interpolate", "a.png", "b.png", "-p", PROMPT, "--between", "vibid", "--between-prompt", "backward", "-o"]
    made = CliRunner().invoke(app, [*words, "v.mp4"])
    assert made.exit_code == 0, made.output
    settings = json.loads((tmp_path / "v.json").read_text())["settings"]
    assert (settings["between"], settings["between_prompt"]) == ("vibid", "backward")
    assert CliRunner().invoke(app, ["interpolate", "--replay", "v.json"]).exit_code == 0
    assert (tmp_path / "v_replay.mp4").read_bytes() == (tmp_path / "v.mp4").read_bytes()
