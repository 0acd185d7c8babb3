"""Guidance against the original's formulas, and what must hold exactly."""

from __future__ import annotations

import functools

import pytest
import torch
from golden_vectors import assert_close, case
from oracles import normal
from torch import Tensor

from lvdm.diffusion.guidance import (
    Denoiser,
    classifier_free_guidance,
    noise_damped,
    perturbed_guidance,
    rescale_guidance,
    sequential,
    text_image_guidance,
)

X, T = normal(0), torch.tensor([5, 5])
COND, UNCOND, IMAGE = normal(1), normal(2), normal(3)


def constant(value: Tensor) -> Denoiser:
    return lambda x_t, t: value


def test_guidance_and_rescale_of_the_original() -> None:
    golden = case("cfg_math")
    cond, uncond = golden.inputs["cond"], golden.inputs["uncond"]
    branches = sequential(constant(cond), constant(uncond))
    assert_close(golden, "cfg", classifier_free_guidance(branches, 7.5)(cond, T))
    assert_close(golden, "cfg_rescaled_0.7", classifier_free_guidance(branches, 7.5, 0.7)(cond, T))


def test_scale_one_is_the_conditional_model() -> None:
    assert torch.equal(classifier_free_guidance(sequential(constant(COND)), 1.0, 0.7)(X, T), COND)
    assert torch.equal(text_image_guidance(sequential(constant(COND)), 1.0, 1.0, 0.7)(X, T), COND)
    both = sequential(constant(COND), constant(UNCOND))
    assert torch.equal(classifier_free_guidance(both, 1.0)(X, T), COND), "the unconditional branch leaked in"


def test_scale_zero_is_the_unconditional_model() -> None:
    torch.testing.assert_close(
        classifier_free_guidance(sequential(constant(COND), constant(UNCOND)), 0.0)(X, T), UNCOND
    )


def test_text_and_image_guidance() -> None:
    branches = sequential(constant(COND), constant(UNCOND), constant(IMAGE))
    torch.testing.assert_close(
        text_image_guidance(branches, 7.5, 3.0)(X, T), UNCOND + 3.0 * (IMAGE - UNCOND) + 7.5 * (COND - IMAGE)
    )
    # The original stops with a TypeError at an image scale of 1 and an UnboundLocalError at a text scale of 1.
    torch.testing.assert_close(text_image_guidance(branches, 7.5, 1.0)(X, T), IMAGE + 7.5 * (COND - IMAGE))
    torch.testing.assert_close(text_image_guidance(branches, 1.0, 3.0)(X, T), COND + 2.0 * (IMAGE - UNCOND))
    plain = classifier_free_guidance(branches, 4.0)(X, T)
    torch.testing.assert_close(
        text_image_guidance(branches, 4.0, 4.0)(X, T), plain, msg="equal scales are plain guidance"
    )


def test_noise_damped_guidance_begins_at_the_output_of_its_base() -> None:
    branches = noise_damped(sequential(constant(COND), constant(UNCOND)), constant(IMAGE))
    torch.testing.assert_close(classifier_free_guidance(branches, 7.5)(X, T), IMAGE + 7.5 * (COND - UNCOND))
    unguided = noise_damped(lambda x_t, t: (COND, COND), constant(IMAGE))(X, T)
    assert unguided[0] is unguided[1] is COND, "without guidance in a step there is nothing to damp"


def test_perturbed_guidance_goes_away_from_the_weaker_model() -> None:
    guidance = functools.partial(classifier_free_guidance, guidance_scale=4.0)
    branches = sequential(constant(COND), constant(UNCOND), constant(IMAGE))
    expected = UNCOND + 4.0 * (COND - UNCOND) + 3.0 * (COND - IMAGE)
    torch.testing.assert_close(perturbed_guidance(guidance, branches, 3.0)(X, T), expected)
    torch.testing.assert_close(
        perturbed_guidance(guidance, branches, 3.0, 1.0)(X, T), rescale_guidance(expected, COND, 1.0)
    )
    alone = functools.partial(classifier_free_guidance, guidance_scale=1.0)
    weaker = sequential(constant(COND), constant(IMAGE))
    torch.testing.assert_close(perturbed_guidance(alone, weaker, 3.0)(X, T), COND + 3.0 * (COND - IMAGE))


