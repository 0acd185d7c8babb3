"""Faster at other numbers: deep features kept for some steps, guidance in some of them. Counted in operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from small_model import FRAMES, picture, write_small_model
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches, Denoiser, classifier_free_guidance, noise_damped
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.deep_cache import DeepCache
from lvdm.plugins.guidance_steps import GuidanceSteps
from lvdm.plugins.hooks import Hooks, Samples, plain_hooks
from lvdm.plugins.methods.deep_cache import DeepCacheOptions, parse_deep_cache
from lvdm.plugins.methods.guidance_steps import GuidanceStepsOptions, parse_guidance_steps
from lvdm.plugins.methods.perturbed_guidance import parse_perturbed_guidance
from lvdm.plugins.perturbed_guidance import PerturbedGuidance

PROMPT, SAMPLES = "a red ball moves to the right", Samples((1,), (0,))
X, T = torch.randn(1, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([600])


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> DynamiCrafterPipeline:
    return DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path_factory.mktemp("small")), device="cpu")


@pytest.fixture(scope="module")
def conditions(pipe) -> list[Conditioning]:
    draw = torch.Generator().manual_seed(7)
    texts, images = torch.randn(2, 1, 16, 32, generator=draw), torch.randn(2, 1, 2 * FRAMES, 32, generator=draw)
    full = Conditioning(texts[0], images[0], torch.randn(X.shape, generator=draw), torch.tensor([10]))
    return [full, full.with_text(texts[1]).with_image(images[1])]


def all_outputs(branches: Branches) -> Denoiser:
    return lambda x_t, t: torch.stack(branches(x_t, t))


def hooks_of(pipe: DynamiCrafterPipeline, batched: bool = True) -> Hooks:
    model = pipe.runtime.model
    return plain_hooks(SAMPLES, lambda own: model.branches(own, batched), 4, guidance=all_outputs)


def at(hooks: Hooks, step: int, denoise: Denoiser, x_t: Tensor = X) -> tuple[Tensor, int]:
    """The outputs in a step, and the operations that they took."""
    hooks.clock.step = step
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        outputs = denoise(x_t, T)
    return outputs, int(counter.get_total_flops())


@pytest.mark.parametrize("batched", [True, False], ids=["one_batch", "one_by_one"])
def test_kept_features_are_those_of_the_step_before(pipe, conditions, batched: bool) -> None:
    """At the same latents and time nothing differs, in fewer operations; at others the outer blocks see what is new."""
    hooks = hooks_of(pipe, batched)
    cached = DeepCache(DeepCacheOptions(2, 2)).attach(pipe.runtime.model.unet, hooks, SAMPLES)
    plain, evaluate = hooks.denoiser(conditions), cached.denoiser(conditions)
    expected, whole = at(hooks, 0, plain)
    spent = []
    for step in range(4):
        found, operations = at(hooks, step, evaluate)
        assert torch.equal(found, expected), f"step {step} differs at the same latents and time"
        spent.append(operations)
    assert spent[0] == spent[2] == whole, f"operations of the steps are {spent}, of the plain network {whole}"
    assert spent[1] == spent[3] < whole / 1.5, f"operations of the steps are {spent}"
    changed, exact = at(hooks, 3, evaluate, -X)[0], at(hooks, 3, plain, -X)[0]
    assert not torch.allclose(changed, expected), "new latents have no effect"
    assert not torch.allclose(changed, exact), "nothing was kept"


def test_what_is_kept_belongs_to_a_condition_and_to_what_stands_in_for_layers(pipe, conditions) -> None:
    """A branch alone finds its part of a batch, and the perturbed network does not find the plain one's features."""
    hooks = hooks_of(pipe)
    unet = pipe.runtime.model.unet
    cached = DeepCache(DeepCacheOptions(2, 2)).attach(unet, hooks, SAMPLES)
    both, alone = cached.denoiser(conditions), cached.denoiser(conditions[1:])
    expected, whole = at(hooks, 0, both)
    found, operations = at(hooks, 1, alone)
    assert operations < whole / 3, "a branch of the batch did not find what was kept"
    assert torch.allclose(found[0], expected[1], rtol=1e-4, atol=1e-5), "a branch found features of another one"
    guided = PerturbedGuidance(parse_perturbed_guidance("stg:scale=1"), conditions[0]).attach(unet, cached, SAMPLES)
    with torch.inference_mode(), guided.layers.active():
        branches = guided.branches(conditions)
        for step in (2, 3):
            hooks.clock.step = step
            full, _, perturbed = branches(X, T)
            assert not torch.allclose(full, perturbed), f"step {step}: the perturbed network is the plain one"
            assert torch.allclose(full, expected[0], rtol=1e-4, atol=1e-5), f"step {step}: what is plain is perturbed"


