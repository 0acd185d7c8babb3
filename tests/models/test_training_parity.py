"""One training step against the original: the batch, the loss, its gradients and one AdamW update."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from golden_vectors import assert_close, case, rand
from tiny_models import reference_model

from lvdm.conditioning import Conditioning
from lvdm.diffusion.parameterization import scale_x0
from lvdm.models.optimization import OptimizerConfig, build_optimizer, learning_rate_factor
from lvdm.models.training_draws import (
    DrawRules,
    TrainingDraws,
    draw_training_numbers,
    dropped_conditions,
    moving_region_weight,
)

STYLES = {"i2v": "512", "interp": "512", "eps256": "256"}


def posterior_noise(tag: str, per_frame: bool) -> torch.Tensor:
    """The autoencoder's noise of case `train_batch`, (4, 4, 4, 8, 8) as (b, c, t, h, w)."""
    name = f"golden/train_batch/{tag}/noise/vae/"
    if per_frame:
        frames = torch.cat([rand(f"{name}{k}", (1, 4, 8, 8)) for k in range(16)])
    else:
        frames = rand(f"{name}0", (16, 4, 8, 8))
    return frames.reshape(4, 4, 4, 8, 8).transpose(1, 2)


@pytest.mark.parametrize("tag", STYLES)
@torch.no_grad()
def test_training_batch_and_loss(tag: str) -> None:
    reference = case("train_batch")
    x, style = reference.inputs, STYLES[tag]
    model = reference_model(style, uncond_prob=0.05, interp_mode=tag == "interp")
    draws = TrainingDraws(
        condition_drop=x["random_num"],
        cond_frame=torch.full((4,), reference.meta["cond_frame_index"][tag]),
        interpolate=torch.full((4,), tag == "interp"),
        t=x["t"],
        noise=x["noise"],
        posterior=posterior_noise(tag, per_frame=style == "512"),
    )
    batch = {
        "video": x["video"],
        "caption": reference.meta["captions"],
        "fps": x["fps"],
        "frame_stride": x["frame_stride"],
    }
    latents, conditioning = model.training_batch(batch, draws)
    assert_close(reference, f"{tag}.z", latents)
    assert_close(reference, f"{tag}.c_concat", conditioning.concat)
    assert_close(reference, f"{tag}.c_crossattn", conditioning.context)
    assert_close(reference, f"{tag}.fs", conditioning.fps.float())
    assert_close(reference, f"{tag}.loss", model.training_loss(latents, conditioning, draws).mean())


def test_dropped_conditions_match_the_original() -> None:
    reference = case("train_batch")
    drop_text, drop_image = dropped_conditions(reference.inputs["random_num"], 0.05)
    assert torch.equal(drop_text, reference.outputs["prompt_dropped"].bool())
    assert torch.equal(drop_image, reference.outputs["image_dropped"].bool())


def test_conditions_are_dropped_as_often_as_documented() -> None:
    drop_text, drop_image = dropped_conditions((torch.arange(1000) + 0.5) / 1000, 0.05)
    counts = [(drop_text & ~drop_image).sum(), (drop_text & drop_image).sum(), (~drop_text & drop_image).sum()]
    assert [int(count) for count in counts] == [50, 50, 50], "text only, both, image only"


@pytest.mark.parametrize("name", ["ploss_eps", "ploss_v"])
def test_loss_gradients_and_update(name: str) -> None:
    reference = case(name)
    x = reference.inputs
    model = reference_model(reference.meta["style"])
    model.unet.requires_grad_(True)
    model.image_proj_model.requires_grad_(False)
    draws = TrainingDraws(
        torch.ones(2), torch.zeros(2).long(), torch.zeros(2).bool(), x["t"], x["noise"], torch.zeros_like(x["z"])
    )
    conditioning = Conditioning(x["text"], x["img"], x["concat"], x["fs"])
    loss = model.training_loss(x["z"], conditioning, draws).mean()
    loss.backward()
    assert_close(reference, "loss", loss.detach())
    assert_close(reference, "x_start_scaled", scale_x0(x["z"], x["t"], model.schedule))
    parameters = dict(model.named_parameters())
    gradients = [key for key in reference.outputs if key.startswith("grad.")]
    assert gradients
    for key in gradients:
        gradient = parameters[key.removeprefix("grad.")].grad
        assert gradient is not None, f"{key}: no gradient"
        assert_close(reference, key, gradient)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == reference.meta["n_optim_tensors"]
    assert_close(reference, "grad_norm_total", torch.nn.utils.clip_grad_norm_(trained, 0.5))
    before = {key: value.detach().clone() for key, value in parameters.items()}
    optimizer, _ = build_optimizer(model.parameters(), OptimizerConfig())
    optimizer.step()
    for key in [key for key in reference.outputs if key.startswith("adamw_delta.")]:
        parameter = key.removeprefix("adamw_delta.")
        assert_close(reference, key, parameters[parameter].detach() - before[parameter])


def test_training_numbers_depend_on_seed_and_sample_alone() -> None:
    shape, rules = (4, 4, 8, 8), DrawRules(rand_cond_frame=True, interpolation_probability=0.5)
    together = draw_training_numbers((3, *shape), [4, 5, 6], 7, rules)
    for i, number in enumerate([4, 5, 6]):
        alone = draw_training_numbers((1, *shape), [number], 7, rules)
        for field in fields(TrainingDraws):
            got, expected = getattr(together, field.name)[i], getattr(alone, field.name)[0]
            assert torch.equal(got, expected), f"{field.name} of sample {number} depends on its batch"
    others = {"seed": draw_training_numbers((3, *shape), [4, 5, 6], 8, rules)}
    others["stream"] = draw_training_numbers((3, *shape), [4, 5, 6], 7, rules, "val")
    for name, other in others.items():
        assert not torch.equal(other.noise, together.noise), f"the {name} should change the noise"


def test_a_rule_leaves_the_numbers_of_the_others_alone() -> None:
    shape, numbers = (64, 4, 4, 2, 2), range(64)
    plain = draw_training_numbers(shape, numbers, 7, DrawRules())
    assert not plain.cond_frame.any(), "without rand_cond_frame the first frame conditions the clip"
    assert not plain.interpolate.any()
    noisy = draw_training_numbers(shape, numbers, 7, DrawRules(high_noise_probability=1.0, rand_cond_frame=True))
    assert (noisy.t >= 500).all(), "all time steps should come from the noisier half"
    assert set(noisy.cond_frame.tolist()) == {0, 1, 2, 3}, "64 draws of 4 frames should show them all"
    assert torch.equal(noisy.noise, plain.noise)
    assert torch.equal(noisy.condition_drop, plain.condition_drop)


def test_moving_region_weight_has_mean_one_and_finds_the_motion() -> None:
    latents = rand("still", (1, 4, 1, 8, 8)).expand(2, 4, 4, 8, 8).clone()
    latents[:, :, 2:, :2, :2] += 5.0
    weight = moving_region_weight(latents, 5.0)
    torch.testing.assert_close(weight.mean(dim=(1, 2, 3, 4)), torch.ones(2))
    moving, still = weight[0, 0, 3, 0, 0], weight[0, 0, 3, 5, 5]
    torch.testing.assert_close(moving / still, torch.tensor(5.0))


def test_learning_rate_rises_and_falls() -> None:
    config = OptimizerConfig(warmup_steps=10, decay_steps=20, total_steps=100)
    factors = [learning_rate_factor(step, config) for step in (0, 9, 50, 80, 90, 100)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.0])
    constant = replace(config, warmup_steps=0, decay_steps=0)
    assert learning_rate_factor(12345, constant) == 1.0
