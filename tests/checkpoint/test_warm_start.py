"""Warm starts: what released and VideoCrafter checkpoints give, and that adapted layers compute the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden_vectors import fill_module, rand
from manifests import manifest
from safetensors.torch import save_file
from small_model import small_videocrafter_yaml, small_yaml, write_model
from tiny_models import unet_config
from torch import nn

from lvdm.checkpoint import CheckpointError, CheckpointFile, read_checkpoint
from lvdm.checkpoint.parts import AUTOENCODER, IMAGE_ENCODER, QUERY_TRANSFORMER, TEXT_ENCODER, UNET, part_of
from lvdm.checkpoint.warm_start import plan_warm_start, unfilled_frozen_parts, warm_start
from lvdm.config import parse_component
from lvdm.modules.attention import RelativePosition
from lvdm.modules.networks.openaimodel3d import UNetModel

FIRST, QUERIES = "model.diffusion_model.input_blocks.0.0.weight", "image_proj_model.latents"
MODEL = dict(manifest("512"))


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> CheckpointFile:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return read_checkpoint(path)


@pytest.mark.parametrize(
    ("file", "adapted", "initial", "unused"),
    [
        ("512", set(), set(), set()),
        ("256", set(), set(), {"alpha"}),
        ("crafter_i2v_512", {FIRST, QUERIES}, set(), set()),
        (
            "crafter_t2v_512_v1",
            {FIRST},
            {"to_k_ip", "to_v_ip", "temopral_conv", "fps_embedding", IMAGE_ENCODER, QUERY_TRANSFORMER},
            {"relative_position_k", "relative_position_v"},
        ),
        ("crafter_t2v_512_v2", {FIRST}, {"to_k_ip", "to_v_ip", IMAGE_ENCODER, QUERY_TRANSFORMER}, set()),
        (
            "crafter_t2v_1024",
            {FIRST},
            {"to_k_ip", "to_v_ip", "temopral_conv", IMAGE_ENCODER, QUERY_TRANSFORMER},
            {"relative_position_k", "relative_position_v"},
        ),
    ],
)
def test_real_checkpoints_give_all_that_they_can(
    file: str, adapted: set[str], initial: set[object], unused: set[str]
) -> None:
    """Full-size key lists of released files into the 512 model."""
    plan = plan_warm_start(MODEL, dict(manifest(file)))
    assert set(plan.adapted) == adapted
    for key in plan.initial:
        assert part_of(key) in initial or any(str(name) in key for name in initial), f"{key} could have been taken"
    for key in plan.unused:
        assert any(name in key for name in unused), f"{key} of the file should be used"
    parameters = [key for key, _ in manifest("512") if part_of(key).prefix]
    assert len(plan.matched) + len(plan.adapted) + len(plan.initial) == len(parameters)


def test_the_report_has_one_line_for_each_component() -> None:
    lines = plan_warm_start(MODEL, dict(manifest("crafter_t2v_512_v2"))).lines()
    assert len(lines) == 5
    assert lines[0] == (
        "UNet: 1483 of 1516 tensors taken; 1 adapted: input_blocks.0.0.weight "
        "(4 input channels widened to 8 with zeros); "
        "32 keep their initial values: attn2.to_k_ip x 16, attn2.to_v_ip x 16"
    )
    assert "image encoder: not in the file, all 398 tensors keep their initial values" in lines


class Model(nn.Module):
    """A UNet under the key that it has in a whole model."""

    def __init__(self, unet: UNetModel) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.diffusion_model = unet


def test_a_widened_unet_computes_what_the_narrow_one_did(tmp_path: Path) -> None:
    config = replace(unet_config("512"), channel_mult=(1,), num_res_blocks=1, attention_resolutions=(1,))
    narrow = UNetModel(replace(config, in_channels=4))
    fill_module(narrow, "model.diffusion_model.")
    file = saved(tmp_path / "narrow.safetensors", Model(narrow).state_dict())
    wide = UNetModel(config)
    warm_start(Model(wide), file)
    x, context = rand("x", (1, 8, 4, 8, 8)), rand("context", (1, 141, 64))
    inputs = (torch.tensor([500]), context, torch.tensor([10]))
    with torch.no_grad():
        expected, actual = narrow(x[:, :4], *inputs), wide.eval()(x, *inputs)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_a_unet_for_depth_takes_the_channels_of_the_noise(tmp_path: Path) -> None:
    """What the others read is no depth: with them at zero both networks compute the same. Depth begins with random
    weights: from zeros, 300 steps of the embedded model had taught it nothing of depth.
    """
    config = replace(unet_config("512"), channel_mult=(1,), num_res_blocks=1, attention_resolutions=(1,))
    image = UNetModel(config)
    fill_module(image, "model.diffusion_model.")
    file = saved(tmp_path / "image.safetensors", Model(image).state_dict())
    depth = UNetModel(replace(config, in_channels=5))
    own = depth.input_blocks[0][0].weight[:, 4:].clone()
    plan = warm_start(Model(depth), file)
    assert plan.adapted[FIRST].description == "the 4 input channels of the noise; the others keep their initial values"
    assert torch.equal(depth.input_blocks[0][0].weight[:, 4:], own)
    assert own.abs().min() > 0
    x, context = rand("x", (1, 4, 4, 8, 8)), rand("context", (1, 141, 64))
    inputs = (torch.tensor([500]), context, torch.tensor([10]))
    with torch.no_grad():
        expected = image(torch.cat([x, torch.zeros_like(x)], dim=1), *inputs)
        actual = depth.eval()(torch.cat([x, torch.zeros_like(x[:, :1])], dim=1), *inputs)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_query_tokens_are_spread_over_frames() -> None:
    tokens = torch.arange(2 * 3).float().reshape(1, 6, 1).expand(1, 6, 5)  # 2 frames of 3 tokens
    plan = plan_warm_start({QUERIES: (1, 12, 5)}, {QUERIES: (1, 6, 5)}, tokens_per_frame=3)
    assert plan.adapted[QUERIES].apply(tokens, tokens)[0, :, 0].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
    back = plan_warm_start({QUERIES: (1, 3, 5)}, {QUERIES: (1, 6, 5)}, tokens_per_frame=3)
    assert back.adapted[QUERIES].apply(tokens, tokens)[0, :, 0].tolist() == [0, 1, 2]
    assert plan_warm_start({QUERIES: (1, 8, 5)}, {QUERIES: (1, 6, 5)}, tokens_per_frame=3).initial == (QUERIES,)


def test_relative_positions_of_another_length_keep_the_near_distances() -> None:
    key = "model.diffusion_model.init_attn.0.transformer_blocks.0.attn1.relative_position_k.embeddings_table"
    short, long = RelativePosition(3, 4), RelativePosition(3, 6)
    plan = plan_warm_start({key: (13, 3)}, {key: (9, 3)})
    with torch.no_grad():
        long.embeddings_table.copy_(plan.adapted[key].apply(short.embeddings_table, short.embeddings_table))
        assert torch.equal(long(8), short(8)), "distances beyond the table are clipped: the two should agree"


def test_the_schedule_stays_the_models_own(tmp_path: Path) -> None:
    model = parse_component(small_yaml()["model"], "model").build()
    own = model.alphas_cumprod.clone()
    tensors = {key: value + 0.25 for key, value in model.state_dict().items() if value.is_floating_point()}
    plan = warm_start(model, saved(tmp_path / "other.safetensors", tensors))
    assert torch.equal(model.alphas_cumprod, own)
    assert not plan.initial
    assert all(torch.equal(value, tensors[key]) for key, value in model.named_parameters())


@pytest.mark.parametrize("images", [False, True], ids=["text", "images"])
def test_a_training_begins_from_a_videocrafter_model(images: bool, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "crafter", small_videocrafter_yaml(images))
    file = read_checkpoint(folder / "model.safetensors")
    model = parse_component(small_yaml()["model"], "model").build()
    plan = warm_start(model, file)
    assert set(plan.adapted) == ({FIRST, QUERIES} if images else {FIRST})
    assert not plan.unused, "all that the file holds has a place"
    initial = {part_of(key) for key in plan.initial}
    assert initial == (set() if images else {UNET, IMAGE_ENCODER, QUERY_TRANSFORMER})
    assert unfilled_frozen_parts(model, [plan]) == ([] if images else [IMAGE_ENCODER])
    weights = model.state_dict()
    assert all(torch.equal(weights[key], file[key]) for key in plan.matched)
    assert torch.equal(weights[FIRST][:, :4], file[FIRST])
    assert not weights[FIRST][:, 4:].any(), "the added channels are read at once"


def test_a_part_of_a_model_fills_that_part(tmp_path: Path) -> None:
    model = parse_component(small_yaml()["model"], "model").build()
    tensors = {key: value + 1 for key, value in model.state_dict().items() if part_of(key) == AUTOENCODER}
    plan = warm_start(model, saved(tmp_path / "vae.safetensors", tensors))
    assert {part_of(key) for key in plan.matched} == {AUTOENCODER}
    assert {part_of(key) for key in plan.initial} == {UNET, TEXT_ENCODER, IMAGE_ENCODER, QUERY_TRANSFORMER}
    assert unfilled_frozen_parts(model, [plan]) == [TEXT_ENCODER, IMAGE_ENCODER], "frozen encoders would stay random"


def test_nothing_in_common_is_an_error_in_one_line(tmp_path: Path) -> None:
    model = Model(UNetModel(replace(unet_config("512"), channel_mult=(1,), num_res_blocks=1)))
    with pytest.raises(CheckpointError, match=r"no tensor in common: the file holds weight, the model model\."):
        warm_start(model, saved(tmp_path / "a.safetensors", {"weight": torch.zeros(3)}))
    larger = UNetModel(replace(unet_config("512"), channel_mult=(1,), num_res_blocks=1, model_channels=64))
    with pytest.raises(CheckpointError, match=r"other sizes: .* is \(64, 8, 3, 3\), the model's \(32, 8, 3, 3\)"):
        warm_start(model, saved(tmp_path / "b.safetensors", Model(larger).state_dict()))
