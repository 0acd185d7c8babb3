"""A model's YAML and weight file made into a network in eval mode."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from lvdm.checkpoint import load_into, read_checkpoint
from lvdm.config import load_model_config
from lvdm.device import Precision
from lvdm.model_files import ModelFiles
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.suggestions import suggest

Schedule = Literal["config", "file"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
"""Where the noise schedule comes from when a weight file holds another one than its YAML describes."""


def choose_schedule(name: str) -> Schedule:
    """The entry of `SCHEDULES` called `name`. Raises `ValueError` for any other."""
    for schedule in SCHEDULES:
        if schedule == name:
            return schedule
    raise ValueError(f"schedule {name!r} is not known; {suggest(name, SCHEDULES)}")


def load_model(
    files: ModelFiles,
    precision: Precision,
    encoders: str | Path | None,
    device: torch.device,
    schedule: Schedule = "config",
) -> LatentVisualDiffusion:
    """The model of `files` in eval mode, built without memory and filled straight from the file on `device`."""
    checkpoint = read_checkpoint(files.checkpoint)
    supplement = None if encoders is None else read_checkpoint(encoders)
    with torch.device("meta"):
        model: LatentVisualDiffusion = load_model_config(files.config).build()
    for part in (model.model, model.cond_stage_model, model.embedder, model.image_proj_model):
        part.to(precision.weights)
    model.first_stage_model.to(precision.vae)
    load_into(model, checkpoint, device=device, encoders=supplement, schedule=schedule)
    return model.to(device).eval().requires_grad_(False)
