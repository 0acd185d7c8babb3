"""The models that trainings are measured with: the embedded one, one of twice its width, and the released one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import default_collate

from lvdm.config import load_yaml, parse_component
from lvdm.data.procedural import ProceduralClips, ProceduralClipsConfig
from lvdm.fit.tuning import TuningConfig, apply_tuning
from lvdm.models.ddpm3d import LatentVisualDiffusion

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TINY = CONFIGS / "training_tiny" / "video.yaml"
FULL = CONFIGS / "inference_512_v1.0.yaml"
SHAPES = {"tiny": (16, 64, 64), "mid": (16, 64, 64), "full": (16, 320, 512)}
"""Frames, height and width."""


def build_model(size: str, tuning: TuningConfig, device: str = "cpu") -> LatentVisualDiffusion:
    """The model of `size` with random weights, in training mode."""
    tree = load_yaml(FULL if size == "full" else TINY)["model"]
    if size == "mid":
        tree["params"]["unet_config"]["params"]["model_channels"] = 64
    if size != "full":
        tree["params"]["cond_stage_trainable"] = False
    component = parse_component({key: tree[key] for key in ("target", "params")}, size)
    with torch.device(device):
        model = component.build()
    apply_tuning(model.train(), tuning)
    return model


def clips(size: str, batch: int) -> dict[str, Any]:
    """A batch of procedural clips for the model of `size`."""
    num_frames, height, width = SHAPES[size]
    source = ProceduralClips(ProceduralClipsConfig(num_frames=num_frames, height=height, width=width))
    made = source.clips(list(range(batch)), [random.Random(0)] * batch)
    return {**default_collate(made), "number": torch.arange(batch)}
