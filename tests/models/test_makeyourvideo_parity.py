"""Make-Your-Video's networks, depth condition and sampler against the original's outputs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from golden_vectors import GOLDEN, assert_close, case, fill_module, image_tensor, rand
from tiny_videocrafter import CONFIGS
from torch import Tensor, nn

from lvdm.conditioning import Conditioning, depth_condition
from lvdm.config import load_yaml, parse_component
from lvdm.diffusion.guidance import classifier_free_guidance
from lvdm.diffusion.samplers.ddim import sample_ddim
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.models.depth_diffusion import LatentDepthDiffusion, LatentDepthDiffusionConfig
from lvdm.modules.attention import TemporalTransformer
from lvdm.modules.attention_processors import FrameOrder
from lvdm.modules.encoders.depth import DepthEstimator, DepthEstimatorConfig
from lvdm.modules.layers import StagedTemporalConvBlock
from lvdm.modules.networks.openaimodel3d import UNetModel

CONFIG = CONFIGS / "inference_makeyourvideo_256_v1.0.yaml"
SALT = "myv/"
UNET = ("unet_T4", "unet_T16", "unet_T20")
DDIM = ("ddim_5", "ddim_5_T18_eta0")
OTHERS = {
    "unet_T20_nomask",
    "temporal_transformer_T24",
    "temporal_conv_block",
    "depth_preprocess",
    "depth_normalise",
    "full_midas",
}


@cache
def small_config() -> LatentDepthDiffusionConfig:
    """The released configuration in the reference's small dimensions."""
    tree = copy.deepcopy(load_yaml(CONFIG)["model"])
    sizes = {"model_channels": 32, "num_head_channels": 16, "context_dim": 64}
    tree["params"]["unet_config"]["params"] |= sizes
    config: LatentDepthDiffusionConfig = parse_component(tree, "small").params
    return config


@cache
def reference_unet() -> UNetModel:
    """Filling the weights takes longer than most cases."""
    unet: UNetModel = small_config().unet_config.build()
    fill_module(unet, "model.diffusion_model.", SALT)
    return unet


def frames_of(meta: dict[str, Any]) -> Tensor:
    """The images of a case, (1, 3, t, H, W) in [-1, 1]."""
    return torch.stack([image_tensor(name, *meta["frame_size"]) for name in meta["frames"]], dim=2)


def test_every_case_is_compared() -> None:
    index = json.loads((GOLDEN / "myv" / "index.json").read_text())
    assert {*UNET, *DDIM, *OTHERS} == {name for name in index if name != "_about"}


@pytest.mark.parametrize("name", UNET)
@torch.no_grad()
def test_unet_output(name: str) -> None:
    reference = case(f"myv/{name}")
    inputs = reference.inputs
    assert_close(reference, "y", reference_unet()(inputs["x"], inputs["timesteps"], inputs["context"]))


@torch.no_grad()
def test_unet_output_without_a_mask() -> None:
    reference = case("myv/unet_T20_nomask")
    config = replace(reference_unet().config, use_causal_attention=False, attention_window=None)
    with torch.device("meta"):
        unet = UNetModel(config)
    unet.load_state_dict(reference_unet().state_dict(), assign=True)
    inputs = reference.inputs
    assert_close(reference, "y", unet.eval()(inputs["x"], inputs["timesteps"], inputs["context"]))


@torch.no_grad()
def test_temporal_transformer_and_its_mask() -> None:
    reference = case("myv/temporal_transformer_T24")
    seen = ~FrameOrder(causal=True, window=16).unseen(64, torch.device("cpu"))
    assert torch.equal(seen, reference.outputs["mask"].bool()), "frame i attends to frames i - 15 to i"
    meta = reference.meta
    for name, causal, window in (("y", True, 16), ("y_without_mask", False, None)):
        layer = TemporalTransformer(
            32,
            meta["heads"],
            meta["dim_head"],
            use_linear=True,
            causal_attention=causal,
            relative_position=True,
            temporal_length=meta["temporal_length"],
            attention_window=window,
        )
        fill_module(layer, meta["key_prefix"], SALT)
        assert_close(reference, name, layer(reference.inputs["x"]))


@torch.no_grad()
def test_temporal_convolutions() -> None:
    reference = case("myv/temporal_conv_block")
    for name, second in (("y", "pixels"), ("y_not_spatial", "frames"), ("y_real_3dconv", "volume")):
        block = StagedTemporalConvBlock(32, second_stage=second)  # type: ignore[arg-type]
        keys = [[key, list(value.shape)] for key, value in block.state_dict().items()]
        assert keys == reference.meta["keys"][name], name
        fill_module(block, reference.meta["key_prefix"], SALT)
        assert_close(reference, name, block(reference.inputs["x"]))


