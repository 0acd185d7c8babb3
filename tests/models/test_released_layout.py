"""The state dict is a public contract: users, forks and wrappers load and grep for these keys."""

from __future__ import annotations

import pytest
import torch
from manifests import VIDEOCRAFTER, entries, manifest
from tiny_models import released_tree
from tiny_videocrafter import CONFIGS
from torch import nn

from lvdm.config import load_model_config, parse_component
from lvdm.model_files import PRESETS


@pytest.mark.parametrize("name", ["256", "512", "1024"])
def test_state_dict_is_the_released_one(name: str) -> None:
    with torch.device("meta"):
        model = parse_component(released_tree(f"configs/inference_{name}_v1.0.yaml"), name).build()
    compare(model, name)


@pytest.mark.parametrize("name", VIDEOCRAFTER)
def test_state_dict_is_that_of_videocrafter(name: str) -> None:
    with torch.device("meta"):
        model = load_model_config(CONFIGS / str(PRESETS[name].config)).build()
    compare(model, VIDEOCRAFTER[name])


def compare(model: nn.Module, name: str) -> None:
    actual, expected = entries(model), manifest(name)
    assert len(actual) == len(expected), f"{len(actual)} entries, released {len(expected)}"
    for mine, released in zip(actual, expected, strict=True):
        assert mine == released, f"found {mine} where the released checkpoint has {released}"


def test_schedule_buffers_have_values_on_a_meta_built_model() -> None:
    with torch.device("meta"):
        model = parse_component(released_tree("configs/inference_512_v1.0.yaml"), "512").build()
    assert model.alphas_cumprod.device.type == "cpu"
    assert model.alphas_cumprod[-1] == 0, "zero terminal SNR"
