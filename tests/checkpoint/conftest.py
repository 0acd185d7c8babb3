"""A small real model, and its weights in every file format."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from golden_vectors import WithoutRandomValues
from safetensors.torch import save_file
from small_model import small_yaml
from torch import Tensor, nn

from lvdm.config import Component, load_model_config

StateDict = dict[str, Tensor]


def _config(path: Path, style: str) -> Component:
    tree = small_yaml()
    if style == "256":
        params = tree["model"]["params"]
        params |= {"parameterization": "eps", "rescale_betas_zero_snr": False, "use_dynamic_rescale": False}
        params["unet_config"]["params"]["image_cross_attention_scale_learnable"] = True
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return load_model_config(path)


@pytest.fixture(scope="session")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Component]:
    """Configurations in the styles of the 512 and the 256 model."""
    folder = tmp_path_factory.mktemp("configs")
    return {style: _config(folder / f"{style}.yaml", style) for style in ("512", "256")}


@pytest.fixture
def meta_model(configs: dict[str, Component]) -> Callable[[str], nn.Module]:
    """A builder of models without values."""

    def build(style: str = "512") -> nn.Module:
        with torch.device("meta"), WithoutRandomValues():
            return configs[style].build()

    return build


@pytest.fixture(scope="session")
def weights(configs: dict[str, Component]) -> dict[str, StateDict]:
    """The whole state dict of a model with random parameters, by style."""
    return {style: _random_weights(config) for style, config in configs.items()}


def _random_weights(config: Component) -> StateDict:
    with torch.device("meta"):
        model = config.build()
    values = {}
    for key, value in model.state_dict().items():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        values[key] = torch.randn(value.shape, generator=generator) if value.is_meta else value
    return values


def _save_lightning(tensors: StateDict, path: Path) -> None:
    torch.save(
        {
            "epoch": 3,
            "global_step": 7,
            "pytorch-lightning_version": "2.6.6",
            "state_dict": tensors,
            "loops": {},
            "callbacks": {},
        },
        path,
    )


def _save_deepspeed(tensors: StateDict, path: Path) -> None:
    torch.save(
        {"module": {f"_forward_module.{key}": value for key, value in tensors.items()}, "dp_world_size": 1}, path
    )


def _save_legacy(tensors: StateDict, path: Path) -> None:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


FORMATS: dict[str, Callable[[StateDict, Path], Any]] = {
    "lightning.ckpt": _save_lightning,
    "deepspeed.ckpt": _save_deepspeed,
    "bare.pt": torch.save,
    "legacy.pth": _save_legacy,
    "plain.safetensors": save_file,
}


@pytest.fixture(params=FORMATS)
def any_format(request: pytest.FixtureRequest) -> tuple[str, Callable[[StateDict, Path], Any]]:
    """Each file format in turn: a file name, and how to write it."""
    return request.param, FORMATS[request.param]
