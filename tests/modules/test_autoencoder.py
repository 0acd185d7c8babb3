"""The image autoencoder against the original's numbers, the released keys, and closed forms."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from einops import rearrange
from golden_vectors import assert_close, case, fill_module, rand
from manifests import entries, manifest
from torch import nn

from lvdm.config import ConfigError, parse_component
from lvdm.models.autoencoder import AutoencoderKL
from lvdm.modules.distributions import DiagonalGaussian
from lvdm.modules.networks.ae_modules import AttnBlock, AutoencoderNetworkConfig

RELEASED_NETWORKS = AutoencoderNetworkConfig(
    double_z=True, z_channels=4, resolution=256, in_channels=3, out_ch=3, ch=128, ch_mult=(1, 2, 4, 4), num_res_blocks=2
)
RELEASED = AutoencoderKL.Config(embed_dim=4, ddconfig=RELEASED_NETWORKS)
SMALL_NETWORKS = dataclasses.replace(RELEASED_NETWORKS, ch=16, ch_mult=(1, 2, 4), num_res_blocks=1, norm_num_groups=8)
SMALL = dataclasses.replace(RELEASED, ddconfig=SMALL_NETWORKS)


@pytest.fixture(scope="module")
def golden_vae() -> AutoencoderKL:
    """The autoencoder of the reference vectors: released depths, 32 channels."""
    networks = dataclasses.replace(RELEASED_NETWORKS, ch=32)
    return fill_module(AutoencoderKL(dataclasses.replace(RELEASED, ddconfig=networks)), "first_stage_model.")


@pytest.fixture(scope="module")
def small_vae() -> AutoencoderKL:
    """Three levels, factor 4, eight groups."""
    return fill_module(AutoencoderKL(SMALL), "first_stage_model.")


def outputs_of(module: nn.Module) -> list[torch.Tensor]:
    """A list that receives the outputs of `module` as it runs."""
    seen: list[torch.Tensor] = []
    module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    return seen


@pytest.mark.parametrize("model", ["256", "512", "1024"])
def test_state_dict_is_that_of_the_released_checkpoint(model: str) -> None:
    with torch.device("meta"):
        vae = AutoencoderKL(RELEASED)
    assert entries(vae) == manifest(model, "first_stage_model."), "keys, shapes or order differ from the released file"


@torch.no_grad()
def test_encoding_equals_the_original(golden_vae: AutoencoderKL) -> None:
    reference = case("vae")
    first, moments = outputs_of(golden_vae.encoder.conv_in), outputs_of(golden_vae.quant_conv)
    posterior = golden_vae.encode(reference.inputs["x"])
    assert_close(reference, "enc_conv_in", first[0])
    assert_close(reference, "enc_down0_downsample", golden_vae.encoder.down[0].downsample(first[0]))
    assert_close(reference, "moments", moments[0])
    assert_close(reference, "mean", posterior.mean)
    assert_close(reference, "logvar_clamped", posterior.logvar)
    assert_close(reference, "std", posterior.std)
    assert_close(reference, "mode", posterior.mode())
    assert_close(reference, "sample", posterior.sample(reference.inputs["noise"]))
    middle = golden_vae.encoder.mid
    assert_close(reference, "enc_attn", middle.attn_1(middle.block_1(reference.inputs["mid"])))


@torch.no_grad()
def test_decoding_equals_the_original(golden_vae: AutoencoderKL) -> None:
    reference = case("vae")
    assert_close(reference, "decode", golden_vae.decode(reference.inputs["z"]))


@torch.no_grad()
def test_sides_that_are_no_multiple_of_the_factor_round_down(golden_vae: AutoencoderKL) -> None:
    reference = case("vae")
    mean = golden_vae.encode(reference.inputs["x_odd"]).mean
    assert_close(reference, "odd_mean", mean)
    assert_close(reference, "odd_decode_of_mean", golden_vae.decode(mean))


@torch.no_grad()
def test_frames_of_a_video_equal_the_original(golden_vae: AutoencoderKL) -> None:
    reference = case("vae_pipeline")
    scale, noise = reference.meta["scale_factor"], reference.inputs["noise"]
    frames = rearrange(reference.inputs["video"], "b c t h w -> (b t) c h w")
    latents = scale * golden_vae.encode(frames).sample(noise)
    assert_close(reference, "encode_perframe0", rearrange(latents, "t c h w -> 1 c t h w"))
    decoded = golden_vae.decode(rearrange(reference.inputs["z"], "b c t h w -> (b t) c h w") / scale)
    assert_close(reference, "decode_perframe0", rearrange(decoded, "t c h w -> 1 c t h w"))


@pytest.mark.slow
@torch.no_grad()
def test_full_size_equals_the_original() -> None:
    reference = case("full_vae")
    vae = fill_module(AutoencoderKL(RELEASED), "first_stage_model.")
    moments = outputs_of(vae.quant_conv)
    vae.encode(0.5 * rand("full/vae/x", (1, 3, 64, 96)))
    assert_close(reference, "moments", moments[0])
    assert_close(reference, "decode", vae.decode(rand("full/vae/z", (1, 4, 8, 12))))


@pytest.mark.parametrize("chunk", [1, 2, 3])
@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(small_vae: AutoencoderKL, chunk: int) -> None:
    images, latents = rand("autoencoder/images", (4, 3, 20, 28)), rand("autoencoder/latents", (4, 4, 5, 7))
    means = torch.cat([small_vae.encode(part).mean for part in images.split(chunk)])
    decoded = torch.cat([small_vae.decode(part) for part in latents.split(chunk)])
    torch.testing.assert_close(means, small_vae.encode(images).mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(decoded, small_vae.decode(latents), rtol=0, atol=1e-5)


@torch.no_grad()
def test_small_autoencoder_has_the_factor_of_its_levels(small_vae: AutoencoderKL) -> None:
    assert small_vae.downsample_factor == 4
    mean = small_vae.encode(torch.zeros(1, 3, 32, 48)).mean
    assert mean.shape == (1, 4, 8, 12)
    assert small_vae.decode(mean).shape == (1, 3, 32, 48)


@torch.no_grad()
def test_attention_is_the_softmax_of_scaled_products() -> None:
    block = fill_module(AttnBlock(SMALL_NETWORKS, 16), "attention.")
    x = rand("autoencoder/attention", (2, 16, 3, 5))
    h = block.norm(x)
    q, k, v = (layer(h).flatten(2) for layer in (block.q, block.k, block.v))  # (n, c, h w)
    weights = torch.softmax(q.transpose(1, 2) @ k / 16**0.5, dim=2)  # (n, queries, keys)
    attended = (v @ weights.transpose(1, 2)).reshape(x.shape)
    torch.testing.assert_close(block(x), x + block.proj_out(attended), rtol=0, atol=1e-5)


def test_attention_at_a_resolution_lies_beside_its_blocks() -> None:
    networks = dataclasses.replace(SMALL_NETWORKS, resolution=64, attn_resolutions=(32,))
    vae = AutoencoderKL(dataclasses.replace(SMALL, ddconfig=networks))
    levels = {key.split(".attn.")[0] for key in vae.state_dict() if ".attn." in key}
    assert levels == {"encoder.down.1", "decoder.up.1"}
    assert vae.decode(vae.encode(torch.zeros(1, 3, 16, 16)).mode()).shape == (1, 3, 16, 16)


def test_gaussian_in_closed_form() -> None:
    moments = torch.cat([torch.full((2, 1, 3, 3), 0.5), torch.full((2, 1, 3, 3), 4.0).log()], dim=1)
    posterior = DiagonalGaussian.from_moments(moments)
    noise = rand("autoencoder/noise", (2, 1, 3, 3))
    torch.testing.assert_close(posterior.std, torch.full((2, 1, 3, 3), 2.0))
    torch.testing.assert_close(posterior.sample(noise), 0.5 + 2.0 * noise)
    torch.testing.assert_close(posterior.sample(torch.zeros_like(noise)), posterior.mode())
    # KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - log s^2) / 2, for each of the nine values
    expected = 9 * 0.5 * (0.25 + 4.0 - 1.0 - torch.tensor(4.0).log())
    torch.testing.assert_close(posterior.kl(), expected.expand(2))


def test_log_variance_is_clamped() -> None:
    posterior = DiagonalGaussian.from_moments(torch.tensor([0.0, 0.0, -100.0, 100.0]).reshape(1, 4, 1, 1))
    assert posterior.logvar.flatten().tolist() == [-30.0, 20.0]


def test_noise_of_another_shape_is_refused() -> None:
    posterior = DiagonalGaussian(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match="draw it in that shape"):
        posterior.sample(torch.zeros(1, 4, 1, 1))


def first_stage_node(**changes: object) -> dict[str, object]:
    """The autoencoder of the released YAMLs, with changed `ddconfig` entries."""
    ddconfig: dict[str, object] = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    loss = {"target": "torch.nn.Identity"}
    params = {"embed_dim": 4, "monitor": "val/rec_loss", "ddconfig": ddconfig | changes, "lossconfig": loss}
    return {"target": "lvdm.models.autoencoder.AutoencoderKL", "params": params}


def test_the_released_yaml_node_is_the_released_autoencoder() -> None:
    component = parse_component(first_stage_node(), "first_stage_config")
    assert component.params.ddconfig == RELEASED_NETWORKS
    assert component.resolve() is AutoencoderKL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ch": 100}, "norm_num_groups"),
        ({"double_z": False}, "double_z must be true"),
        ({"ch_mult": []}, "1 to 10 of them"),
    ],
)
def test_impossible_networks_are_refused_with_the_place(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"first_stage_config\.params\.ddconfig.*{message}"):
        parse_component(first_stage_node(**changes), "first_stage_config")
