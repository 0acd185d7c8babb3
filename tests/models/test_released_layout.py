"""The state dict is a public contract: users, forks and wrappers load and grep for these keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from manifests import MAKEYOURVIDEO, VIDEOCRAFTER, entries, manifest
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


@pytest.mark.parametrize("estimator", [True, False], ids=["with_estimator", "without_estimator"])
def test_state_dict_is_that_of_make_your_video(estimator: bool) -> None:
    component = load_model_config(CONFIGS / "inference_makeyourvideo_256_v1.0.yaml")
    if not estimator:
        component = replace(component, params=replace(component.params, depth_stage_config=None))
    with torch.device("meta"):
        model = component.build()
    actual, expected = entries(model), manifest(MAKEYOURVIDEO)
    assert len(expected) == 2528, "2160 keys and the 368 of the estimator"
    assert actual == (expected if estimator else expected[:2160])


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
