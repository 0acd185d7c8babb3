"""Conversions between x_0, noise and velocity, and the loss built on them."""

from __future__ import annotations

import pytest
import torch
from golden_vectors import assert_close, case
from oracles import CONFIGS, SCHEDULES, normal

from lvdm.diffusion import parameterization as p
from lvdm.diffusion.loss import diffusion_loss
from lvdm.diffusion.schedule import NoiseSchedule, Parameterization, ScheduleConfig

T = torch.tensor([3, 640])


def test_formulas_of_the_original() -> None:
    golden = case("cfg_math")
    x, noise, t = golden.inputs["x"], golden.inputs["noise"], golden.inputs["t"]
    schedule = SCHEDULES["512"]
    x_t, v = p.q_sample(x, noise, t, schedule), p.velocity(x, noise, t, schedule)
    assert_close(golden, "q_sample", x_t)
    assert_close(golden, "get_v", v)
    assert_close(golden, "x0_from_v", p.x0_from_v(x_t, v, t, schedule))
    assert_close(golden, "eps_from_v", p.eps_from_v(x_t, v, t, schedule))


@pytest.mark.parametrize("parameterization", ["eps", "v", "x0"])
def test_round_trips(parameterization: Parameterization) -> None:
    schedule = NoiseSchedule(SCHEDULES["256"].alphas_cumprod, None, parameterization)
    x_0, noise = normal(1).double(), normal(2).double()
    x_t = p.q_sample(x_0, noise, T, schedule)
    output = p.training_target(x_0, noise, T, schedule)
    torch.testing.assert_close(p.predict_x0(output, x_t, T, schedule), x_0, msg="x_0 is not recovered")
    torch.testing.assert_close(p.predict_eps(output, x_t, T, schedule), noise, msg="the noise is not recovered")


def test_zero_snr_shows_only_noise() -> None:
    x_0, noise, t = normal(1), normal(2), torch.tensor([999, 999])
    schedule = SCHEDULES["1024"]
    assert torch.equal(p.q_sample(x_0, noise, t, schedule), noise), "the last step still shows the data"
    assert torch.equal(p.velocity(x_0, noise, t, schedule), -x_0), "v is -x_0 at zero SNR"


def test_dynamic_rescale_and_back() -> None:
    x_0, t = normal(1), torch.tensor([0, 500])
    scaled = p.scale_x0(x_0, t, SCHEDULES["1024"])
    torch.testing.assert_close(scaled, x_0 * torch.tensor([1.0, 0.3])[:, None, None, None, None])
    torch.testing.assert_close(p.unscale_x0(scaled, t, SCHEDULES["1024"]), x_0)
    assert p.scale_x0(x_0, t, SCHEDULES["256"]) is x_0, "no dynamic rescale, nothing to do"


def test_a_time_step_per_frame() -> None:
    x_0, noise = normal(1), normal(2)
    per_frame = torch.tensor([[10, 200, 990], [5, 5, 700]])
    for function in (p.q_sample, p.velocity, p.x0_from_v):
        together = function(x_0, noise, per_frame, SCHEDULES["512"])
        for frame in range(3):
            alone = function(x_0[:, :, frame], noise[:, :, frame], per_frame[:, frame], SCHEDULES["512"])
            assert torch.equal(together[:, :, frame], alone), f"{function.__name__}: frame {frame} differs"
    scaled = p.scale_x0(x_0, per_frame, SCHEDULES["512"])
    assert torch.equal(scaled[1, :, 2], x_0[1, :, 2] * SCHEDULES["512"].scale(per_frame)[1, 2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted(dtype: torch.dtype) -> None:
    x = normal(1).to(dtype)
    assert p.x0_from_v(x, x, T, SCHEDULES["512"]).dtype == torch.float32


@pytest.mark.parametrize("parameterization", ["eps", "v", "x0"])
def test_loss_is_the_mean_squared_error_of_each_sample(parameterization: Parameterization) -> None:
    config = ScheduleConfig(parameterization=parameterization)
    schedule = NoiseSchedule.from_config(config)
    x_0, noise, error = normal(1), normal(2), normal(3)
    target = p.training_target(x_0, noise, T, schedule)
    loss = diffusion_loss(target + error, x_0, noise, T, schedule)
    torch.testing.assert_close(loss, (error**2).mean(dim=(1, 2, 3, 4)), msg="the loss is not the mean squared error")
    assert torch.equal(diffusion_loss(target, x_0, noise, T, schedule), torch.zeros(2)), (
        "a perfect output costs nothing"
    )


def test_weighted_loss() -> None:
    x_0, noise, output = normal(1), normal(2), normal(3)
    schedule = NoiseSchedule.from_config(CONFIGS["512"])
    plain = diffusion_loss(output, x_0, noise, T, schedule)
    ones = torch.ones(2, 1, 3, 4, 5)
    torch.testing.assert_close(diffusion_loss(output, x_0, noise, T, schedule, ones), plain)
    torch.testing.assert_close(diffusion_loss(output, x_0, noise, T, schedule, 3.0 * ones), 3.0 * plain)
    first_frame = ones.clone()
    first_frame[:, :, 1:] = 0.0
    cut = [value[:, :, :1] for value in (output, x_0, noise)]
    torch.testing.assert_close(
        diffusion_loss(output, x_0, noise, T, schedule, first_frame), diffusion_loss(*cut, T, schedule) / 3.0
    )
