"""The noise schedule against every stored tensor of the original, and its closed forms."""

from __future__ import annotations

import pytest
import torch
from golden_vectors import Case, assert_close, case
from oracles import CONFIGS, SCHEDULES

from lvdm.diffusion.samplers.ddim import ddim_steps
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig, schedule_buffers

# The weights of a variational bound term that the original multiplies by 0 and does not store in its checkpoints.
NOT_KEPT = {"lvlb_weights"}


@pytest.mark.parametrize(("prefix", "model"), [("eps", "256"), ("v_zsnr", "512")])
def test_buffers_are_bit_equal_to_the_original(prefix: str, model: str) -> None:
    stored = {
        name.removeprefix(f"{prefix}."): value
        for name, value in case("schedule").outputs.items()
        if name.startswith(f"{prefix}.") and name.count(".") == 1 and not name.endswith("_f64")
    }
    buffers = schedule_buffers(CONFIGS[model])
    assert buffers.keys() - {"scale_arr"} == stored.keys() - NOT_KEPT, "other buffers than the original"
    for name in stored.keys() - NOT_KEPT:
        assert torch.equal(buffers[name], stored[name]), f"{prefix}.{name} is not bit-equal to the original"


@pytest.mark.parametrize(("prefix", "model"), [("eps", "256"), ("v_zsnr", "512")])
@pytest.mark.parametrize("name", ["betas", "alphas_cumprod"])
def test_buffers_are_the_float64_values_rounded_once(prefix: str, model: str, name: str) -> None:
    exact = case("schedule").outputs[f"{prefix}.{name}_f64"]
    assert torch.equal(schedule_buffers(CONFIGS[model])[name], exact.float()), f"{prefix}.{name} is rounded differently"


@pytest.mark.parametrize(("model", "base"), [("512", "0.7"), ("1024", "0.3")])
def test_dynamic_rescale(model: str, base: str) -> None:
    scale = schedule_buffers(CONFIGS[model])["scale_arr"]
    assert torch.equal(scale, case("schedule").outputs[f"scale_arr_{base}"]), "scale_arr differs from the original"
    assert scale.shape == (1400,), "scale_arr has turning_step + timesteps entries, as in the checkpoints"
    t = torch.tensor([0, 399, 400, 999])
    expected = torch.tensor([1.0, float(base), float(base), float(base)])
    torch.testing.assert_close(SCHEDULES[model].scale(t), expected, rtol=0, atol=0)
    assert torch.equal(SCHEDULES["256"].scale(t), torch.ones(4)), "a model without dynamic rescale has s_t = 1"


def ddim_cases(golden: Case) -> list[tuple[str, str, str]]:
    """(prefix, spacing.steps, model) of every stored set of DDIM parameters."""
    model = {"eps": "256", "v_zsnr": "512"}
    names = [name.split(".") for name in golden.outputs if name.endswith(".timesteps")]
    return [(prefix, f"{spacing}.{steps}", model[prefix]) for prefix, spacing, steps, _ in names]


def test_ddim_parameters_at_the_original_steps() -> None:
    golden = case("schedule")
    for prefix, what, model in ddim_cases(golden):
        key = f"{prefix}.{what}"
        ascending = golden.outputs[f"{key}.timesteps"]
        assert torch.equal(SCHEDULES[model].alphas_cumprod[ascending], golden.outputs[f"{key}.alphas"]), key
        for eta in (0, 1):
            steps = ddim_steps(SCHEDULES[model], ascending.flip(0), eta, False, torch.float32)[::-1]
            abar_prev = torch.tensor([step.abar_prev for step in steps])
            sigma = torch.tensor([step.sigma for step in steps])
            assert_close(golden, f"{key}.alphas_prev", abar_prev)
            assert_close(golden, f"{key}.eta{eta}.sigmas", sigma)


@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing", "quad"])
def test_ddim_parameters_of_the_1024_model(spacing: str) -> None:
    golden, key = case("schedule"), f"1024.{spacing}.10."
    t = golden.outputs[f"eps.{spacing}.10.timesteps"]
    schedule = SCHEDULES["1024"]
    steps = ddim_steps(schedule, t.flip(0), 1.0, False, torch.float32)[::-1]
    assert_close(golden, key + "ddim_alphas", schedule.alphas_cumprod[t])
    assert_close(golden, key + "ddim_sqrt_one_minus_alphas", (1.0 - schedule.alphas_cumprod[t]).sqrt())
    assert_close(golden, key + "ddim_alphas_prev", torch.tensor([step.abar_prev for step in steps]))
    assert_close(golden, key + "ddim_scale_arr", schedule.scale(t))
    assert_close(golden, key + "ddim_scale_arr_prev", torch.tensor([step.scale_prev for step in steps]))
    assert_close(golden, key + "ddim_sigmas", torch.tensor([step.sigma for step in steps]))