def counted_hooks(calls: list[int]) -> Hooks:
    """Branches whose outputs are x_t + 1 and x_t - 2, for any conditions; `calls` are how many were evaluated."""

    def branches(conditions: Sequence[Any]) -> Branches:
        def evaluate(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
            calls.append(len(conditions))
            return tuple(x_t + shift for shift in (1.0, -2.0)[: len(conditions)])

        return evaluate

    return plain_hooks(SAMPLES, branches, 8, guidance=lambda own: classifier_free_guidance(own, 3.0))


@pytest.mark.parametrize(
    ("text", "evaluated"),
    [
        ("until=0.5", [2, 2, 2, 2, 1, 1, 1, 1]),
        ("after=0.25,until=0.5", [1, 1, 2, 2, 1, 1, 1, 1]),
        ("interval=3", [2, 1, 1, 2, 1, 1, 2, 1]),
        ("after=0.25,interval=2", [1, 1, 2, 1, 2, 1, 2, 1]),
    ],
)
def test_guidance_evaluates_the_other_branch_in_its_steps(text: str, evaluated: list[int]) -> None:
    calls = list[int]()
    hooks = counted_hooks(calls)
    options = parse_guidance_steps(text).options
    denoise = GuidanceSteps(options).attach(None, hooks, SAMPLES).denoiser(["cond", "uncond"])  # type: ignore[arg-type, list-item]
    for step in range(8):
        hooks.clock.step = step
        found = denoise(step * X, T) - step * X
        guided = round(options.after * 8) <= step < round(options.until * 8)
        expected = -2.0 + 3.0 * 3.0 if guided else 1.0  # u + s (c - u), else c
        assert torch.allclose(found, torch.full_like(X, expected), atol=1e-5), f"step {step}"
    assert calls == evaluated


def test_noise_damped_guidance_leaves_steps_without_guidance() -> None:
    outputs = (X, X)
    assert noise_damped(lambda x, t: outputs, lambda x, t: 2 * X)(X, T) == outputs


@pytest.mark.parametrize(
    ("parse", "text", "problem"),
    [
        (parse_deep_cache, "interval=1", "interval 1 is not possible"),
        (parse_deep_cache, "blocks=0", "blocks 0 is not possible"),
        (parse_guidance_steps, "after=0.5,until=0.5", "no step is after 0.5 and before 0.5"),
        (parse_guidance_steps, "until=2", "until 2 is not possible"),
        (parse_guidance_steps, "interval=0", "interval 0 is not possible"),
    ],
)
def test_what_is_not_possible_is_said(parse: Callable[[str], object], text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(text)


def test_neutral_steps_change_no_bit_and_guidance_in_no_step_is_none(pipe) -> None:
    plain = pipe(picture(), PROMPT).video
    assert torch.equal(pipe(picture(), PROMPT, guidance_steps="interval=1").video, plain)
    none = pipe(picture(), PROMPT, guidance_steps="until=0.2").video  # of two steps
    assert torch.equal(none, pipe(picture(), PROMPT, guidance_scale=1.0).video)
    assert GuidanceStepsOptions() == parse_guidance_steps("").options
