"""ToonCrafter's dual-reference decoder against the original's outputs, and what the original gets wrong."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from golden_vectors import GOLDEN, Case, assert_close, case, fill_module, image_tensor, rand
from manifests import entries, manifest
from torch import Tensor

from lvdm.config import load_model_config
from lvdm.models.autoencoder import DualReferenceAutoencoder
from lvdm.modules.networks.ae_modules import AutoencoderNetworkConfig
from lvdm.modules.networks.dual_reference import Combiner, ReferenceAttention, VideoConv, VideoResBlock

SALT, PREFIX = "toon/", "first_stage_model."
FIRST_STAGE = "tooncrafter_first_stage"


def networks(width: int) -> AutoencoderNetworkConfig:
    return AutoencoderNetworkConfig(True, 4, 256, 3, 3, width, (1, 2, 4, 4), 2)


@cache
def small() -> DualReferenceAutoencoder:
    """The autoencoder in the reference's small dimensions."""
    model = DualReferenceAutoencoder(DualReferenceAutoencoder.Config(4, networks(32)))
    fill_module(model, PREFIX, SALT)
    return model


def pictures(reference: Case) -> Tensor:
    """First and last image of a case, (1, 3, 2, H, W)."""
    size = reference.meta["size"]
    return torch.stack([image_tensor(name, *size) for name in reference.meta["pictures"]], dim=2)


def test_every_case_is_compared() -> None:
    index = json.loads((GOLDEN / "toon" / "index.json").read_text())
    assert set(index) == {"_about", "decoder_blocks", "first_stage_T4", "first_stage_T1", "script_decode_T16"}


def test_keys_shapes_and_order_are_the_released_ones() -> None:
    with torch.device("meta"):
        model = DualReferenceAutoencoder(DualReferenceAutoencoder.Config(4, networks(128)))
    assert entries(model) == manifest(FIRST_STAGE, PREFIX)


def test_the_yaml_names_it() -> None:
    component = load_model_config("configs/inference_tooncrafter_512_v1.0.yaml").params.first_stage_config
    assert component.target == "lvdm.models.autoencoder.AutoencoderKL_Dualref", "the original's dotted path"
    assert component.resolve() is DualReferenceAutoencoder


def test_a_whole_checkpoint_is_the_512_one_with_another_decoder() -> None:
    with torch.device("meta"):
        model = load_model_config("configs/inference_tooncrafter_512_v1.0.yaml").build()
    actual, usual = entries(model), manifest("512")
    added = [entry for entry in actual if entry not in usual]
    assert len(added) == 148
    assert all(key.startswith("first_stage_model.decoder.") for key, _ in added)
    assert [entry for entry in actual if entry in usual] == usual, "the rest in its order"


@torch.no_grad()
def test_blocks() -> None:
    reference = case("toon/decoder_blocks")
    inputs, prefixes = reference.inputs, reference.meta["prefixes"]
    config = AutoencoderNetworkConfig(True, 4, 256, 3, 3, 32, (1, 2), 2)
    blocks = {
        "video_res_block": (VideoResBlock(config, 64, 32), (inputs["x2"],)),
        "fusion_attention": (ReferenceAttention(32, 32), (inputs["x"], inputs["context"])),
        "combiner": (Combiner(32), (inputs["x"], inputs["context"])),
        "conv_out": (VideoConv(32, 3), (inputs["x"],)),
    }
    for name, (block, given) in blocks.items():
        fill_module(block, prefixes[name], SALT)
        assert_close(reference, name, block(*given))


@pytest.mark.parametrize("name", ["first_stage_T4", "first_stage_T1"])
@torch.no_grad()
def test_first_stage(name: str) -> None:
    reference = case(f"toon/{name}")
    images, model = pictures(reference), small()
    posterior = model.encode(images[0].transpose(0, 1))
    assert_close(reference, "moments", torch.cat([posterior.mean, posterior.logvar], dim=1))
    references = model.references(images)
    for number, features in enumerate((*references.levels, references.input)):
        seen = features[:, ::8, :, ::2, ::2].contiguous()
        assert_close(reference, f"hidden{number}_every_8th_channel_2nd_pixel", seen)
    assert_close(reference, "y", model.decoder(reference.inputs["z"], references.of_clip(0)))
    assert_close(reference, "y_without_reference", model.decode(reference.inputs["z"]))


@torch.no_grad()
def test_two_decodings_as_in_the_script() -> None:
    reference = case("toon/script_decode_T16")
    model, references = small(), small().references(pictures(reference))
    latents = reference.inputs["samples"] / 0.18215
    assert_close(reference, "all_frames", model.decode_clips(latents, references, twice=False))
    kept = latents[:, :, reference.meta["frames_of_second_decoding"]]
    assert_close(reference, "middle", model.decode_clips(kept, references, twice=False))
    assert_close(reference, "y", model.decode_clips(latents, references))


@torch.no_grad()
def test_clips_of_a_batch_and_of_any_length_do_not_mix() -> None:
    model = small()
    images = pictures(case("toon/first_stage_T4"))[..., :16, :24]
    images = torch.cat([images, images.flip(2)])
    references = model.references(images)
    for count in (2, 5, 6, 17):
        latents = rand(f"any length {count}", (2, 4, count, 2, 3))
        together = model.decode_clips(latents, references)
        assert together.shape == (2, 3, count, 16, 24)
        alone = model.decode_clips(latents[1:], references.of_clip(1))
        assert torch.allclose(together[1:], alone, atol=1e-5), f"{count} frames: a clip depends on its neighbour"
    once = model.decode_clips(latents[:1], references.of_clip(0), twice=False)
    changed = ((once - together[:1]).abs() > 1e-4).flatten(3).any(-1).any(1)[0]
    assert changed.nonzero().flatten().tolist() == [8], "of 17 frames the one in the middle is from the second decoding"
