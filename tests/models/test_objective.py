"""Options of the objective: closed forms of weights, statistics of noises, and draws that belong to a sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from golden_vectors import fill_module, rand
from small_model import FRAMES, SIDE, small_yaml

from lvdm.conditioning import Conditioning
from lvdm.config import ConfigError, parse_component
from lvdm.diffusion.loss import min_snr_weight
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.models.condition_noise import REPLACED, TimeNoiseConfig, add_time_noise, noise_level
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.training_draws import DrawRules, draw_training_numbers

ALL_STEPS = torch.arange(1000)


def schedule(parameterization: str) -> NoiseSchedule:
    zero_snr = parameterization == "v"
    return NoiseSchedule.from_config(
        ScheduleConfig(parameterization=parameterization, rescale_betas_zero_snr=zero_snr)  # type: ignore[arg-type]
    )


def build(**params: Any) -> LatentVisualDiffusion:
    tree = small_yaml()["model"]
    tree["params"] |= params
    model = parse_component(tree, "model").build()
    fill_module(model, "")
    return model


def batch(size: int = 3) -> dict[str, Any]:
    return {
        "video": rand("video", (size, 3, FRAMES, SIDE, SIDE)).clamp(-1, 1),
        "caption": ["a ball moves"] * size,
        "fps": torch.full((size,), 10),
        "frame_stride": torch.full((size,), 2),
        "number": torch.arange(size),
    }


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_is_the_papers_formula(gamma: float) -> None:
    for name, divisor in (("eps", 0.0), ("v", 1.0)):
        table = schedule(name)
        steps = ALL_STEPS[:999]
        snr = (table.alphas_cumprod / (1 - table.alphas_cumprod)).double()[steps]
        expected = snr.clamp(max=gamma) / (snr + divisor)
        torch.testing.assert_close(min_snr_weight(steps, table, gamma).double(), expected, rtol=1e-4, atol=1e-9)


def test_min_snr_is_finite_where_the_snr_is_zero() -> None:
    table = schedule("v")
    assert table.alphas_cumprod[999] == 0
    assert min_snr_weight(ALL_STEPS, table, 5.0)[999] == 0
    assert min_snr_weight(ALL_STEPS, replace(table, parameterization="eps"), 5.0)[999] == 1
    for parameterization in ("v", "eps"):
        weight = min_snr_weight(ALL_STEPS, replace(table, parameterization=parameterization), 5.0)  # type: ignore[arg-type]
        assert torch.isfinite(weight).all()
        assert (weight >= 0).all()


def test_min_snr_multiplies_the_loss_of_each_clip() -> None:
    plain, weighted = build(), build(min_snr_gamma=5.0)
    with torch.no_grad():
        expected, actual = (model._step(batch(), "train") for model in (plain, weighted))
    weight = min_snr_weight(expected["t"], plain.schedule, 5.0)
    torch.testing.assert_close(actual["losses"], expected["losses"] * weight)


def test_offset_noise_shifts_whole_frames_of_channels() -> None:
    shape, numbers = (64, 4, 3, 8, 8), list(range(64))
    plain = draw_training_numbers(shape, numbers, 1, DrawRules())
    shifted = draw_training_numbers(shape, numbers, 1, DrawRules(noise_strength=0.5))
    shift = shifted.noise - plain.noise
    assert torch.allclose(shift, shift[..., :1, :1].expand(shape), atol=1e-6), "the same for all pixels"
    assert shift[..., 0, 0].std().item() == pytest.approx(0.5, rel=0.1)
    assert shift[:, 0, 0, 0, 0].std() > 0.3, "clips differ"
    assert shift[0, :, 0, 0, 0].std() > 0, "channels differ"
    assert shift[0, 0, :, 0, 0].std() > 0, "frames differ, as in the original"
    assert torch.equal(shifted.t, plain.t)
    assert torch.equal(shifted.posterior, plain.posterior), "other draws stay what they are"


def test_noise_level_is_the_authors_formula() -> None:
    config = TimeNoiseConfig(beta_m=100.0, a=5.0)
    time, normal = torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3)
    expected = [100 / (1 + 2.718281828**1), 100 / (1 + 2.718281828**0.9375), 100 / (1 + 2.718281828**-1)]
    assert noise_level(time, normal, config).tolist() == pytest.approx(expected, rel=1e-5)
    assert noise_level(torch.ones(1), torch.tensor([50.0]), config).item() == pytest.approx(100.0)


def condition(size: int) -> Conditioning:
    return Conditioning(
        torch.zeros(size, 5, 8), torch.zeros(size, 6, 8), torch.zeros(size, 4, 2, 8, 8), torch.zeros(size).long()
    )


def test_time_noise_has_the_drawn_level_and_belongs_to_the_sample() -> None:
    numbers, time = list(range(200)), torch.ones(200)
    noised = add_time_noise(condition(200), time, numbers, 7, TimeNoiseConfig(beta_m=10.0))
    spread = noised.concat.flatten(1).std(dim=1)
    assert spread.max() < 10.9, "never above beta_m"
    assert spread.median().item() == pytest.approx(10 / (1 + 2.718281828**-1), rel=0.1)
    assert torch.equal(noised.image, torch.zeros(200, 6, 8)), "clip_mode none leaves the tokens alone"
    assert torch.equal(noised.text, torch.zeros(200, 5, 8))
    alone = add_time_noise(condition(1), time[:1], [17], 7, TimeNoiseConfig(beta_m=10.0))
    assert torch.equal(alone.concat[0], noised.concat[17]), "a sample's noise depends on its number alone"
    frames = noised.concat[0]
    assert not torch.equal(frames[:, 0], frames[:, 1]), "each frame has its own"


def test_image_tokens_are_noised_or_replaced_as_asked() -> None:
    numbers, time = list(range(400)), torch.zeros(400)
    noised = add_time_noise(condition(400), time, numbers, 7, TimeNoiseConfig(clip_mode="noise"))
    assert (noised.image.flatten(1).std(dim=1) > 1).all()
    replaced = add_time_noise(condition(400), time, numbers, 7, TimeNoiseConfig(clip_mode="replace"))
    share = (replaced.image.flatten(1).abs().sum(dim=1) > 0).float().mean().item()
    assert share == pytest.approx(REPLACED, abs=0.04)
    assert replaced.image.std().item() == pytest.approx(REPLACED**0.5, rel=0.05), "standard normal, whatever beta_m"


def test_time_noise_acts_in_training_only() -> None:
    plain, noised = build(), build(time_noise={"beta_m": 5.0})
    with torch.no_grad():
        assert torch.equal(plain._step(batch(), "val")["losses"], noised._step(batch(), "val")["losses"])
        assert (plain._step(batch(), "train")["losses"] != noised._step(batch(), "train")["losses"]).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"min_snr_gamma": -1.0}, "min_snr_gamma should be a number above 0"),
        ({"noise_strength": -0.1}, "noise_strength should be a number from 0"),
        ({"time_noise": {"beta_m": 0.0}}, "beta_m should be a number above 0"),
        ({"time_noise": {"clip_mode": "both"}}, "'both' is not known"),
        ({"time_noise": {"beta": 1.0}}, "did you mean 'beta_m'"),
    ],
)
def test_wrong_objectives_are_named(params: dict[str, Any], message: str) -> None:
    tree = small_yaml()["model"]
    tree["params"] |= params
    with pytest.raises(ConfigError, match=message):
        parse_component(tree, "model")


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(1, SIDE, SIDE), (3, SIDE, 2 * SIDE), (2 * FRAMES, 2 * SIDE, SIDE)]
)
def test_clips_of_any_length_and_shape_train(frames: int, height: int, width: int) -> None:
    model = build(interpolation_probability=1.0)
    clips = batch(2) | {"video": rand("other", (2, 3, frames, height, width)).clamp(-1, 1)}
    numbers = draw_training_numbers(model.latent_shape(clips), range(2), 0, DrawRules(interpolation_probability=1.0))
    latents, conditioning = model.training_batch(clips, numbers)
    assert conditioning.image.shape[1] == frames * model.tokens_per_frame, "image tokens for every frame"
    loss = model.training_loss(latents, conditioning, numbers).mean()
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.image_proj_model.named_parameters():
        assert parameter.grad is not None, f"{name} of the query transformer learns nothing from {frames} frames"
