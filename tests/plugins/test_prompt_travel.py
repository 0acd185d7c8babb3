"""Several sentences over time, against the original for two of them, and the rules for more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from golden_vectors import assert_close, case
from tiny_freenoise import videocrafter_unet
from tiny_models import reference_unet
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.modules.attention import Context
from lvdm.plugins.chunked import Chunked
from lvdm.plugins.cyclic import CyclicLoop, forward_and_backward
from lvdm.plugins.freenoise import FreeNoise
from lvdm.plugins.hooks import Samples, attached, plain_hooks
from lvdm.plugins.prompt_travel import (
    PromptTravel,
    is_injected,
    prompt_targets,
    prompt_weights,
)

SCHEDULE = NoiseSchedule.from_config(ScheduleConfig())
SAMPLES = Samples((1,), (0,))


def of_the_original(emb: Tensor, num_frames: int, held: int, blended: int) -> tuple[Tensor, Tensor]:
    """The original holds each of two sentences at its end of the video and blends them in the middle quarter."""
    starts = (0, num_frames - held - 1)
    weights = prompt_weights(num_frames, starts, blended - 1)
    return torch.einsum("t k, k n d -> t n d", weights, emb), emb[prompt_targets(num_frames, starts)]


@pytest.mark.parametrize("num_frames", [16, 20, 24, 26, 64])
def test_two_sentences_as_in_the_original(num_frames: int) -> None:
    reference = case("fn/mp_context")
    held, blended, _ = reference.meta[f"len_{num_frames}"]
    contexts = of_the_original(reference.inputs["emb"], num_frames, held, blended)
    assert_close(reference, f"ctx_{num_frames}", torch.stack(contexts))


@pytest.mark.parametrize("chunked", [False, True])
@torch.no_grad()
def test_injection_reaches_encoder_and_middle(chunked: bool) -> None:
    reference = case("fn/unet_mp_F20")
    x = reference.inputs
    held, blended, _ = case("fn/mp_context").meta["len_20"]
    mixed, target = of_the_original(x["emb"], 20, held, blended)
    unet = videocrafter_unet()
    travel = PromptTravel(SCHEDULE, mixed[None], target[None])
    condition = Conditioning(x["emb"][:1], torch.zeros(1, 0, 64), torch.zeros(1, 0, 20, 8, 8), x["fps"])

    def branches(conditions: Sequence[Conditioning]) -> Any:
        """What the network would read, in the place of what it makes of it."""
        contexts = [each.text if each.tokens is None else each.tokens(each) for each in conditions]
        return lambda x_t, t: tuple(contexts)

    plain = plain_hooks(SAMPLES, branches)
    methods = [FreeNoise(), travel, *([Chunked(7)] if chunked else [])]
    hooks = attached(methods, unet, plain, SAMPLES)
    with hooks.layers.active():
        without, injected = travel.contexts(unet, condition)
        assert injected.elsewhere, "no layer reads the target"
        assert_close(reference, "y_inject", unet(x["x"], x["timesteps"], injected, x["fps"]))
        assert_close(reference, "y_noinject", unet(x["x"], x["timesteps"], without, x["fps"]))
        denoise = hooks.branches([condition, condition])
        early, uncond = denoise(x["x"], torch.tensor([950]))
        middle, _ = denoise(x["x"], torch.tensor([800]))
        assert_same_tokens(early, injected)
        assert_same_tokens(middle, without)
        assert torch.equal(uncond, condition.text), "the negative prompt does not travel"


def assert_same_tokens(found: Context, expected: Context) -> None:
    """The same text in all layers, also in those that read another one."""
    assert torch.equal(found.text, expected.text)
    assert found.elsewhere.keys() == expected.elsewhere.keys(), "other layers read other tokens"
    assert all(torch.equal(found.elsewhere[layer].text, other.text) for layer, other in expected.elsewhere.items())


@pytest.mark.parametrize("steps", [50, 100, 20, 10])
def test_injected_steps_scale_with_their_number(steps: int) -> None:
    injected = [is_injected(int(t), SCHEDULE) for t in make_timesteps("uniform_trailing", steps)]
    assert injected == [i < steps / 10 or i > 3 * steps / 10 for i in range(steps)]


def test_three_sentences() -> None:
    weights = prompt_weights(40, (0, 12, 30), 10)
    assert torch.allclose(weights.sum(1), torch.ones(40))
    assert weights[2].tolist() == [1, 0, 0]
    assert weights[12].tolist() == [0, 1, 0]
    assert weights[20].tolist() == [0, 1, 0]
    assert weights[25].tolist() == [0, 0.5, 0.5]
    assert weights[30:].tolist() == [[0, 0, 1]] * 10
    assert prompt_targets(40, (0, 12, 30)) == [1] * 12 + [2] * 28


def test_close_sentences_blend_no_longer_than_to_the_one_before() -> None:
    weights = prompt_weights(20, (0, 2, 4), 10)
    assert weights[2].tolist() == [0, 1, 0]
    assert weights[1].tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("starts", [(0, 20), (0, 5, 5), (0, 7, 3), (1, 4), ()])
def test_impossible_frames_are_refused(starts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="prompts should take over at ascending frames from 1 to 19"):
        prompt_weights(20, starts)


@torch.no_grad()
def test_the_hooks_below_are_asked() -> None:
    """In a cyclic loop the image tokens that go with the prompts are those of the cycle."""
    unet, frames = reference_unet("256", 4), 6
    per_frame, width = unet.config.image_tokens_per_frame, unet.config.context_dim
    assert width is not None
    image = torch.randn(1, frames * per_frame, width, generator=torch.Generator().manual_seed(1))
    condition = Conditioning(
        torch.zeros(1, 77, width), image, torch.zeros(1, 4, frames, 8, 8), torch.ones(1, dtype=torch.int64)
    )
    texts = torch.zeros(1, frames, 77, width)
    seen: list[Conditioning] = []

    def branches(conditions: Sequence[Conditioning]) -> Branches:
        seen.extend(conditions)
        return lambda x_t, t: tuple(x_t for _ in conditions)

    methods = [CyclicLoop(4, 2), PromptTravel(SCHEDULE, texts, texts)]
    hooks = attached(methods, unet, plain_hooks(SAMPLES, branches), SAMPLES)
    denoise = hooks.branches([condition, condition])
    assert len(denoise(torch.zeros(1, 4, frames, 8, 8), torch.tensor([800]))) == 2
    turned = forward_and_backward(condition, per_frame).image
    assert not torch.equal(turned, image), "the cycle turns nothing here"
    assert seen, "the hooks below are not asked"
    assert all(torch.equal(each.image, turned) for each in seen)
    assert sum(each.tokens is not None for each in seen) == 2, "with and without injection"
    for each in seen:
        if each.tokens is not None:
            assert torch.equal(each.tokens(each).image, unet.split_context(each.context, frames).image)
