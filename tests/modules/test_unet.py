"""The video UNet against the original's outputs, and the invariants of its context handling."""

from __future__ import annotations

import functools

import pytest
import torch
from einops import rearrange
from golden_vectors import assert_close, case, fill_module, rand
from tiny_models import reference_unet, unet_config

from lvdm.config import parse_dataclass
from lvdm.modules.attention import Context, CrossAttention, TemporalTransformer
from lvdm.modules.encoders.resampler import Resampler, ResamplerConfig
from lvdm.modules.layers import timestep_embedding
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel

UNET_CASES = [
    "unet_256",
    "unet_fs_none",
    "unet_ctx93",
    "unet_ctx77",
    "unet_T_mismatch",
    "unet_T1",
    "unet_512",
    "unet_1024_T16",
]
shared_unet = functools.cache(reference_unet)
"""For tests that only run it."""


@pytest.mark.parametrize("name", UNET_CASES)
@torch.no_grad()
def test_unet_output(name: str) -> None:
    reference = case(name)
    meta, inputs = reference.meta, reference.inputs
    frames = 16 if name == "unet_1024_T16" else 4
    unet = reference_unet(meta["style"], frames, meta["default_fs"])
    output = unet(inputs["x"], inputs["timesteps"], inputs["context"], inputs.get("fs"))
    assert_close(reference, "y", output)


@torch.no_grad()
def test_every_block_of_the_unet() -> None:
    reference = case("unet_trace")
    unet = reference_unet("256")
    seen: dict[str, torch.Tensor] = {}
    names = ["init_attn", "middle_block", "out"]
    names += [f"{part}.{i}" for part in ("input_blocks", "output_blocks") for i in range(12)]
    for name in names:
        unet.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    inputs = reference.inputs
    seen["y"] = unet(inputs["x"], inputs["timesteps"], inputs["context"], inputs["fs"])
    emb = unet.embed_time(inputs["timesteps"], inputs["fs"])  # (b, 1, c), one row for all frames
    seen["emb_total"] = emb[:, 0].repeat_interleave(4, dim=0)
    seen["time_embed"] = unet.time_embed(timestep_embedding(inputs["timesteps"], 32))
    seen["fps_embedding"] = unet.fps_embedding(timestep_embedding(inputs["fs"], 32))
    tokens = unet.split_context(inputs["context"], 4)
    assert tokens.image is not None
    seen["context_per_frame"] = torch.cat([tokens.text.repeat_interleave(4, dim=0), tokens.image], dim=1)
    assert set(seen) == set(reference.outputs), "every stored output should be compared"
    for name, value in seen.items():
        assert_close(reference, name, value)


@torch.no_grad()
def test_sub_modules() -> None:
    reference = case("blocks")
    x = reference.inputs
    unet, fixed = shared_unet("256"), shared_unet("512")
    emb = rearrange(x["emb"], "(b t) c -> b t c", b=2)
    tokens = Context(x["ctx"][:, :77], x["ctx"][:, 77:])
    block = unet.input_blocks[1][1].transformer_blocks[0]
    fixed_block = fixed.input_blocks[1][1].transformer_blocks[0]
    outputs = {
        "timestep_embedding_32": timestep_embedding(x["t_vals"], 32),
        "timestep_embedding_33": timestep_embedding(x["t_vals"], 33),
        "time_embed": unet.time_embed(timestep_embedding(x["t_vals"], 32)),
        "fps_embed": unet.fps_embedding(timestep_embedding(x["t_vals"], 32)),
        "resblock_in4_temporal": unet.input_blocks[4][0](x["x_mc"], emb),
        "resblock_in4_spatial_only": unet.input_blocks[4][0](x["x_mc"], emb, temporal=False),
        "resblock_in1": unet.input_blocks[1][0](x["x_mc"], emb),
        "resblock_out0_concat": unet.output_blocks[0][0](x["x_8mc"], emb),
        "temporal_conv_in1": unet.input_blocks[1][0].temopral_conv(x["x5_mc"]),
        "downsample_in3": unet.input_blocks[3][0](x["x_mc"]),
        "upsample_out8": unet.output_blocks[8][3](x["x_2mc"]),
        "spatial_in1_256": unet.input_blocks[1][1](x["x_mc"], tokens),
        "spatial_in1_512": fixed.input_blocks[1][1](x["x_mc"], tokens),
        "spatial_in4_256": unet.input_blocks[4][1](x["x_2mc"], tokens),
        "temporal_in1": unet.input_blocks[1][2](x["x5_mc"]),
        "init_attn": unet.init_attn[0](x["x5_mc"]),
        "basic_block": block(x["tok"], tokens),
        "attn1_self": block.attn1(x["tok"]),
        "attn2_cross_learnable": block.attn2(x["tok"], tokens),
        "attn2_cross_fixed": fixed_block.attn2(x["tok"], tokens),
        "attn2_cross_textonly": block.attn2(x["tok"], Context(tokens.text, None)),
        "ff_geglu": block.ff(x["tok"]),
        "out_head": unet.out(x["x_mc"]),
    }
    for name, value in outputs.items():
        assert_close(reference, name, value)