def test_zero_terminal_snr() -> None:
    abar = SCHEDULES["512"].alphas_cumprod
    assert abar[-1] == 0.0, "the SNR of the last step is not zero"
    assert abar[0] == SCHEDULES["256"].alphas_cumprod[0], "zero terminal SNR must not change the first step"
    assert (abar.diff() < 0).all(), "abar must fall strictly"
    assert SCHEDULES["256"].alphas_cumprod[-1] > 0.004, "the 256 model keeps some signal at the last step"


def test_schedule_moves_and_counts() -> None:
    moved = SCHEDULES["512"].to("cpu")
    assert isinstance(moved, NoiseSchedule)
    assert moved.num_train_timesteps == 1000
    assert moved.parameterization == "v"
    t = torch.arange(1000)
    assert torch.equal(moved.scale(t), SCHEDULES["512"].scale(t))
    assert SCHEDULES["256"].to("cpu").scale_arr is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rescale_betas_zero_snr": True}, "parameterization eps"),
        ({"linear_start": 0.0}, "linear_start"),
        ({"linear_start": 0.02}, "linear_start 0.02 and linear_end 0.012"),
        ({"linear_end": 1.0}, "linear_end 1.0"),
        ({"timesteps": 1}, "timesteps"),
        ({"use_dynamic_rescale": True, "base_scale": 0.0}, "base_scale"),
        ({"use_dynamic_rescale": True, "base_scale": 1.01}, "base_scale"),
        ({"use_dynamic_rescale": True, "turning_step": 0}, "turning_step"),
        ({"use_dynamic_rescale": True, "fix_scale_bug": True, "turning_step": 1000}, "before the last of 1000"),
    ],
)
def test_impossible_schedules_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ScheduleConfig(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value), "errors are one line"


def test_the_ends_of_what_is_possible() -> None:
    least = ScheduleConfig(0.5, 0.5, 2, "v", False, True, 1.0, 1, True)
    assert schedule_buffers(least)["scale_arr"].tolist() == [1.0, 1.0]
    last = ScheduleConfig(use_dynamic_rescale=True, base_scale=0.5, turning_step=999, fix_scale_bug=True)
    scale = schedule_buffers(last)["scale_arr"]
    assert (len(scale), scale[0], scale[998], scale[999]) == (1000, 1.0, 0.5, 0.5)
    ScheduleConfig(use_dynamic_rescale=False, base_scale=0.0, turning_step=0)  # not read then
    ScheduleConfig(timesteps=10, turning_step=400)


@pytest.mark.parametrize("zero", [False, True])
def test_reciprocals_that_could_be_infinite_are_stored_as_zeros(zero: bool) -> None:
    """Of v models always, as in the original; of x0 models where abar ends at 0."""
    of_v = schedule_buffers(ScheduleConfig(parameterization="v", rescale_betas_zero_snr=zero))
    of_x0 = schedule_buffers(ScheduleConfig(parameterization="x0", rescale_betas_zero_snr=zero))
    for name in ("sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"):
        assert (of_v[name] == 0).all()
        assert (of_x0[name] == 0).all() == zero


@pytest.mark.parametrize(("final_scale", "at_end"), [("visited", 0.85), ("first", 1.0)])
def test_the_scale_at_the_end_survives_a_move(final_scale, at_end) -> None:
    config = ScheduleConfig(use_dynamic_rescale=True, base_scale=0.7, turning_step=401, final_scale=final_scale)
    steps = torch.tensor([900, 200])
    for schedule in (NoiseSchedule.from_config(config), NoiseSchedule.from_config(config).to("cpu")):
        assert schedule.scale_at_end(steps).item() == pytest.approx(at_end)
    plain = NoiseSchedule.from_config(ScheduleConfig())
    assert plain.scale(steps).tolist() == [1.0, 1.0], "a model without rescale is scaled"
    assert plain.scale(steps).dtype == torch.float32
