"""What all samplers promise, and DDIM's two endings, with denoisers whose answer is known."""

from __future__ import annotations

import pytest
import torch
from oracles import SCHEDULES, SHAPE, gaussian, normal, oracle
from torch import Tensor

from lvdm.diffusion.guidance import classifier_free_guidance, sequential
from lvdm.diffusion.noise import initial_noise, make_step_noise
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.samplers import SAMPLERS, Inpainting, SamplingCancelled
from lvdm.diffusion.samplers.ddim import ddim_steps, sample_ddim
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.diffusion.timesteps import Spacing, make_timesteps

SPACING: dict[str, Spacing] = {"256": "uniform", "512": "uniform_trailing", "1024": "uniform_trailing"}
X_0, X_T = normal(1), initial_noise(SHAPE[1:], [5, 5], [0, 1])
NOISE = make_step_noise([5, 5], [0, 1])
ALL_SAMPLERS = sorted(SAMPLERS)


@pytest.mark.parametrize("model", SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("num_steps", [1, 7, 20, 25])
def test_fixed_ddim_with_an_oracle_returns_x_0(model: str, eta: float, num_steps: int) -> None:
    schedule, x_0, x_T = SCHEDULES[model], X_0.double(), X_T.double()
    timesteps = make_timesteps(SPACING[model], num_steps)
    denoiser = oracle(x_0, schedule)
    y = sample_ddim(denoiser, x_T, schedule, timesteps, eta=eta, step_noise=NOISE, fix_final_step=True)
    torch.testing.assert_close(y, x_0, rtol=0, atol=1e-9, msg="the oracle's x_0 is not returned")
    # float32 loses most where little signal is left: 1 / sqrt(abar) is 15 at the noisiest step of the 256 model.
    y = sample_ddim(oracle(X_0, schedule), X_T, schedule, timesteps, eta=eta, step_noise=NOISE, fix_final_step=True)
    torch.testing.assert_close(y, X_0, rtol=0, atol=1e-4, msg="the oracle's x_0 is not returned in float32")


def test_ddim_draws_no_noise_that_it_does_not_add() -> None:
    drawn = list[int]()

    def step_noise(step: int, shape: tuple[int, ...]) -> torch.Tensor:
        drawn.append(step)
        return torch.zeros(shape)

    schedule = SCHEDULES["256"]
    timesteps = make_timesteps(SPACING["256"], 3)
    sample_ddim(oracle(X_0, schedule), X_T, schedule, timesteps, eta=0.0, step_noise=step_noise)
    assert not drawn
    sample_ddim(oracle(X_0, schedule), X_T, schedule, timesteps, eta=1.0, step_noise=step_noise)
    assert drawn[:2] == [0, 1]


@pytest.mark.parametrize(
    ("model", "num_steps", "k"),
    [
        ("256", 50, 0.9995),
        ("512", 50, 0.985),
        ("512", 10, 0.925),
        ("512", 5, 0.850),
        ("1024", 50, 0.966),
        ("1024", 30, 0.944),
        ("1024", 10, 0.826),
        ("1024", 5, 0.651),
    ],
)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_original_ending_loses_contrast_and_keeps_noise(model: str, num_steps: int, k: float, eta: float) -> None:
    """The default is the original's: latents of k x_0, and noise of deviation sqrt(1 - abar_0) = 0.029."""
    schedule, shape = SCHEDULES[model], (1, 4, 8, 16, 16)
    x_0, noise = normal(1, shape).double(), normal(2, shape).double()
    timesteps = make_timesteps(SPACING[model], num_steps)
    # The 256 model starts below zero SNR: its x_T holds some of x_0, or the residual noise would hold some of -x_0.
    x_T = q_sample(scale_x0(x_0, timesteps[:1], schedule), noise, timesteps[:1], schedule)
    y = sample_ddim(oracle(x_0, schedule), x_T, schedule, timesteps, eta=eta, step_noise=make_step_noise([5], [0]))
    measured = ((y * x_0).sum() / (x_0 * x_0).sum()).item()
    residual = (y - measured * x_0).std().item()
    assert abs(measured - k) < 1.5e-3, f"contrast {measured:.4f}, the original's is {k}"
    assert abs(residual - 0.029) < 1e-3, f"residual noise {residual:.4f}, the original's is 0.029"


def first_rounding(num_steps: int) -> float:
    """1 - abar_prev - sigma^2 at the zero-SNR step in float32, as the original computes it at eta = 1."""
    timesteps = make_timesteps("uniform_trailing", num_steps)
    step = ddim_steps(SCHEDULES["512"], timesteps, 1.0, False, torch.float32)[0]
    abar_prev, sigma = torch.tensor(step.abar_prev), torch.tensor(step.sigma)
    return (1.0 - abar_prev - sigma**2).item()


@pytest.mark.parametrize("num_steps", [7, 11, 14, 15, 20, 25, 33, 34, 35, 37, 38, 39, 61, 62, 63, 64])
def test_step_counts_at_which_the_original_turns_black(num_steps: int) -> None:
    assert first_rounding(num_steps) < 0.0, "the original's square root is real here, choose another number"
    schedule, timesteps = SCHEDULES["512"], make_timesteps("uniform_trailing", num_steps)
    y = sample_ddim(oracle(X_0, schedule), X_T, schedule, timesteps, eta=1.0, step_noise=NOISE)
    assert y.isfinite().all(), f"{num_steps} steps give NaN"
    assert ddim_steps(schedule, timesteps, 1.0, False, torch.float32)[0].direction == 0.0


@pytest.mark.parametrize("num_steps", [16, 30, 50])
def test_rounding_above_zero_is_kept_as_in_the_original(num_steps: int) -> None:
    assert 0.0 < first_rounding(num_steps) < 1e-7
    step = ddim_steps(SCHEDULES["512"], make_timesteps("uniform_trailing", num_steps), 1.0, False, torch.float32)[0]
    assert abs(step.direction - 2.44e-4) < 1e-6, f"{step.direction} instead of the original's 2.44e-4"


@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing", "quad"])
@pytest.mark.parametrize("fix_final_step", [False, True])
def test_no_step_count_gives_bad_coefficients(spacing: Spacing, fix_final_step: bool) -> None:
    for num_steps in [*range(1, 101), *range(103, 1001, 13)]:
        timesteps = make_timesteps(spacing, num_steps)
        eta = (0.0, 0.3, 1.0, 1.7)[num_steps % 4]
        steps = ddim_steps(SCHEDULES["1024"], timesteps, eta, fix_final_step, torch.float32)
        table = torch.tensor([[s.abar_prev, s.scale_prev, s.direction, s.sigma] for s in steps])
        where = f"{spacing}, {num_steps} steps, eta {eta}"
        assert table.shape == (num_steps, 4), f"{where}: wrong count"
        assert table.isfinite().all(), f"{where}: NaN"
        assert (table >= 0).all(), f"{where}: negative"


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
@pytest.mark.parametrize("model", SCHEDULES)
def test_every_sampler_at_many_step_counts(sampler: str, model: str) -> None:
    schedule = SCHEDULES[model]
    small_x_T = X_T[:1, :1, :1, :2, :2]
    spacings: list[Spacing] = ["uniform", "uniform_trailing", "quad"]
    for num_steps in (1, 2, 3, 20, 61, 300 if model == "512" else 1000):
        for spacing in spacings if num_steps < 300 else spacings[num_steps % 3 :][:1]:
            timesteps = make_timesteps(spacing, num_steps)
            seen: list[int] = []
            y = SAMPLERS[sampler](
                gaussian(0.3, 0.5, schedule),
                small_x_T,
                schedule,
                timesteps,
                callback=lambda i, t, x_t, x_0, seen=seen: seen.append(t),
            )
            where = f"{sampler}, {model}, {spacing}, {num_steps} steps"
            assert y.isfinite().all(), f"{where}: NaN"
            assert y.dtype == torch.float32, f"{where}: {y.dtype}"
            assert seen == timesteps.tolist(), f"{where}: other steps than asked for"


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_guidance_scale_one_is_the_conditional_model(sampler: str) -> None:
    schedule, timesteps = SCHEDULES["512"], make_timesteps("uniform_trailing", 6)
    cond, uncond = gaussian(1.0, 0.5, schedule), gaussian(-1.0, 0.5, schedule)
    plain = SAMPLERS[sampler](cond, X_T, schedule, timesteps)
    guided = classifier_free_guidance(sequential(cond, uncond), 1.0)
    assert torch.equal(SAMPLERS[sampler](guided, X_T, schedule, timesteps), plain)
    stronger = classifier_free_guidance(sequential(cond, uncond), 3.0, 0.5)
    y = SAMPLERS[sampler](stronger, X_T, schedule, timesteps)
    assert y.mean() > plain.mean() + 0.1, "guidance does not move away from the unconditional mean"


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
@pytest.mark.parametrize("model", ["256", "1024"])
def test_inpainting_keeps_the_known_region(sampler: str, model: str) -> None:
    schedule = SCHEDULES[model]
    mask = torch.zeros(2, 1, 3, 4, 5)
    mask[:, :, :, :2] = 1.0
    shown: list[Tensor] = []

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        shown.append(x_t)
        return gaussian(0.0, 1.0, schedule)(x_t, t)

    inpaint = Inpainting(mask, X_0, normal(9))
    timesteps = make_timesteps(SPACING[model], 5)
    y = SAMPLERS[sampler](denoiser, X_T, schedule, timesteps, inpaint=inpaint)
    known = mask.bool().expand(SHAPE)
    assert torch.equal(y[known], X_0[known]), "the known region changed"
    assert not torch.allclose(y[~known], X_0[~known], atol=0.1), "the unknown region was not sampled"
    for x_t, t in zip(shown, timesteps, strict=True):
        abar, scale = schedule.alphas_cumprod[t], schedule.scale(t)
        at_t = abar.sqrt() * scale * X_0 + (1.0 - abar).sqrt() * inpaint.noise
        torch.testing.assert_close(x_t[known], at_t[known], msg=f"the network saw another known region at t = {t}")


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_callback_changes_and_cancels(sampler: str) -> None:
    schedule, timesteps = SCHEDULES["512"], make_timesteps("uniform_trailing", 5)
    denoiser = gaussian(0.0, 1.0, schedule)
    replacement = normal(4)
    inputs: list[Tensor] = []

    def record(x_t: Tensor, t: Tensor) -> Tensor:
        inputs.append(x_t)
        return denoiser(x_t, t)

    y = SAMPLERS[sampler](
        record, X_T, schedule, timesteps, callback=lambda i, t, x_t, x_0: replacement if i in (2, 4) else None
    )
    assert torch.equal(inputs[3], replacement), "the network did not see the changed latents"
    assert torch.equal(y, replacement), "the change after the last step was lost"

    def cancel(i: int, t: int, x_t: Tensor, pred_x0: Tensor) -> None:
        if i == 1:
            raise SamplingCancelled

    inputs.clear()
    with pytest.raises(SamplingCancelled):
        SAMPLERS[sampler](record, X_T, schedule, timesteps, callback=cancel)
    assert len(inputs) == 2, "sampling went on after it was cancelled"


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_preview_is_x_0_itself(sampler: str) -> None:
    """Also under dynamic rescale, where the network's own estimate is s_t x_0."""
    previews: list[Tensor] = []
    timesteps = make_timesteps("uniform_trailing", 4)
    SAMPLERS[sampler](
        oracle(X_0, SCHEDULES["1024"]),
        X_T,
        SCHEDULES["1024"],
        timesteps,
        callback=lambda i, t, x_t, x_0: previews.append(x_0),
    )
    for preview in previews:
        torch.testing.assert_close(preview, X_0, rtol=0, atol=1e-5, msg="the preview is not x_0")


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_two_runs_are_equal_and_a_batch_is_its_singles(sampler: str) -> None:
    schedule, timesteps = SCHEDULES["512"], make_timesteps("uniform_trailing", 6)
    eta = 1.0 if sampler == "ddim" else 0.0

    def run(indices: list[int]) -> Tensor:
        seeds = [11] * len(indices)
        x_T, noise = initial_noise(SHAPE[1:], seeds, indices), make_step_noise(seeds, indices)
        denoiser = gaussian(0.2, 0.7, schedule)
        return SAMPLERS[sampler](denoiser, x_T, schedule, timesteps, eta=eta, step_noise=noise)

    together = run([0, 1, 2])
    assert torch.equal(together, run([0, 1, 2])), "two runs differ"
    for index in range(3):
        assert torch.equal(together[index : index + 1], run([index])), f"sample {index} depends on its batch"


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_bad_arguments_are_refused(sampler: str) -> None:
    sample, schedule = SAMPLERS[sampler], SCHEDULES["512"]
    denoiser, good = oracle(X_0, schedule), make_timesteps("uniform_trailing", 4)
    for bad in ([], [1, 5], [5, 5], [1000, 3], [3, -1]):
        with pytest.raises(ValueError, match="strictly descending within"):
            sample(denoiser, X_T, schedule, torch.tensor(bad, dtype=torch.int64))
    with pytest.raises(ValueError, match="eta"):
        sample(denoiser, X_T, schedule, good, eta=-0.1, step_noise=NOISE)
    with pytest.raises(ValueError, match=r"pass step_noise|must be 0"):
        sample(denoiser, X_T, schedule, good, eta=1.0)
    noise_prediction = NoiseSchedule(schedule.alphas_cumprod, schedule.scale_arr, "eps")
    with pytest.raises(ValueError, match="cannot start at t = 999, where the SNR is zero"):
        sample(denoiser, X_T, noise_prediction, good)