@torch.no_grad()
def test_timestep_embedding_of_the_released_width() -> None:
    """float32 `exp` differs by one unit in the last place between processors; `t` multiplies that into the angle."""
    reference = case("blocks")
    t = reference.inputs["t_vals"]
    expected = reference.outputs["timestep_embedding_320"]
    frequencies = torch.exp(-torch.arange(160) / 160 * 9.210340371976184)
    last_place = t[:, None] * frequencies * 2.0**-23
    limit = reference.atol["timestep_embedding_320"] + torch.cat([last_place, last_place], dim=-1)
    excess = (timestep_embedding(t, 320) - expected).abs() - limit
    assert excess.max() <= 0, f"timestep_embedding_320 is off by {excess.max():.3g} more than float32 exp explains"


@pytest.mark.parametrize(
    ("tag", "relative", "causal", "linear"),
    [
        ("relpos", True, False, True),
        ("causal", False, True, True),
        ("relpos_causal", True, True, True),
        ("conv1d", False, False, False),
    ],
)
@torch.no_grad()
def test_temporal_options_that_no_released_model_uses(tag: str, relative: bool, causal: bool, linear: bool) -> None:
    reference = case("opt_temporal_variants")
    layer = TemporalTransformer(
        32, 2, 16, use_linear=linear, causal_attention=causal, relative_position=relative, temporal_length=8
    )
    fill_module(layer, f"opt.{tag}.")
    assert_close(reference, tag, layer(reference.inputs["x"]))


@torch.no_grad()
def test_resampler() -> None:
    reference = case("resampler")
    model = Resampler(ResamplerConfig(64, 2, 16, 3, 16, 64, 64, 4, 4))
    fill_module(model, "image_proj_model.")
    x = reference.inputs["x"]
    assert_close(reference, "y", model(x))
    attention, _ = model.layers[0]
    latents = model.latents.expand(2, -1, -1)
    assert_close(reference, "attn0", attention(model.proj_in(x), latents))


@torch.no_grad()
def test_a_projected_context_and_the_same_time_for_each_frame_change_nothing() -> None:
    unet, x = shared_unet("512"), case("unet_512").inputs
    plain = unet(x["x"], x["timesteps"], x["context"], x["fs"])
    context = unet.project_context(x["context"], 4)
    assert torch.equal(unet(x["x"], x["timesteps"], context, x["fs"]), plain), "projecting beforehand"
    per_frame = unet(x["x"], x["timesteps"][:, None].expand(-1, 4), context, x["fs"])
    torch.testing.assert_close(per_frame, plain, rtol=0, atol=2e-5)


@torch.no_grad()
def test_attention_is_softmax() -> None:
    attention = shared_unet("512").input_blocks[1][1].transformer_blocks[0].attn1
    x = rand("attention", (2, 30, 32))
    q, k, v = (
        rearrange(layer(x), "b n (h d) -> b h n d", h=2) for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    explicit = (q @ k.transpose(-1, -2) / 4.0).softmax(-1) @ v
    explicit = attention.to_out(rearrange(explicit, "b h n d -> b n (h d)"))
    torch.testing.assert_close(attention(x), explicit, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("relative", [False, True])
@torch.no_grad()
def test_large_scores_do_not_overflow_in_half_precision(relative: bool) -> None:
    """q k^T reaches 90,000 here, beyond float16; scaled first it stays at 22,500 (the original scales afterwards)."""
    attention = CrossAttention(16, heads=1, dim_head=16, relative_position=relative, temporal_length=4).half()
    for layer in (attention.to_q, attention.to_k):
        layer.weight.copy_(torch.eye(16) * 75)
    attention.to_v.weight.copy_(torch.eye(16))
    out = attention(torch.ones(1, 4, 16, dtype=torch.float16))
    assert out.isfinite().all(), "scores overflowed before they were scaled"


@torch.no_grad()
def test_each_frame_reads_its_own_image_tokens() -> None:
    unet = shared_unet("512")
    for part in ("temopral_conv", "init_attn"):
        assert any(part in name for name, _ in unet.named_modules())
    attention = unet.input_blocks[1][1].transformer_blocks[0].attn2
    context = rand("context", (1, 77 + 64, 64))
    changed = context.clone()
    changed[:, 77 + 16 * 2 : 77 + 16 * 3] += 1  # the tokens of frame 2
    x = rand("tokens", (4, 6, 32))
    difference = attention(x, unet.split_context(context, 4)) - attention(x, unet.split_context(changed, 4))
    moved = difference.abs().amax(dim=(1, 2)) > 0
    assert moved.tolist() == [False, False, True, False], "the tokens of frame 2 should reach frame 2 alone"


@pytest.mark.parametrize("channel_mult", [(), (1, 0)])
def test_every_level_needs_channels(channel_mult: tuple[int, ...]) -> None:
    values = vars(unet_config("512")) | {"channel_mult": channel_mult}
    with pytest.raises(ValueError, match=r"unet\.channel_mult"):
        parse_dataclass(UNetConfig, values, "unet")


def test_latent_size_must_fit_the_levels() -> None:
    unet = UNetModel(unet_config("512"))
    with pytest.raises(ValueError, match="multiple of 8"):
        unet(torch.zeros(1, 8, 4, 10, 8), torch.zeros(1).long(), torch.zeros(1, 141, 64))
