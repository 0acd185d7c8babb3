"""A training step of a model of structure: depth beside the noise, from the batch or from the estimator."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from golden_vectors import fill_module, rand
from small_model import FRAMES, SIDE, small_structure_yaml

from lvdm.conditioning import depth_condition
from lvdm.config import parse_component
from lvdm.models.depth_diffusion import FLAT_DEPTH, LatentDepthDiffusion
from lvdm.models.training_draws import TrainingDraws


def build(estimator: bool = False, **params: Any) -> LatentDepthDiffusion:
    tree = copy.deepcopy(small_structure_yaml(estimator)["model"])
    tree["params"] |= params
    model: LatentDepthDiffusion = parse_component(tree, "model").build()
    fill_module(model, "")
    return model


def batch(size: int = 4) -> dict[str, Any]:
    return {
        "video": rand("video", (size, 3, FRAMES, SIDE, SIDE)).clamp(-1, 1),
        "depth": rand("depth", (size, 1, FRAMES, SIDE, SIDE)),
        "caption": ["a ball moves"] * size,
        "fps": torch.full((size,), 10),
        "number": torch.arange(size),
    }


def draws(model: LatentDepthDiffusion, drop: list[float]) -> TrainingDraws:
    latents = torch.zeros(model.latent_shape(batch(len(drop))))
    none = torch.zeros(len(drop), dtype=torch.int64)
    return TrainingDraws(torch.tensor(drop), none, none.bool(), none, latents, latents)


@pytest.mark.parametrize("depth_range", ["clip", "frame"])
def test_the_network_reads_depth_as_in_sampling(depth_range: str) -> None:
    model = build(depth_range=depth_range, uncond_prob=0.2)
    given = batch()
    latents, conditioning = model.training_batch(given, draws(model, [0.1, 0.3, 0.5, 0.9]))
    expected = depth_condition(given["depth"], latents.shape[-2:], depth_range == "clip")
    assert torch.equal(conditioning.concat, expected), "drop_depth is off: depth always stays"
    assert conditioning.image.shape[1] == 0
    empty, full = model.embed_text(["", "a ball moves"])
    expected = torch.stack([empty, empty, full, full])  # of another batch size, which some processors round otherwise
    torch.testing.assert_close(conditioning.text, expected, atol=1e-4, rtol=0, msg=lambda m: f"texts dropped: {m}")


def test_depth_is_dropped_as_images_are() -> None:
    model = build(uncond_prob=0.2, drop_depth=True)
    _, conditioning = model.training_batch(batch(), draws(model, [0.1, 0.3, 0.5, 0.9]))
    flat = [bool((concat == FLAT_DEPTH).all()) for concat in conditioning.concat]
    assert flat == [False, True, True, False]


def test_without_depth_it_is_estimated_or_missed() -> None:
    given = {name: value for name, value in batch(1).items() if name != "depth"}
    model = build(estimator=True)
    latents, conditioning = model.training_batch(given, draws(model, [0.9]))
    frames = model.depth_stage_model(given["video"][0].transpose(0, 1))
    expected = depth_condition(frames[None, None], latents.shape[-2:], over_clip=False)
    assert torch.equal(conditioning.concat, expected)
    model = build()
    with pytest.raises(ValueError, match="built without its depth estimator; give depth"):
        model.training_batch(given, draws(model, [0.9]))


def test_a_step_trains_what_reads_the_depth() -> None:
    model = build()
    loss = model._step(batch(2), "train")["loss"]
    loss.backward()
    gradient = model.unet.input_blocks[0][0].weight.grad
    assert gradient is not None
    assert gradient[:, -1].abs().max() > 0
