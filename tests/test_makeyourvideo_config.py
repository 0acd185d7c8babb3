"""Make-Your-Video's YAML: its keys are understood, and what is not implemented is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lvdm.config import ConfigError, load_model_config, load_yaml, parse_component, resolve_target
from lvdm.model_card import CARDS, ModelCard
from lvdm.models.depth_diffusion import LatentDepthDiffusion

CONFIG = Path(__file__).parent.parent / "configs" / "inference_makeyourvideo_256_v1.0.yaml"


def changed(place: str, value: Any) -> dict[str, Any]:
    """The `model:` node with the key at `place` below `params` set to `value`."""
    tree = load_yaml(CONFIG)["model"]
    *parents, last = place.split(".")
    node = tree["params"]
    for parent in parents:
        node = node[parent]
    node[last] = value
    return tree


def test_the_networks_that_the_yaml_describes() -> None:
    component = load_model_config(CONFIG)
    assert component.target == "lvdm.models.ddpm3d.LatentDepthDiffusion", "the original's dotted path"
    assert component.resolve() is LatentDepthDiffusion
    assert resolve_target("lvdm.modules.encoders.midas.api.MiDaSInference", "there").__name__ == "DepthEstimator"
    unet = component.params.unet_config.params
    assert (unet.staged_temporal_conv, unet.attention_window, unet.use_causal_attention) == ("pixels", 16, True)
    assert (unet.shared_context, unet.fs_condition, unet.in_channels) == (True, False, 5)
    assert not component.params.reads_images


def test_options_of_a_temporal_convolution() -> None:
    for options, expected in (
        ({"tempspatial_aware": False}, "frames"),
        ({"tempspatial_aware": True, "real_3dconv": True}, "volume"),
    ):
        tree = load_yaml(CONFIG)["model"]
        tree["params"]["unet_config"]["params"] |= options
        assert parse_component(tree, "model").params.unet_config.params.staged_temporal_conv == expected


def test_the_window_is_an_option_of_its_own() -> None:
    tree = changed("unet_config.params.attention_window", 24)
    assert parse_component(tree, "model").params.unet_config.params.attention_window == 24
    tree = changed("unet_config.params.use_causal_attention", False)
    assert parse_component(tree, "model").params.unet_config.params.attention_window is None


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("unet_config.params.causal_block_size", 2, "causal_block_size should be 1: with larger blocks"),
        ("unet_config.params.in_channels", 4, "noise and depth give the network 5 channels, its in_channels are 4"),
        ("unet_config.params.attention_window", 0, "attention_window should be a whole number from 1 to"),
        ("unet_config.params.temporal_conv_spans_pixels", True, "goes without temporal_conv_spans_pixels"),
        ("conditioning_key", "crossattn", "it needs conditioning_key hybrid for its depth"),
        ("depth_stage_config.params.model_type", "dpt_large", "model_type = 'dpt_large' is not known"),
    ],
)
def test_what_is_not_possible_is_named(place: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_component(changed(place, value), "model")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_its_keys_mean_nothing_to_dynamicrafter() -> None:
    tree = load_yaml(CONFIG.with_name("inference_512_v1.0.yaml"))["model"]
    tree["params"]["unet_config"]["params"]["causal_block_size"] = 1
    with pytest.raises(ConfigError, match="unknown key 'causal_block_size'"):
        parse_component(tree, "model")


def test_the_card_is_found_without_its_block(tmp_path: Path) -> None:
    assert CARDS["myv"].capabilities == ("structure",)
    tree = load_yaml(CONFIG)
    del tree["sampling"]
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(tree))
    assert ModelCard.from_yaml(tmp_path / "bare.yaml") == CARDS["myv"]
