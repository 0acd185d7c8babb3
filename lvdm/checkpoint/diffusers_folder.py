"""A model as a folder in the layout of diffusers: one subfolder with configuration and weights for each component.

`model_index.json` names the components, and holds the nodes `model` and `sampling` of our YAML besides: it is the
configuration of the folder. diffusers itself is needed neither to read nor to write one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lvdm.checkpoint.diffusers_autoencoder import shape_here, their_names
from lvdm.checkpoint.keys import DIFFUSERS_INDEX
from lvdm.checkpoint.parts import (
    AUTOENCODER,
    DEPTH_ESTIMATOR,
    FRAME_CARRIER,
    IMAGE_ENCODER,
    QUERY_TRANSFORMER,
    SCHEDULE,
    TEXT_ENCODER,
    UNET,
    Part,
)
from lvdm.checkpoint.pickles import damaged
from lvdm.checkpoint.sources import DTYPES, TensorSource
from lvdm.documents import read_json, short_text
from lvdm.errors import CheckpointError

FOLDERS: Mapping[str, Part] = MappingProxyType(
    {
        "unet": UNET,
        "vae": AUTOENCODER,
        "text_encoder": TEXT_ENCODER,
        "image_encoder": IMAGE_ENCODER,
        "image_projection": QUERY_TRANSFORMER,
        "frame_carrier": FRAME_CARRIER,
        "depth_estimator": DEPTH_ESTIMATOR,
        "scheduler": SCHEDULE,
    }
)
"""The parts of a checkpoint by the names of their subfolders."""
CONFIG, SCHEDULE_CONFIG = "config.json", "scheduler_config.json"
WEIGHTS, SCHEDULE_WEIGHTS = "diffusion_pytorch_model.safetensors", "schedule.safetensors"
"""The second holds the noise schedule as the checkpoint stored it, and keys of no component."""
WRAPPED = "network."
"""How the keys begin of components that diffusers does not know, see `lvdm.diffusers_pipeline.components.Network`."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: in which open file, under which key, and its shape here."""

    file: Any
    key: str
    shape: tuple[int, ...]


class FolderSource(TensorSource):
    """Tensors of a folder by released key, each read when asked for."""

    def __init__(self, places: Mapping[str, _Place]) -> None:
        self._places = places

    def tensor(self, key: str) -> Tensor:
        """The tensor, by released key."""
        place = self._places[key]
        found: Tensor = place.file.get_tensor(place.key)
        return found.reshape(place.shape)

    def shape(self, key: str) -> tuple[int, ...]:
        """Its shape, from the header."""
        return self._places[key].shape

    def dtype(self, key: str) -> torch.dtype:
        """Its dtype, from the header."""
        place = self._places[key]
        return DTYPES[place.file.get_slice(place.key).get_dtype()]


def read_diffusers(folder: Path) -> tuple[FolderSource, dict[str, str]]:
    """The tensors of a folder with a `model_index.json`, and released key -> the same.

    Raises `CheckpointError` for a folder of another model than ours, and for a damaged file.
    """
    if "model" not in _json(folder / DIFFUSERS_INDEX):
        raise CheckpointError(
            f"{folder} is another program's model for diffusers; only folders that `dynamicrafter convert --to "
            "diffusers` wrote hold one of ours"
        )
    places: dict[str, _Place] = {}
    for name, part in FOLDERS.items():
        layers = _layers_here(folder / name)
        for path in _weight_files(folder / name):
            try:
                file = safe_open(path, framework="pt", device="cpu")
                for key in list(file.keys()):
                    released = part.prefix + _released(key, layers)
                    shape = tuple(file.get_slice(key).get_shape())
                    places[released] = _Place(file, key, shape_here(released, shape) if layers else shape)
            except (SafetensorError, OSError) as error:
                raise CheckpointError(damaged(path, error)) from error
    if not places:
        raise CheckpointError(f"{folder} holds no weights in {', '.join(FOLDERS)}; convert the checkpoint again")
    return FolderSource(places), {key: key for key in places}


def _layers_here(folder: Path) -> dict[str, str]:
    """Layer in the file -> layer here, of an AutoencoderKL; empty for components whose layers have our names."""
    path = folder / CONFIG
    config = _json(path) if path.is_file() else {}
    if config.get("_class_name") != "AutoencoderKL":
        return {}
    return {theirs: ours for ours, theirs in their_names(config).items()}


def _released(key: str, layers: Mapping[str, str]) -> str:
    """A key of a component as our checkpoints have it, without the prefix of its part."""
    layer, _, kind = key.rpartition(".")
    return f"{layers[layer]}.{kind}" if layer in layers else key.removeprefix(WRAPPED)


def _weight_files(folder: Path) -> list[Path]:
    """The weights of a component: one file, or the shards that an index names."""
    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        return [folder / name for name in sorted(set(_json(index)["weight_map"].values()))]
    return [folder / name for name in (WEIGHTS, SCHEDULE_WEIGHTS) if (folder / name).is_file()]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); convert the checkpoint again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} should hold a JSON object, it holds {short_text(found)}")
    return found
