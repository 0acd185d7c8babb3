"""VideoCrafter's models in the reference's small dimensions, filled with the reference weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from golden_vectors import WithoutRandomValues, fill_module
from tiny_models import CLIP

from lvdm.config import load_yaml, parse_component
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.modules.networks.openaimodel3d import UNetModel

CONFIGS = Path(__file__).parent.parent / "configs"
SALT = "vc/"
RESAMPLER = {
    "target": "lvdm.modules.encoders.resampler.Resampler",
    "params": {
        "dim": 64,
        "depth": 2,
        "dim_head": 16,
        "heads": 3,
        "num_queries": 16,
        "embedding_dim": 64,
        "output_dim": 64,
        "ff_mult": 4,
    },
}


def small_videocrafter_tree(config: str, temporal_length: int = 4, **unet: Any) -> dict[str, Any]:
    """The `model:` node of configs/`config` with the reference's small sizes; `unet` are more UNet options."""
    tree = copy.deepcopy(load_yaml(CONFIGS / config)["model"])
    params = tree["params"]
    params["unet_config"]["params"] |= {
        "model_channels": 32,
        "num_head_channels": 16,
        "context_dim": 64,
        "temporal_length": temporal_length,
        **unet,
    }
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = 32
    params["cond_stage_config"]["params"]["model_cfg"] = CLIP
    if "cond_img_config" in params:
        params["cond_img_config"]["params"]["model_cfg"] = CLIP
        params["image_proj_stage_config"] = RESAMPLER
    return tree


def reference_videocrafter_unet(config: str, temporal_length: int = 4, **unet: Any) -> UNetModel:
    """The small UNet of `config` alone, in eval mode."""
    component = parse_component(small_videocrafter_tree(config, temporal_length, **unet), config)
    with WithoutRandomValues():
        network: UNetModel = component.params.unet_config.build()
    fill_module(network, "model.diffusion_model.", SALT)
    return network


def reference_videocrafter(config: str) -> LatentVisualDiffusion:
    """The small model of `config`, in eval mode."""
    with WithoutRandomValues():
        model: LatentVisualDiffusion = parse_component(small_videocrafter_tree(config), config).build()
    fill_module(model, "", SALT)
    return model