def test_depth_condition() -> None:
    reference = case("myv/depth_normalise")
    raw = reference.inputs["raw"].transpose(0, 1)[None]  # 1 1 t H W
    size = tuple(reference.meta["target_size"])
    assert_close(reference, "depth", depth_condition(raw, size, over_clip=False))
    assert_close(reference, "depth_temporal_norm", depth_condition(raw, size))
    flat = depth_condition(torch.full((1, 1, 2, 48, 64), 7.3), size, over_clip=False)
    assert (flat == -1).all(), "what is the same everywhere is flat, not amplified rounding"


@torch.no_grad()
def test_depth_from_frames() -> None:
    reference = case("myv/depth_preprocess")
    meta = reference.meta
    video = frames_of(meta)
    with torch.device("meta"):
        estimator = DepthEstimator(DepthEstimatorConfig())
    seen = estimator.preprocess(video[0].transpose(0, 1))
    assert_close(reference, "estimator_input_every_16th", seen[:, :, ::16, ::16].contiguous())
    grey = (seen * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)[None, None]  # the stand-in's depth
    assert_close(reference, "depth", depth_condition(grey, tuple(meta["target_size"]), over_clip=False))
    assert_close(reference, "depth_temporal_norm", depth_condition(grey, tuple(meta["target_size"])))
    assert_close(reference, "depth_pixels", depth_condition(grey, tuple(meta["frame_size"]), over_clip=False))


@pytest.mark.slow
@torch.no_grad()
def test_depth_estimator_of_real_size() -> None:
    reference = case("myv/full_midas")
    meta, estimator = reference.meta, DepthEstimator(DepthEstimatorConfig())
    fill_module(estimator, "depth_stage_model.", meta["salt"])
    frames = frames_of(meta)[0].transpose(0, 1)
    transformer, given = estimator.model.pretrained.model, dict[str, Tensor]()

    def keep(name: str) -> Any:
        return lambda module, inputs, output: given.__setitem__(name, output)

    watched: dict[str, nn.Module] = {f"block{i}": transformer.blocks[i] for i in (8, 11)}
    watched |= {f"stage{i}": transformer.patch_embed.backbone.stages[i] for i in (0, 1)}
    for name, module in watched.items():
        module.register_forward_hook(keep(name))
    raw = estimator(frames)
    for name in ("stage0", "stage1"):
        assert_close(reference, f"{name}_every_16th", given[name][:, ::16, ::16, ::16].contiguous())
    for name in ("block8", "block11"):
        assert_close(reference, f"{name}_every_32nd", given[name][:, ::32, ::32].contiguous())
    assert_close(reference, "raw_every_8th", raw[:, ::8, ::8].contiguous())
    statistics = torch.stack([raw.mean((1, 2)), raw.std((1, 2)), raw.amax((1, 2))], dim=1)
    assert_close(reference, "raw_mean_std_max", statistics)
    depth = depth_condition(raw[None, None], tuple(meta["target_size"]), over_clip=False)
    assert_close(reference, "depth", depth)


@pytest.mark.parametrize("name", [DDIM[0], pytest.param(DDIM[1], marks=pytest.mark.slow)])
@torch.no_grad()
def test_trajectory(name: str) -> None:
    reference = case(f"myv/{name}")
    meta, inputs = reference.meta, reference.inputs
    with torch.device("meta"):
        model = LatentDepthDiffusion(replace(small_config(), drop_encoders=True, depth_stage_config=None))
    model.model.diffusion_model = reference_unet()
    none = inputs["c"][:, :0]
    conditions = [Conditioning(inputs[text], none, inputs["depth"], torch.zeros(1).long()) for text in ("c", "uc")]
    x_inter, pred_x0 = [inputs["x_T"]], [inputs["x_T"]]

    def record(i: int, t: int, x_t: Tensor, x_0: Tensor) -> None:
        x_inter.append(x_t)
        pred_x0.append(x_0)

    timesteps = make_timesteps("uniform", meta["S"])
    assert timesteps.flip(0).tolist() == meta["timesteps"]
    y = sample_ddim(
        classifier_free_guidance(model.branches(conditions), meta["cfg"]),
        inputs["x_T"],
        NoiseSchedule.from_config(small_config().schedule_config()),
        timesteps,
        eta=meta["eta"],
        step_noise=lambda k, shape: rand(f"myv/{name}/noise/ddim/{k}", shape),
        callback=record,
    )
    assert_close(reference, "y", y)
    assert_close(reference, "x_inter", torch.stack(x_inter))
    assert_close(reference, "pred_x0", torch.stack(pred_x0))