def test_full_rescale_restores_the_deviation() -> None:
    rescaled = rescale_guidance(5.0 * COND + 1.0, UNCOND, 1.0)
    dims = (1, 2, 3, 4)
    torch.testing.assert_close(rescaled.std(dims), UNCOND.std(dims))
    assert rescale_guidance(COND, UNCOND, 0.0) is COND, "no rescale, nothing to do"
    assert torch.equal(rescale_guidance(torch.zeros_like(COND), UNCOND, 0.7), torch.zeros_like(COND)), (
        "constant outputs give NaN"
    )


def test_samples_do_not_mix() -> None:
    branches = sequential(constant(COND), constant(UNCOND))
    alone = sequential(constant(COND[1:]), constant(UNCOND[1:]))
    together = classifier_free_guidance(branches, 7.5, 0.7)(X, T)[1:]
    torch.testing.assert_close(together, classifier_free_guidance(alone, 7.5, 0.7)(X[1:], T[1:]))


def test_half_precision_outputs_are_combined_in_the_precision_of_the_latents() -> None:
    branches = sequential(constant(COND.half()), constant(UNCOND.half()))
    guided = classifier_free_guidance(branches, 7.5)(X, T)
    c, u = COND.half().float(), UNCOND.half().float()
    assert guided.dtype == torch.float32
    assert torch.equal(guided, u + 7.5 * (c - u)), "guidance was computed in half precision"


def test_missing_branches_are_named() -> None:
    with pytest.raises(ValueError, match=r"needs 2 branches, \(cond, uncond\); there are 1"):
        classifier_free_guidance(sequential(constant(COND)), 7.5)(X, T)
    with pytest.raises(ValueError, match="needs 3 branches"):
        text_image_guidance(sequential(constant(COND), constant(UNCOND)), 7.5, 3.0)(X, T)
    with pytest.raises(ValueError, match="noise-damped guidance needs 2 branches"):
        noise_damped(sequential(constant(COND)), constant(COND))(X, T)
    with pytest.raises(ValueError, match="perturbed guidance needs 2 branches"):
        perturbed_guidance(lambda branches: branches, sequential(constant(COND)), 3.0)(X, T)


class Asked:
    """A denoiser in float16 that is to be given the very x_t and t of the sampler."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert x_t is X, "a branch is not given x_t"
        assert t is T, "a branch is not given t"
        return self.value.half()


@pytest.mark.parametrize(
    "guide",
    [
        lambda branches: classifier_free_guidance(branches, 1.0),
        lambda branches: classifier_free_guidance(branches, 3.0, 0.5),
        lambda branches: text_image_guidance(branches, 1.0, 1.0),
        lambda branches: text_image_guidance(branches, 3.0, 2.0, 0.5),
        lambda branches: classifier_free_guidance(noise_damped(branches, Asked(normal(4))), 3.0),
        lambda branches: perturbed_guidance(lambda b: Told(classifier_free_guidance(b, 3.0)), branches, 2.0, 0.5),
    ],
    ids=["off", "text", "both off", "text and image", "damped", "perturbed"],
)
def test_branches_are_given_what_the_sampler_gives_and_are_combined_in_its_precision(guide) -> None:
    values = [value.half().float() for value in (COND, UNCOND, IMAGE)]
    found = guide(sequential(*map(Asked, values)))(X, T)
    assert found.dtype == X.dtype, "the precision of x_t is lost"
    assert torch.equal(found, guide(sequential(*map(Exact, values)))(X, T)), "outputs are combined in half precision"


class Exact(Asked):
    """The same in float32, with numbers that float16 has."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return super().__call__(x_t, t).float()


class Told:
    """A guided denoiser that is to be given t, too."""

    def __init__(self, guided: Denoiser) -> None:
        self.guided = guided

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert t is T, "what the guidance makes is not given t"
        return self.guided(x_t, t)
