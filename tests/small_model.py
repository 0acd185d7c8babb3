"""A whole model with random weights in small dimensions, as files on the disk: what users hand to the pipeline."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from golden_vectors import WithoutRandomValues, fill_module
from PIL import Image
from safetensors.torch import save

from lvdm.config import model_component
from lvdm.modules.encoders.condition import small_vocabulary_size

FRAMES, SIDE, MULTIPLE = 4, 32, 8

ONE_LEVEL = {"channel_mult": [1], "attention_resolutions": [1], "temporal_conv": False}
"""Options of the UNet for what its depth does not matter to."""

CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 16, "vocab_size": 0, "width": 32, "heads": 2, "layers": 2},
}


def small_yaml(capabilities: tuple[str, ...] = ("i2v", "interpolation")) -> dict[str, Any]:
    """The tree of a YAML that describes the model: latents of 1/4, trained at 32x32 and 4 frames."""
    clip = copy.deepcopy(CLIP)
    clip["text_cfg"]["vocab_size"] = small_vocabulary_size()
    towers = "lvdm.modules.encoders.condition."
    params = {
        "parameterization": "v",
        "rescale_betas_zero_snr": True,
        "use_dynamic_rescale": True,
        "base_scale": 0.7,
        "image_size": [8, 8],
        "scale_factor": 0.5,
        "fps_condition_type": "fps",
        "unet_config": _node(
            "lvdm.modules.networks.openaimodel3d.UNetModel",
            in_channels=8,
            out_channels=4,
            model_channels=16,
            attention_resolutions=[2],
            num_res_blocks=1,
            channel_mult=[1, 2],
            num_head_channels=16,
            context_dim=32,
            use_linear=True,
            temporal_conv=True,
            use_relative_position=False,
            temporal_length=FRAMES,
            addition_attention=True,
            image_cross_attention=True,
            fs_condition=True,
            norm_num_groups=8,
            text_length=16,
            image_tokens_per_frame=2,
            init_attn_heads=1,
        ),
        "first_stage_config": _node(
            "lvdm.models.autoencoder.AutoencoderKL",
            embed_dim=4,
            ddconfig={
                "double_z": True,
                "z_channels": 4,
                "resolution": 32,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 8,
                "ch_mult": [1, 1, 1],
                "num_res_blocks": 1,
                "norm_num_groups": 4,
            },
        ),
        "cond_stage_config": _node(
            towers + "FrozenOpenCLIPEmbedder", layer="penultimate", max_length=16, model_cfg=clip, vocabulary="small"
        ),
        "img_cond_stage_config": _node(towers + "FrozenOpenCLIPImageEmbedderV2", model_cfg=clip),
        "image_proj_stage_config": _node(
            "lvdm.modules.encoders.resampler.Resampler",
            dim=16,
            depth=1,
            dim_head=16,
            heads=1,
            num_queries=2,
            embedding_dim=32,
            output_dim=32,
            ff_mult=2,
            video_length=FRAMES,
        ),
    }
    sampling = {
        "name": "small",
        "height": SIDE,
        "width": SIDE,
        "num_frames": FRAMES,
        "fs_meaning": "fps",
        "fs_min": 5,
        "fs_max": 30,
        "fs_default": 10,
        "capabilities": list(capabilities),
        "guidance_scale": 2.0,
        "num_inference_steps": 2,
        "timestep_spacing": "uniform_trailing",
    }
    return {"model": {"target": "lvdm.models.ddpm3d.LatentVisualDiffusion", "params": params}, "sampling": sampling}


def shallow_model() -> dict[str, Any]:
    """The `model:` node of `small_yaml` with a UNet of one level, for what its depth does not matter to."""
    model: dict[str, Any] = small_yaml()["model"]
    model["params"]["unet_config"]["params"] |= ONE_LEVEL
    return model


def small_videocrafter_yaml(images: bool = False) -> dict[str, Any]:
    """The same for a model in VideoCrafter's layout and words: text-to-video, or with `images` image-to-video."""
    tree = small_yaml(("i2v",) if images else ("t2v",))
    old = tree["model"]["params"]
    params = {key: old[key] for key in ("image_size", "scale_factor", "first_stage_config", "cond_stage_config")}
    unet = old["unet_config"]["params"] | {"in_channels": 4, "fps_cond": True, "use_image_attention": images}
    for key in ("fs_condition", "image_cross_attention"):
        del unet[key]
    params["unet_config"] = _node(old["unet_config"]["target"], **unet)
    params |= {"conditioning_key": "crossattn", "use_scale": True, "scale_b": 0.7}
    tree["model"]["params"] = params
    tree["sampling"] |= {"guidance_scale": 2.0, "timestep_spacing": "uniform", "keeps_image": not images}
    if not images:
        tree["model"]["target"] = "lvdm.models.ddpm3d.LatentDiffusion"
        return tree
    resampler = old["image_proj_stage_config"]
    del resampler["params"]["video_length"]
    params |= {"cond_img_config": old["img_cond_stage_config"], "image_proj_stage_config": resampler}
    params["finegrained"] = True
    return tree


def small_structure_yaml(estimator: bool = True) -> dict[str, Any]:
    """The same for a model in Make-Your-Video's layout and words, with a small depth estimator or without one."""
    tree = small_yaml(("structure",))
    old = tree["model"]["params"]
    params = {key: old[key] for key in ("image_size", "scale_factor", "first_stage_config", "cond_stage_config")}
    unet = old["unet_config"]["params"] | {"in_channels": 5, "use_relative_position": True}
    unet |= {"use_causal_attention": True, "tempspatial_aware": True, "addition_attention": False}
    for key in ("fs_condition", "image_cross_attention", "init_attn_heads", "image_tokens_per_frame"):
        del unet[key]
    params |= {"conditioning_key": "hybrid", "unet_config": _node(old["unet_config"]["target"], **unet)}
    if estimator:
        network = {"image_size": 64, "stem": 32, "depths": [1, 1, 1], "dim": 32, "heads": 2, "blocks": 2}
        network |= {"taps": [0, 1], "features": 32, "classes": 2}
        params["depth_stage_config"] = _node("lvdm.modules.encoders.midas.api.MiDaSInference", network=network)
    sampling = tree["sampling"] | {"fs_meaning": "none", "timestep_spacing": "uniform", "keeps_image": False}
    return {"model": {"target": "lvdm.models.ddpm3d.LatentDepthDiffusion", "params": params}, "sampling": sampling}


def write_small_model(folder: Path, capabilities: tuple[str, ...] = ("i2v", "interpolation")) -> Path:
    """Write config.yaml and model.safetensors into `folder`; returns it."""
    return write_model(folder, small_yaml(capabilities))


def write_model(folder: Path, tree: dict[str, Any]) -> Path:
    """Write the YAML `tree` and weights for it into `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(tree)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "model.safetensors").write_bytes(_weights_of(text))
    return folder


@functools.cache
def _weights_of(text: str) -> bytes:
    """The file of weights for a YAML text: dozens of folders hold the same."""
    with WithoutRandomValues():
        model = model_component(yaml.safe_load(text), "small").build()
    fill_module(model, "")
    return save({key: value.contiguous() for key, value in model.state_dict().items()})


def picture(height: int = SIDE, width: int = SIDE, seed: int = 0) -> Image.Image:
    """A smooth colourful image."""
    grid = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    pixels = torch.nn.functional.interpolate(grid, (height, width), mode="bilinear", align_corners=True)[0]
    return Image.fromarray((pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8))


def _node(target: str, **params: Any) -> dict[str, Any]:
    return {"target": target, "params": params}
