"""Larger than the training: which plan a size gets, what noise damping and attention scaling leave as it is."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from small_model import SIDE, picture, write_small_model
from torch import Tensor

from lvdm.diffusion.guidance import classifier_free_guidance, noise_damped
from lvdm.modules.attention_processors import attend
from lvdm.modules.hooks import attention_of
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.hooks import Samples, StepClock, attention_layers, plain_hooks
from lvdm.plugins.methods.scale import MAX_FACTOR, parse_scale
from lvdm.plugins.scalecrafter import ScaleCrafter, layers_of
from lvdm.plugins.scaled_attention import ScaledAttention, attention_scale
from lvdm.plugins.scaling import plan_scale, recommended
from lvdm.request.settings import GenerationSettings

PROMPT = "a red ball moves to the right"
LARGE = {"height": 2 * SIDE, "width": 2 * SIDE}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((320, 512), None),
        ((384, 512), None),
        ((576, 1024), 2.0),
        ((640, 1024), 2.0),
        ((320, 1024), 1.5),
        ((800, 1280), 2.5),
        ((1280, 2048), 4.0),
    ],
)
def test_the_size_decides(size: tuple[int, int], factor: float | None) -> None:
    plan = plan_scale("auto", size, (320, 512))
    assert plan == (None if factor is None else recommended(factor))
    assert plan_scale("off", size, (320, 512)) is None


def test_what_is_asked_for_goes_before_what_is_recommended() -> None:
    plan = plan_scale("scalecrafter:factor=3,until=0.5,damped=no,attention=yes", (320, 512), (320, 512))
    assert plan is not None
    assert (plan.factor, plan.until, plan.damped, plan.attention) == (3.0, 0.5, False, True)
    assert plan.progressive, "what is not said follows the factor"
    assert plan_scale(plan.text, (64, 64), (320, 512)) == plan, "the text of a plan does not give it again"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scalecrafted", "scale 'scalecrafted' is not known; did you mean 'scalecrafter'"),
        ("scalecrafter:factr=2", "unknown key 'factr'; did you mean 'factor'"),
        ("scalecrafter:factor", "'factor' should be key=value"),
        ("scalecrafter:factor=9", f"factor 9 is not possible; use a number from 1 to {MAX_FACTOR:g}"),
        ("scalecrafter:until=2", "until 2 is not possible"),
        ("off:factor=2", "unknown key 'factor'"),
    ],
)
def test_what_is_not_possible_is_said_before_anything_is_loaded(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationSettings(scale=text)


def outputs(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
    return x_t.sin(), x_t.cos()


def test_noise_damped_guidance_is_what_the_paper_says() -> None:
    x_t, t = torch.randn(2, 4, 3, 5, 5), torch.tensor([3, 3])
    cond, uncond = outputs(x_t, t)
    same = classifier_free_guidance(noise_damped(outputs, lambda x, t: outputs(x, t)[1]), 7.5, 0.7)(x_t, t)
    assert torch.equal(same, classifier_free_guidance(outputs, 7.5, 0.7)(x_t, t)), "equal networks: plain guidance"
    damped = classifier_free_guidance(noise_damped(outputs, lambda x, t: x), 7.5)(x_t, t)
    torch.testing.assert_close(damped, x_t + 7.5 * (cond - uncond), rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [{}, {"image_guidance_scale": 1.5}, {"guidance_scale": 1.0}])
def test_equal_settings_make_noise_damped_guidance_the_plain_one(pipe, guidance) -> None:
    """A network of two levels has none between the deepest and the first: both networks are re-dilated alike."""
    plain = pipe(picture(), PROMPT, **LARGE, scale="scalecrafter:until=1", **guidance)
    damped = pipe(picture(), PROMPT, **LARGE, scale="scalecrafter:until=1,damped=yes", **guidance)
    assert torch.equal(plain.latents, damped.latents)


def test_noise_damping_acts_where_the_networks_differ(pipe) -> None:
    strong = pipe(picture(), PROMPT, **LARGE, scale="scalecrafter:factor=4,until=1,damped=no").latents
    damped = pipe(picture(), PROMPT, **LARGE, scale="scalecrafter:factor=4,until=1,damped=yes").latents
    assert torch.isfinite(damped).all()
    assert not torch.equal(strong, damped)


def test_sizes_beyond_the_training_switch_it_on_and_say_so(pipe, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="lvdm"):
        auto = pipe(picture(), PROMPT, **LARGE, num_inference_steps=5)
    assert "--scale scalecrafter:factor=2.0,until=0.4" in caplog.text
    assert auto.scale == recommended(2.0).text
    off = pipe(picture(), PROMPT, **LARGE, num_inference_steps=5, scale="off")
    assert off.scale == "off"
    assert not torch.equal(auto.latents, off.latents), "re-dilation changed nothing"
    replayed = pipe(picture(), PROMPT, **LARGE, num_inference_steps=5, scale=auto.scale)
    assert torch.equal(replayed.latents, auto.latents), "the plan in words gives another video"


def test_neutral_settings_and_the_trained_size_change_nothing(pipe) -> None:
    plain = pipe(picture(), PROMPT, scale="off").latents
    for text in ("auto", "scalecrafter", "scalecrafter:factor=1", "scalecrafter:factor=2,until=0"):
        assert torch.equal(pipe(picture(), PROMPT, scale=text).latents, plain), text


def test_weights_are_the_same_to_the_bit_after_a_run_that_breaks(pipe) -> None:
    unet = pipe.runtime.model.unet
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    plain = pipe(picture(), PROMPT, scale="off").latents

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(picture(), PROMPT, **LARGE, scale="scalecrafter:until=1,dispersed=yes", callback_on_step_end=stop)
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())
    assert torch.equal(pipe(picture(), PROMPT, scale="off").latents, plain)


@pytest.mark.parametrize("option", ["dispersed=yes", "attention=yes", "progressive=yes", "factor=2.5"])
def test_every_option_acts(pipe, option: str) -> None:
    plain = pipe(
        picture(), PROMPT, **LARGE, num_inference_steps=3, scale="scalecrafter:factor=3,until=1,progressive=no"
    )
    text = f"scalecrafter:factor=3,until=1,progressive=no,{option}"
    options = dict(part.split("=") for part in text.partition(":")[2].split(","))
    changed = "scalecrafter:" + ",".join(f"{key}={value}" for key, value in options.items())
    latents = pipe(picture(), PROMPT, **LARGE, num_inference_steps=3, scale=changed).latents
    assert torch.isfinite(latents).all()
    assert not torch.equal(latents, plain.latents), f"{option} has no effect"


def test_attention_is_scaled_as_published_and_given_back(pipe) -> None:
    assert math.isclose(attention_scale(4096, 2.0), 1.044465935734187, rel_tol=1e-12)
    assert attention_scale(4096, 1.0) == 1.0
    assert attention_scale(4, 4.0) == 1.0, "one token has no logarithm"
    unet = pipe.runtime.model.unet
    layers = attention_layers(unet)
    samples = Samples((1,), (0,))
    hooks = ScaledAttention(2.0).attach(unet, plain_hooks(samples, pipe.runtime.model.branches), samples)
    with hooks.layers.active():
        assert all(attention_of(layer, "self") is not attend for layer in layers)
    assert all(attention_of(layer, "self") is attend for layer in layers)


def test_the_first_steps_are_the_redilated_ones(pipe) -> None:
    crafter, layers = ScaleCrafter(recommended(2.0)), list(layers_of(pipe.runtime.model.unet))
    active = [bool(crafter.factors(layers, StepClock(10, step))) for step in range(10)]
    assert active == [True] * 4 + [False] * 6
    assert parse_scale("scalecrafter") is not None
