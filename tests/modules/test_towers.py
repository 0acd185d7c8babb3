"""The CLIP towers against the original's numbers and the released keys, and what they must never mix up."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from golden_vectors import assert_close, case, fill_module, image_tensor, rand
from manifests import entries, manifest
from torch import Tensor, nn

from lvdm.modules.encoders.condition import FrozenOpenCLIPEmbedder, FrozenOpenCLIPImageEmbedderV2

PREPROCESS_SIZES = ["320x512", "256x256", "576x1024", "224x224", "100x80", "225x300", "1000x300"]
Tower = FrozenOpenCLIPEmbedder | FrozenOpenCLIPImageEmbedderV2


@pytest.fixture(scope="module")
def text() -> FrozenOpenCLIPEmbedder:
    config = FrozenOpenCLIPEmbedder.Config(layer="penultimate", model_cfg=case("clip_text").meta["arch"])
    return fill_module(FrozenOpenCLIPEmbedder(config), "cond_stage_model.")


@pytest.fixture(scope="module")
def image() -> FrozenOpenCLIPImageEmbedderV2:
    config = FrozenOpenCLIPImageEmbedderV2.Config(model_cfg=case("clip_image").meta["arch"])
    return fill_module(FrozenOpenCLIPImageEmbedderV2(config), "embedder.")


@pytest.mark.parametrize("model", ["256", "512", "1024"])
def test_state_dicts_are_those_of_the_released_checkpoint(model: str) -> None:
    with torch.device("meta"):
        text = FrozenOpenCLIPEmbedder(FrozenOpenCLIPEmbedder.Config())
        image = FrozenOpenCLIPImageEmbedderV2(FrozenOpenCLIPImageEmbedderV2.Config())
    assert entries(text) == manifest(model, "cond_stage_model."), "keys, shapes or order differ from the released file"
    assert entries(image) == manifest(model, "embedder."), "keys, shapes or order differ from the released file"


@torch.no_grad()
def test_text_tokens_equal_the_original(text: FrozenOpenCLIPEmbedder) -> None:
    reference = case("clip_text")
    assert_close(reference, "penultimate", text(reference.meta["prompts"]))


@torch.no_grad()
def test_the_last_layer_equals_the_original() -> None:
    reference = case("clip_text")
    config = FrozenOpenCLIPEmbedder.Config(layer="last", model_cfg=reference.meta["arch"])
    text = fill_module(FrozenOpenCLIPEmbedder(config), "cond_stage_model.")
    assert_close(reference, "last_prompt0", text(reference.meta["prompts"][:1]))


@torch.no_grad()
def test_image_tokens_equal_the_original(image: FrozenOpenCLIPImageEmbedderV2) -> None:
    reference = case("clip_image")
    assert_close(reference, "tokens", image(image_tensor("golden/clip_image/img", 320, 512)))
    assert_close(reference, "tokens_of_zero_image", image(torch.zeros(1, 3, 320, 512)))


@pytest.mark.parametrize("size", PREPROCESS_SIZES)
@torch.no_grad()
def test_preprocessing_equals_the_original(image: FrozenOpenCLIPImageEmbedderV2, size: str) -> None:
    reference = case("clip_preprocess")
    height, width = (int(side) for side in size.split("x"))
    x = image.preprocess(image_tensor(f"golden/clip_preprocess/img{size}", height, width))
    if f"full_{size}" in reference.outputs:
        assert_close(reference, f"full_{size}", x)
    assert_close(reference, f"crop_{size}_tl", x[:, :, :16, :16])
    assert_close(reference, f"crop_{size}_mid", x[:, :, 100:120, 90:114])
    assert_close(reference, f"crop_{size}_br", x[:, :, -12:, -12:])
    assert_close(reference, f"mean_std_{size}", torch.stack([x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3))]))


@pytest.mark.slow
@torch.no_grad()
def test_full_size_text_equals_the_original() -> None:
    reference = case("full_clip_text")
    text = fill_module(FrozenOpenCLIPEmbedder(FrozenOpenCLIPEmbedder.Config(layer="penultimate")), "cond_stage_model.")
    tokens = text(reference.meta["prompts"])
    assert_close(reference, "y_rows", tokens[:, reference.meta["rows"]])
    assert_close(reference, "y_mean_std", torch.stack([tokens.mean(), tokens.std()]))


@pytest.mark.slow
@torch.no_grad()
def test_full_size_image_equals_the_original() -> None:
    reference = case("full_clip_image")
    image = fill_module(FrozenOpenCLIPImageEmbedderV2(FrozenOpenCLIPImageEmbedderV2.Config()), "embedder.")
    tokens = image(image_tensor("full/clip_image/img", 320, 512))
    assert_close(reference, "y_rows", tokens[:, reference.meta["rows"]])
    assert_close(reference, "y_mean_std", torch.stack([tokens.mean(), tokens.std()]))


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(image: FrozenOpenCLIPImageEmbedderV2) -> None:
    batch = rand("towers/images", (3, 3, 64, 64)).clamp(-1, 1)
    tokens = image(batch)
    alone = torch.cat([image(one[None]) for one in batch])
    torch.testing.assert_close(tokens, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(image(batch.flip(0)), tokens.flip(0), rtol=0, atol=1e-5)
    assert (tokens[0] - tokens[1]).abs().max() > 0.1, "different images should have different tokens"


@torch.no_grad()
def test_sentences_of_a_batch_do_not_see_each_other(text: FrozenOpenCLIPEmbedder) -> None:
    prompts = ["a red ball", "", "a bear playing guitar"]
    tokens = text(prompts)
    alone = torch.cat([text([prompt]) for prompt in prompts])
    torch.testing.assert_close(tokens, alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_word_changes_itself_and_what_follows_only(text: FrozenOpenCLIPEmbedder) -> None:
    left, right = text(["a red ball moves left"]), text(["a red ball moves right"])
    changed = 5  # start, a, red, ball, moves come before
    torch.testing.assert_close(left[:, :changed], right[:, :changed], rtol=0, atol=1e-5)
    assert (left - right)[:, changed:].abs().amax(dim=2).min() > 1e-3, "later tokens should see the changed word"


@pytest.mark.parametrize("name", ["text", "image"])
@torch.no_grad()
def test_the_layout_is_what_the_attention_module_says(name: str, request: pytest.FixtureRequest) -> None:
    """Blocks that take tokens first, as open_clip built them before 2.25, give the same tokens."""
    tower: Tower = request.getfixturevalue(name)
    inputs = ["a red ball", "a bear"] if name == "text" else rand("towers/layout", (2, 3, 32, 32)).clamp(-1, 1)
    expected = tower(inputs)
    attentions = [module for module in tower.modules() if isinstance(module, nn.MultiheadAttention)]
    assert attentions
    try:
        for attention in attentions:
            attention.batch_first = False
        torch.testing.assert_close(tower(inputs), expected, rtol=0, atol=1e-5)
    finally:
        for attention in attentions:
            attention.batch_first = True


def gradient_of(tower: Tower, inputs: list[str] | Tensor) -> dict[str, bool]:
    """Which parameters a loss on the tokens reaches."""
    tower(inputs).square().mean().backward()
    return {name: parameter.grad is not None for name, parameter in tower.named_parameters()}


def test_a_tower_that_is_not_frozen_learns() -> None:
    arch = case("clip_text").meta["arch"]
    config = FrozenOpenCLIPEmbedder.Config(layer="penultimate", model_cfg=arch, freeze=False)
    text = FrozenOpenCLIPEmbedder(config).train()
    assert text.training
    unused = {name for name, reached in gradient_of(text, ["a red ball"]).items() if not reached}
    last = {name for name, _ in text.named_parameters() if ".resblocks.3." in name}
    assert unused == last | {"model.text_projection", "model.logit_scale"}


def test_frozen_towers_stay_frozen(text: FrozenOpenCLIPEmbedder, image: FrozenOpenCLIPImageEmbedderV2) -> None:
    for tower in (text, image):
        tower.train()
        assert not any(module.training for module in tower.modules()), "a frozen tower should stay in evaluation mode"
        assert not any(parameter.requires_grad for parameter in tower.parameters())


@torch.no_grad()
def test_a_tower_built_without_memory_works_once_loaded(text: FrozenOpenCLIPEmbedder) -> None:
    with torch.device("meta"):
        empty = FrozenOpenCLIPEmbedder(text.config)
    empty.load_state_dict(text.state_dict(), assign=True)
    assert torch.equal(empty(["a red ball"]), text(["a red ball"])), "a value outside the state dict was lost"


@torch.no_grad()
def test_half_precision_towers_take_float_images(image: FrozenOpenCLIPImageEmbedderV2) -> None:
    half = FrozenOpenCLIPImageEmbedderV2(dataclasses.replace(image.config))
    half.load_state_dict(image.state_dict())
    tokens = half.bfloat16()(torch.zeros(1, 3, 64, 64))
    assert tokens.dtype == torch.bfloat16
    assert (tokens.float() - image(torch.zeros(1, 3, 64, 64))).abs().max() < 0.5, "bf16 should stay near float32"
