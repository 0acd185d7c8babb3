"""Settings of every method, for the model of `small_model.py` trained at half its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from small_model import FRAMES, picture, small_yaml, write_model

SIDE = 16
LONG = FRAMES + 3
METHODS: dict[str, dict[str, Any]] = {
    "anchor": {"anchor": "exact"},
    "color_lock": {"color_lock": 0.5},
    "camera": {"camera": "pan_left"},
    "carry": {"carry": "drag:radius=0.3,right=0.3"},
    "low_pass": {"low_pass": 0.5, "low_pass_until": 0.5},
    "truncated_start": {"truncated_start": 0.9},
    "free_init": {"free_init": "iterations=2"},
    "free_u": {"free_u": "b1=1.2,s1=0.9"},
    "deep_cache": {"deep_cache": "interval=2,blocks=1", "num_inference_steps": 3},
    "guidance_steps": {"guidance_steps": "until=0.5"},
    "second_stage_unet": {"second_stage_unet": "other.safetensors", "second_stage_below": 0.6},
    "perturbed_guidance": {"perturbed_guidance": "stg:scale=1"},
    "scale": {
        "height": 2 * SIDE,
        "width": 2 * SIDE,
        "scale": "scalecrafter:factor=2,until=0.5,progressive=no,damped=yes",
    },
    "freescale": {"height": 2 * SIDE, "width": 2 * SIDE, "scale": "freescale:factor=2,until=0.5,level=0.8"},
    "freenoise": {"num_frames": LONG, "long_video": "freenoise"},
    "freelong": {"num_frames": LONG, "long_video": "freelong"},
    "prompts_at": {"prompts_at": {2: "it stops"}},
    "keep_mask": {"keep_mask": torch.ones(SIDE, SIDE).tril(), "keep_feather": 2},
    "keyframes": {"keyframes": {FRAMES - 1: picture(SIDE, SIDE, seed=1)}},
}


def write_two_models(folder: Path) -> Path:
    """Write the small model into `folder`, and weights for the late steps beside it; returns the model."""
    tree = small_yaml()
    tree["model"]["params"]["unet_config"]["params"]["temporal_conv"] = False
    tree["sampling"] |= {"height": SIDE, "width": SIDE}
    model, late = write_model(folder / "small", tree), folder / "other.safetensors"
    weights = load_file(model / "model.safetensors")
    save_file({key: 0.8 * value for key, value in weights.items()}, late)
    METHODS["second_stage_unet"]["second_stage_unet"] = str(late)
    return model
