"""From any readable checkpoint to a folder in the layout of diffusers, tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lvdm.checkpoint.diffusers_autoencoder import (
    autoencoder_kl_config,
    fits_autoencoder_kl,
    shape_there,
    their_names,
)
from lvdm.checkpoint.diffusers_folder import (
    CONFIG,
    FOLDERS,
    SCHEDULE_CONFIG,
    SCHEDULE_WEIGHTS,
    WEIGHTS,
    WRAPPED,
)
from lvdm.checkpoint.keys import DIFFUSERS_INDEX
from lvdm.checkpoint.parts import AUTOENCODER, UNET, Part, part_of
from lvdm.checkpoint.sources import CheckpointFile
from lvdm.checkpoint.writing import TensorLayout, stream_safetensors
from lvdm.config import Component, Nothing, model_component
from lvdm.errors import CheckpointError
from lvdm.media.atomic import atomic_path, write_json
from lvdm.model_card import ModelCard

COMPONENTS = "lvdm.diffusers_pipeline.components"
"""The module of the classes that diffusers does not have."""
PIPELINE = "DynamiCrafterDiffusionPipeline"
PIPELINE_FILE = "pipeline.py"
PIPELINE_SOURCE = f'''"""Where the pipeline of this folder is: the installed package dynamicrafter has it."""

from lvdm.diffusers_pipeline.pipeline import {PIPELINE}
'''
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
SPACINGS = {"uniform": ("leading", 1), "uniform_trailing": ("trailing", 0)}
"""Our spacings of time steps: what diffusers calls them, and by how much it shifts them."""
NODES: Mapping[str, str] = {
    "unet": "unet_config",
    "vae": "first_stage_config",
    "text_encoder": "cond_stage_config",
    "image_encoder": "img_cond_stage_config",
    "image_projection": "image_proj_stage_config",
    "frame_carrier": "frame_carrier_config",
    "depth_estimator": "depth_stage_config",
}
"""The field of a model's configuration that describes each component."""


def write_diffusers(
    checkpoint: CheckpointFile,
    folder: Path,
    layout: Mapping[str, torch.dtype],
    read: Callable[[str], torch.Tensor],
    tree: Mapping[str, Any],
    where: str,
) -> None:
    """Write `checkpoint` as a folder, which appears whole or not at all.

    layout  released key -> dtype to write, in the order to write
    read    a tensor in that dtype
    tree    the YAML of the model, from the file `where`

    Raises `CheckpointError` for a part that the configuration does not have, `OutputError`.
    """
    config = model_component(tree, where).params
    components = {name: _component(config, field) for name, field in NODES.items()}
    by_folder: dict[str, list[str]] = {name: [] for name in FOLDERS}
    places = {part: name for name, part in FOLDERS.items()}
    for key in layout:
        by_folder[places.get(part_of(key), "scheduler")].append(key)
    held = {name for name, keys in by_folder.items() if keys and name != "scheduler"}
    unknown = [name for name in components if name in held and components[name] is None]
    if unknown:
        raise CheckpointError(
            f"{checkpoint.path} holds {FOLDERS[unknown[0]].name} weights, and {where} has no {NODES[unknown[0]]}; name "
            "the YAML that belongs to the weights (--config)"
        )
    index: dict[str, Any] = {"_class_name": [PIPELINE_FILE.removesuffix(".py"), PIPELINE]}
    with atomic_path(folder) as temporary:
        for name, component in components.items():
            if component is None or name not in held:
                index[name] = [None, None]
                continue
            described = _description(name, component, config)
            library = "diffusers" if described["_class_name"] == "AutoencoderKL" else COMPONENTS
            index[name] = [library, described["_class_name"]]
            names = _names(FOLDERS[name], described, by_folder[name])
            write_json(temporary / name / CONFIG, described)
            arguments = temporary / name / WEIGHTS, names, checkpoint, layout, read
            _write(*arguments, shape_there) if library == "diffusers" else _write(*arguments)
        card = ModelCard.from_tree(tree, where)
        index["scheduler"] = [COMPONENTS, "VideoScheduler"]
        write_json(temporary / "scheduler" / SCHEDULE_CONFIG, scheduler_config(config, card))
        if by_folder["scheduler"]:
            schedule = {key: key for key in by_folder["scheduler"]}
            _write(temporary / "scheduler" / SCHEDULE_WEIGHTS, schedule, checkpoint, layout, read)
        index |= {"model": tree["model"], "sampling": asdict(card)}
        write_json(temporary / DIFFUSERS_INDEX, index)
        (temporary / PIPELINE_FILE).write_text(PIPELINE_SOURCE, encoding="utf-8")
        os.replace(temporary, folder)


def scheduler_config(config: Any, card: ModelCard) -> dict[str, Any]:
    """The noise schedule and the usual sampling of a model, in the words of diffusers' schedulers.

    config  a `lvdm.models.video_config.LatentVisualDiffusionConfig`
    """
    spacing, offset = SPACINGS.get(card.timestep_spacing, SPACINGS["uniform"])
    return {
        "_class_name": "VideoScheduler",
        "num_train_timesteps": config.timesteps,
        "beta_start": config.linear_start,
        "beta_end": config.linear_end,
        "beta_schedule": "scaled_linear",
        "prediction_type": PREDICTIONS[config.parameterization],
        "rescale_betas_zero_snr": config.rescale_betas_zero_snr,
        "timestep_spacing": spacing,
        "steps_offset": offset,
        "set_alpha_to_one": card.fix_final_step,
        "clip_sample": False,
    }


def _component(config: Any, field: str) -> Component | None:
    found: Component | None = getattr(config, field, None)
    return None if found is None or found.resolve() is Nothing else found


def _description(name: str, component: Component, config: Any) -> dict[str, Any]:
    """The configuration file of a component."""
    kind = component.resolve().__name__
    if FOLDERS[name] == AUTOENCODER and kind == "AutoencoderKL" and fits_autoencoder_kl(component.params):
        return autoencoder_kl_config(component.params, config.scale_factor)
    return {"_class_name": "VideoUNet" if FOLDERS[name] == UNET else "Network", **asdict(component)}


def _names(part: Part, described: Mapping[str, Any], keys: list[str]) -> dict[str, str]:
    """Key in the file -> released key."""
    short = {key.removeprefix(part.prefix): key for key in keys}
    if described["_class_name"] == "VideoUNet":
        return short
    if described["_class_name"] == "Network":
        return {WRAPPED + name: key for name, key in short.items()}
    layers = their_names(described)
    split = {name: name.rpartition(".") for name in short}
    unknown = [name for name, (layer, _, _) in split.items() if layer not in layers]
    if unknown:
        raise CheckpointError(f"{short[unknown[0]]} is no layer of the autoencoder that the configuration describes")
    return {f"{layers[layer]}.{kind}": short[name] for name, (layer, _, kind) in split.items()}


def _write(
    path: Path,
    names: Mapping[str, str],
    checkpoint: CheckpointFile,
    layout: Mapping[str, torch.dtype],
    read: Callable[[str], torch.Tensor],
    reshape: Callable[[str, tuple[int, ...]], tuple[int, ...]] = lambda key, shape: shape,
) -> None:
    """The tensors of a component, by key in the file; `reshape` gives their shapes there."""
    planned = {name: TensorLayout(layout[key], reshape(key, checkpoint.shape(key))) for name, key in names.items()}

    def tensor(name: str) -> torch.Tensor:
        return read(names[name]).reshape(list(planned[name].shape))

    stream_safetensors(path, planned, tensor, {"format": "pt"})
