"""A model's YAML and weight file made into a network in eval mode."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from lvdm.checkpoint import CheckpointFile, load_into, part_of, read_checkpoint
from lvdm.checkpoint.parts import DEPTH_ESTIMATOR
from lvdm.config import Component, load_model_config
from lvdm.declaration.values import Schedule
from lvdm.device import Precision
from lvdm.model_files import ModelFiles
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.depth_diffusion import LatentDepthDiffusionConfig
from lvdm.suggestions import suggest

logger = logging.getLogger(__name__)

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
"""Where the noise schedule comes from when a weight file holds another one than its YAML describes."""


def choose_schedule(name: str) -> Schedule:
    """The entry of `SCHEDULES` called `name`. Raises `ValueError` for any other."""
    for schedule in SCHEDULES:
        if schedule == name:
            return schedule
    raise ValueError(f"schedule {name!r} is not known; {suggest(name, SCHEDULES)}")


def without_missing_estimator(component: Component, checkpoint: CheckpointFile) -> Component:
    """The configuration of a whole model, without the depth estimator that `checkpoint` has no weights for."""
    params = component.params
    if not isinstance(params, LatentDepthDiffusionConfig) or any(part_of(key) == DEPTH_ESTIMATOR for key in checkpoint):
        return component
    logger.info("%s has no depth estimator: depth is to be given, or --depth-model names its weights", checkpoint.path)
    return replace(component, params=replace(params, depth_stage_config=None))


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
    component = without_missing_estimator(load_model_config(files.config), checkpoint)
    with torch.device("meta"):
        model: LatentVisualDiffusion = component.build()
    for part in (model.model, model.cond_stage_model, model.embedder, model.image_proj_model):
        part.to(precision.weights)
    model.first_stage_model.to(precision.vae)
    load_into(model, checkpoint, device=device, encoders=supplement, schedule=schedule)
    return model.to(device).eval().requires_grad_(False)
