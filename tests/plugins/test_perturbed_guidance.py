"""Guidance by a weakened model: closed forms, weak networks made by hand, and nothing where it is not at work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import Any

import pytest
import torch
from small_model import FRAMES, picture, small_videocrafter_yaml, write_model, write_small_model
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import (
    Guidance,
    classifier_free_guidance,
    perturbed_guidance,
    rescale_guidance,
    text_image_guidance,
)
from lvdm.modules.attention import Context, SpatialTransformer, TemporalTransformer
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.chunked import Chunked
from lvdm.plugins.hooks import Plugin, Samples, attached, plain_hooks, unguided
from lvdm.plugins.methods.perturbed_guidance import parse_perturbed_guidance
from lvdm.plugins.perturbed_guidance import PerturbedGuidance, blocks_with, check_blocks
from lvdm.plugins.scalecrafter import ScaleCrafter
from lvdm.plugins.scaling import ScalePlan
from lvdm.request.settings import GenerationSettings

PROMPT = "a red ball moves to the right"
CFG = partial(classifier_free_guidance, guidance_scale=3.0, guidance_rescale=0.7)
THREE_WAY = partial(text_image_guidance, guidance_scale=3.0, image_guidance_scale=1.5)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, T = noise(0, 1, 4, FRAMES, 8, 8), torch.tensor([600])
FULL = Conditioning(noise(1, 1, 16, 32), noise(2, 1, 2 * FRAMES, 32), noise(3, 1, 4, FRAMES, 8, 8), torch.tensor([10]))
IMAGE = FULL.with_text(noise(4, 1, 16, 32))
UNCOND = IMAGE.with_image(noise(5, 1, 2 * FRAMES, 32))


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def plain(pipe):
    return pipe(picture(), PROMPT, num_inference_steps=4)


def guided(
    model: Any,
    plugins: Sequence[Plugin],
    conditions: Sequence[Conditioning] = (FULL,),
    guidance: Guidance = unguided,
) -> Tensor:
    """What a sampler is given in a step that is the only one."""
    samples = Samples((1,), (0,))
    hooks = plain_hooks(samples, partial(model.branches, batched=False), guidance=guidance)
    with torch.no_grad():
        return attached(plugins, model.unet, hooks, samples).denoiser(conditions)(X, T)


def weak(text: str) -> PerturbedGuidance:
    return PerturbedGuidance(parse_perturbed_guidance(text), FULL)


@torch.no_grad()
def output_of(unet: UNetModel) -> Tensor:
    """The output under the full condition."""
    return unet(torch.cat([X, FULL.concat], dim=1), T, FULL.context, FULL.fps)


def without_frames(unet: UNetModel, *blocks: str) -> UNetModel:
    """A copy whose transformers over frames add nothing, as their last projections are zero."""
    unet = copy.deepcopy(unet)
    for name in blocks:
        for layer in blocks_with(unet, TemporalTransformer)[name].modules():
            if isinstance(layer, TemporalTransformer):
                for parameter in layer.proj_out.parameters():
                    parameter.data.zero_()
    return unet


def values_alone(unet: UNetModel, *blocks: str) -> UNetModel:
    """A copy whose attention between pixels is its values, projected."""
    unet = copy.deepcopy(unet)
    for name in blocks:
        for layer in blocks_with(unet, SpatialTransformer)[name].modules():
            if isinstance(layer, SpatialTransformer):
                attention = layer.transformer_blocks[0].attn1
                attention.forward = MethodType(lambda own, x, *_: own.to_out(own.to_v(x)), attention)
    return unet


def test_the_sum_is_that_of_the_papers() -> None:
    c, u, i, w = (noise(seed, 2, 4, 3, 5, 5) for seed in range(4))
    x_t, t = torch.zeros_like(c), torch.tensor([3, 3])
    cases: list[tuple[Guidance, tuple[Tensor, ...], Tensor]] = [
        (unguided, (c,), c),
        (CFG, (c, u), rescale_guidance(u + 3 * (c - u), c, 0.7)),
        (THREE_WAY, (c, u, i), u + 1.5 * (i - u) + 3 * (c - i)),
    ]
    for guidance, outputs, expected in cases:
        result = perturbed_guidance(guidance, lambda *_, o=outputs: (*o, w), 2.0)(x_t, t)
        torch.testing.assert_close(result, expected + 2 * (c - w), msg=f"{len(outputs)} branches: not g + s (c - w)")
        restored = perturbed_guidance(guidance, lambda *_, o=outputs: (*o, w), 2.0, 1.0)(x_t, t)
        spread, wanted = restored.std((1, 2, 3, 4)), c.std((1, 2, 3, 4))
        torch.testing.assert_close(spread, wanted, msg=f"rescale 1 gives deviations {spread}, not those of c, {wanted}")
    with pytest.raises(ValueError, match="needs 2 branches"):
        perturbed_guidance(unguided, lambda *_: (c,), 2.0)(x_t, t)


@pytest.mark.parametrize(
    ("text", "by_hand", "conditions", "guidance"),
    [
        ("stg", without_frames, (FULL,), unguided),
        ("stg:blocks=init+output.1", without_frames, (FULL, UNCOND), CFG),
        ("pag", values_alone, (FULL, UNCOND), CFG),
        ("pag:blocks=input.3+output.0", values_alone, (FULL, UNCOND, IMAGE), THREE_WAY),
    ],
    ids=["stg alone", "stg guided", "pag guided", "pag three-way"],
)
def test_the_step_moves_away_from_a_network_weakened_by_hand(
    pipe, text: str, by_hand: Callable[..., UNetModel], conditions, guidance
) -> None:
    model, options = pipe.runtime.model, parse_perturbed_guidance(text).options
    difference = output_of(model.unet) - output_of(by_hand(model.unet, *options.names))
    assert difference.abs().max() > 1e-3, "weakening does nothing: the test shows nothing"
    plain = guided(model, (), conditions, guidance)
    for scale in (1.0, 2.0):
        separator = "," if ":" in text else ":"
        moved = guided(model, [weak(f"{text}{separator}scale={scale}")], conditions, guidance) - plain
        error = (moved - scale * difference).abs().max() / difference.abs().max()
        assert error < 1e-4, f"at scale {scale} the step is off by {error:.3g} of the difference"


def test_one_evaluation_more_and_the_network_as_it_was_whatever_happens(pipe, monkeypatch) -> None:
    model, plugins = pipe.runtime.model, [weak("stg:blocks=output"), weak("pag:blocks=output")]
    keys, before = list(model.unet.state_dict()), output_of(model.unet)
    calls: list[int] = []
    apply = model.apply_model
    monkeypatch.setattr(model, "apply_model", lambda *args: calls.append(1) or apply(*args))
    for plugin in plugins:
        calls.clear()
        guided(model, [plugin], (FULL, UNCOND), CFG)
        assert len(calls) == 3, f"{len(calls)} evaluations instead of those of two branches and one more"

    def broken(x_t: Tensor, *others: object) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("broken")
        return apply(x_t, *others)

    monkeypatch.setattr(model, "apply_model", broken)
    for plugin in plugins:
        calls.clear()
        with pytest.raises(RuntimeError, match="broken"):
            guided(model, [plugin], (FULL, UNCOND), CFG)
        assert torch.equal(output_of(model.unet), before), "the network computes otherwise than before"
    assert list(model.unet.state_dict()) == keys


def test_a_network_that_is_weak_already_is_guided_nowhere(pipe) -> None:
    model = copy.deepcopy(pipe.runtime.model)
    model.model.diffusion_model = without_frames(model.unet, "middle")
    assert torch.equal(guided(model, [weak("stg:scale=5")]), guided(model, ())), "e_weak is not e_cond"


@pytest.mark.parametrize("text", ["stg:blocks=init+middle", "pag:blocks=output"])
def test_networks_in_pieces_are_weakened_too(pipe, text: str) -> None:
    model = pipe.runtime.model
    whole, pieces = (guided(model, [*more, weak(text)], (FULL, UNCOND), CFG) for more in ((), (Chunked(2),)))
    error = (pieces - whole).abs().max() / whole.abs().max()
    assert error < 1e-4, f"in pieces the step is off by {error:.3g} of the largest value"


def test_noise_damped_guidance_keeps_the_difference(pipe) -> None:
    """Which shifts all branches, so that a term in all of them would be lost, and asks for one of them alone."""
    model = pipe.runtime.model
    scaled = [ScaleCrafter(ScalePlan(2.0, 1.0, False, True, False, False))]
    plain, moved = (guided(model, [*own, *scaled], (FULL, UNCOND), CFG) for own in ((), [weak("stg:scale=2")]))
    alone, apart = (guided(model, [*own, *scaled]) for own in ((), [weak("stg:scale=2")]))
    difference = apart - alone
    assert difference.abs().max() > 1e-3, "weakening does nothing: the test shows nothing"
    error = (moved - plain - difference).abs().max() / difference.abs().max()
    assert error < 1e-4, f"the step is off by {error:.3g} of the difference"


@pytest.mark.parametrize("text", ["stg:scale=0", "pag:scale=0,blocks=input+output", "stg:until=0.1"])
def test_neutral_settings_change_no_bit(pipe, plain, text: str) -> None:
    video = pipe(picture(), PROMPT, num_inference_steps=4, perturbed_guidance=text).video
    assert torch.equal(video, plain.video), f"{text} changes the video"


@pytest.mark.parametrize(
    ("text", "changed"),
    [("stg:after=0.5", [False, False, True, True]), ("pag:until=0.25", [True, True, True, True])],
)
def test_steps_before_the_range_are_the_plain_ones_to_the_bit(pipe, text: str, changed: list[bool]) -> None:
    def latents(**given: Any) -> list[Tensor]:
        seen: list[Tensor] = []

        def watch(step: int, t: int, x_t: Tensor, x_0: Tensor) -> None:
            seen.append(x_t.clone())

        pipe(picture(), PROMPT, num_inference_steps=4, callback_on_step_end=watch, **given)
        return seen

    found = [not torch.equal(*pair) for pair in zip(latents(), latents(perturbed_guidance=text), strict=True)]
    assert found == changed, f"steps that differ: {found}"


def test_steps_of_the_range_alone_take_longer(pipe, monkeypatch) -> None:
    model, calls = pipe.runtime.model, list[int]()
    apply = model.apply_model

    def record(x: torch.Tensor, t: torch.Tensor, context: Context, *rest: torch.Tensor) -> torch.Tensor:
        calls.append(len(context.text))
        return apply(x, t, context, *rest)

    monkeypatch.setattr(model, "apply_model", record)
    pipe(picture(), PROMPT, num_inference_steps=4, perturbed_guidance="pag:after=0.25,until=0.75")
    assert calls == [2, 2, 1, 2, 1, 2], f"batches of {calls}"


@pytest.mark.parametrize(
    "given",
    [
        {"guidance_scale": 1.0},
        {"image_guidance_scale": 1.5},
        {"end_image": picture(seed=1), "between": "trf"},
        {"num_frames": FRAMES + 1, "long_video": "fifo"},
        {"loop": True, "long_video": "cyclic", "num_frames": FRAMES + 2},
        {"num_frames": FRAMES + 3, "chunk_frames": 2},
    ],
    ids=lambda given: "+".join(given),
)
def test_it_acts_in_every_kind_of_video(pipe, given: dict[str, Any]) -> None:
    without, video = (
        pipe(picture(), PROMPT, **given, **own).video for own in ({}, {"perturbed_guidance": "stg:blocks=output"})
    )
    assert torch.isfinite(video).all(), "it gives numbers that are none"
    assert not torch.equal(video, without), "nothing changed"


def test_it_acts_without_an_image(tmp_path) -> None:
    folder = write_model(tmp_path / "t2v", small_videocrafter_yaml())
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")
    without, video = (pipe(prompt=PROMPT, **own).video for own in ({}, {"perturbed_guidance": "pag:blocks=output"}))
    assert torch.isfinite(video).all(), "it gives numbers that are none"
    assert not torch.equal(video, without), "nothing changed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"perturbed_guidance": "sgt"}, "perturbed_guidance 'sgt' is not known; did you mean 'stg'"),
        ({"perturbed_guidance": "stg:scale=-1"}, "scale -1 is not possible; use a number from 0 to 20"),
        ({"perturbed_guidance": "stg:scale=.nan"}, "scale should be a finite number, it is nan"),
        ({"perturbed_guidance": "pag:blocks=+"}, "no block is chosen; use blocks=middle"),
        ({"perturbed_guidance": "pag:blocks=decoder"}, "block 'decoder' is not known; use init, middle, input.N"),
        ({"perturbed_guidance": "pag:after=0.5,until=0.5"}, "no step is after 0.5 and before 0.5"),
        ({"perturbed_guidance": "pag:rescale=2"}, "rescale 2 is not possible"),
        ({"perturbed_guidance": "pag:block=middle"}, "unknown key 'block'; did you mean 'blocks'"),
        (
            {"perturbed_guidance": "stg:until=0.5", "long_video": "fifo"},
            "after and until of perturbed_guidance work on a whole clip",
        ),
    ],
)
def test_what_is_not_possible_is_said_before_anything_is_loaded(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationSettings(**given)


def test_blocks_that_are_not_there_are_named_with_those_that_are(pipe) -> None:
    config = pipe.runtime.model.unet.config
    for text in ("stg:blocks=middle+output.2", "stg:blocks=output.7"):
        with pytest.raises(ValueError, match=r"no block 'output.\d' .* use some of init, input.3, middle, output.0"):
            check_blocks(text, config)
    with pytest.raises(ValueError, match=r"no block 'init' with attention between pixels; use some of input.3, middle"):
        pipe(picture(), PROMPT, perturbed_guidance="pag:blocks=init")
    check_blocks("stg:blocks=init+input+middle+output", config)
    check_blocks(None, config)
