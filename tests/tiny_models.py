"""Configurations of the reference's small networks, and builders that fill them with the reference weights."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

from golden_vectors import GOLDEN, WithoutRandomValues, fill_module

from lvdm.config import parse_component
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel


def unet_config(style: str, num_frames: int = 4, default_fs: int = 24) -> UNetConfig:
    """The released UNet of `style` ("256", "512", "1024") in the reference's small dimensions."""
    return UNetConfig(
        in_channels=8,
        out_channels=4,
        model_channels=32,
        attention_resolutions=(4, 2, 1),
        num_res_blocks=2,
        channel_mult=(1, 2, 4, 4),
        dropout=0.1,
        num_head_channels=16,
        context_dim=64,
        use_linear=True,
        use_checkpoint=True,
        temporal_conv=True,
        use_relative_position=False,
        temporal_length=num_frames,
        addition_attention=True,
        image_cross_attention=True,
        image_cross_attention_scale_learnable=style == "256",
        default_fs=default_fs,
        fs_condition=True,
    )


def reference_unet(style: str, num_frames: int = 4, default_fs: int = 24) -> UNetModel:
    """`unet_config` built and filled by the reference's rule, in eval mode."""
    with WithoutRandomValues():
        unet = UNetModel(unet_config(style, num_frames, default_fs))
    fill_module(unet, "model.diffusion_model.")
    return unet


CLIP = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 224, "layers": 3, "width": 64, "head_width": 16, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 4},
}


def released_tree(name: str) -> dict[str, Any]:
    """The `model:` node of the original's YAML `name`, for example configs/inference_512_v1.0.yaml."""
    tree = json.loads((GOLDEN / "configs.json").read_text())[name]["model"]
    return {key: tree[key] for key in ("target", "params")}


def small_tree(style: str, num_frames: int = 4, **params: Any) -> dict[str, Any]:
    """The original's inference YAML of `style`, in the reference's small dimensions; `params` replace model params."""
    tree = copy.deepcopy(released_tree(f"configs/inference_{style}_v1.0.yaml"))
    model = tree["params"]
    model |= params
    model["unet_config"]["params"] |= {
        "model_channels": 32,
        "num_head_channels": 16,
        "context_dim": 64,
        "temporal_length": num_frames,
    }
    model["first_stage_config"]["params"]["ddconfig"]["ch"] = 32
    model["cond_stage_config"]["params"]["model_cfg"] = CLIP
    model["img_cond_stage_config"]["params"]["model_cfg"] = CLIP
    model["image_proj_stage_config"]["params"] |= {
        "dim": 64,
        "depth": 2,
        "dim_head": 16,
        "heads": 3,
        "embedding_dim": 64,
        "output_dim": 64,
        "video_length": num_frames,
    }
    return tree


@functools.cache
def shared_reference_model(style: str) -> LatentVisualDiffusion:
    """`reference_model`, made once for all tests that only run it."""
    return reference_model(style)


def reference_model(style: str, **params: Any) -> LatentVisualDiffusion:
    """The small model of `style` with the reference weights, in eval mode."""
    with WithoutRandomValues():
        model = parse_component(small_tree(style, **params), style).build()
    fill_module(model, "")
    return model
