"""VideoCrafter's YAMLs: its keys are understood, options that are not implemented are refused, cards are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lvdm.config import ConfigError, load_model_config, load_yaml, parse_component
from lvdm.fit.training_setup import load_training_setup
from lvdm.model_card import VIDEOCRAFTER, ModelCard
from lvdm.model_files import PRESETS

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
T2V, I2V = "inference_t2v_512_v2.0.yaml", "inference_i2v_512_v1.0.yaml"
FILES = {
    "vc1": "inference_t2v_512_v1.0.yaml",
    "vc2": T2V,
    "vc1024": "inference_t2v_1024_v1.0.yaml",
    "vc-i2v": I2V,
}


def test_presets_have_these_files() -> None:
    assert {name: PRESETS[name].config for name in FILES} == FILES
    assert VIDEOCRAFTER.sources == FILES


@pytest.mark.parametrize(("name", "base_scale"), [("vc1", None), ("vc2", 0.7), ("vc1024", 0.3), ("vc-i2v", 0.7)])
def test_the_networks_that_the_yaml_describes(name: str, base_scale: float | None) -> None:
    component = load_model_config(CONFIGS / FILES[name])
    model, unet = component.params, component.params.unet_config.params
    images = name == "vc-i2v"
    assert component.resolve().__name__ == ("LatentVisualDiffusion" if images else "LatentDiffusion")
    assert (model.parameterization, model.scale_factor, model.final_scale) == ("eps", 0.18215, "first")
    assert model.use_dynamic_rescale == (base_scale is not None)
    assert base_scale is None or model.base_scale == base_scale
    assert model.fix_scale_bug == (name == "vc1024")
    assert (model.reads_images, unet.image_cross_attention) == (images, images)
    assert (unet.in_channels, unet.shared_context, unet.default_fs) == (4, True, 16)
    assert unet.use_relative_position == (name in ("vc1", "vc1024")) == (not unet.temporal_conv)
    assert unet.fs_condition == (name != "vc1")
    if images:
        assert (model.image_proj_stage_config.params.num_queries, model.image_proj_stage_config.params.depth) == (16, 4)
        assert model.image_proj_stage_config.params.video_length is None


@pytest.mark.parametrize("name", FILES)
def test_the_card_is_found_without_its_block(name: str, tmp_path: Path) -> None:
    assert VIDEOCRAFTER[name].name == name
    tree = load_yaml(CONFIGS / FILES[name])
    del tree["sampling"]
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(tree))
    assert ModelCard.from_yaml(tmp_path / "bare.yaml") == VIDEOCRAFTER[name], "told by the original YAML alone"


def model_node(config: str, place: str, value: Any) -> dict[str, Any]:
    """The `model:` of configs/`config` with the key at `place` (below `params`) set to `value`."""
    tree = load_yaml(CONFIGS / config)["model"]
    node = tree["params"]
    *parents, last = place.split(".")
    for parent in parents:
        node = node[parent]
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("config", "place", "value", "expected"),
    [
        (T2V, "scale_a", 2, "scale_a = 2 is not supported, only 1: the dynamic rescale begins at 1"),
        (T2V, "use_dynamic_rescale", True, "use_scale and use_dynamic_rescale are the same option"),
        (T2V, "conditioning_key", "concat", "conditioning_key = 'concat' is not known"),
        (T2V, "conditioning_key", "hybrid", "hybrid needs an image encoder"),
        (T2V, "mid_steps", 400, "unknown key 'mid_steps'"),
        (T2V, "mid_step", 1000, "turning_step 1000 must lie before the last"),
        (T2V, "uncond_type", "zero_embed", "uncond_type"),
        (T2V, "unet_config.params.in_channels", 8, "conditioning_key crossattn gives the network 4 channels"),
        (T2V, "unet_config.params.use_causal_attention", True, "use_causal_attention should be false"),
        (T2V, "unet_config.params.temporal_selfatt_only", False, "temporal_selfatt_only"),
        (T2V, "unet_config.params.fs_condition", True, "fps_cond and fs_condition are the same option"),
        (T2V, "cond_img_config", {"target": "lvdm.config.Nothing"}, ""),
        (I2V, "finegrained", False, "finegrained should be true"),
        (I2V, "random_cond", True, "random_cond"),
    ],
)
def test_mistakes_and_missing_options_are_named(config: str, place: str, value: Any, expected: str) -> None:
    tree = model_node(config, place, value)
    if place == "mid_step":
        tree["params"]["fix_scale_bug"] = True
    if not expected:
        parse_component(tree, "model")
        return
    with pytest.raises(ConfigError) as caught:
        parse_component(tree, "model")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_model_with_an_image_tower_has_another_name() -> None:
    tree = load_yaml(CONFIGS / I2V)["model"] | {"target": "lvdm.models.ddpm3d.LatentDiffusion"}
    with pytest.raises(ConfigError, match=r"a LatentDiffusion reads no images; use .*LatentVisualDiffusion"):
        parse_component(tree, "model")
    tree = load_yaml(CONFIGS / T2V)["model"] | {"target": "lvdm.models.ddpm3d.LatentVisualDiffusion"}
    with pytest.raises(ConfigError, match="missing keys img_cond_stage_config, image_proj_stage_config"):
        parse_component(tree, "model")


def test_our_words_are_understood_too() -> None:
    tree = load_yaml(CONFIGS / T2V)["model"]
    params, unet = tree["params"], tree["params"]["unet_config"]["params"]
    params["use_dynamic_rescale"], params["base_scale"] = params.pop("use_scale"), params.pop("scale_b")
    unet["fs_condition"] = unet.pop("fps_cond")
    assert parse_component(tree, "model") == load_model_config(CONFIGS / T2V)


def test_videocrafters_keys_mean_nothing_to_dynamicrafter() -> None:
    for place in ("use_scale", "unet_config.params.fps_cond"):
        with pytest.raises(ConfigError, match="unknown key"):
            parse_component(model_node("inference_512_v1.0.yaml", place, True), "model")


def test_a_training_of_such_a_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    tree = load_yaml(ROOT / "configs" / "training_512_v1.0" / "config.yaml")
    tree["model"] = load_yaml(CONFIGS / T2V)["model"]
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(
        ConfigError, match=r"not trained here; use a configuration of DynamiCrafter.*pretrained_checkpo"
    ):
        load_training_setup([tmp_path / "training.yaml"])
