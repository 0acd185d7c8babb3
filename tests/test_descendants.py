"""Models that descend from DynamiCrafter load as they are, or say in one line what is missing."""

from __future__ import annotations

import copy

import pytest
import torch
from manifests import entries, manifest
from tiny_models import released_tree

from lvdm.config import ConfigError, parse_component
from lvdm.model_card import ModelCard


def viewcrafter_tree():
    """ViewCrafter's `model:` node: that of the 1024 model under another name, with its own frame rate and option."""
    tree = copy.deepcopy(released_tree("configs/inference_1024_v1.0.yaml"))
    tree["target"] = "lvdm.models.ddpm3d.VIPLatentDiffusion"
    tree["params"] |= {"loop_video": "Flase", "rand_cond_frame": True, "uncond_prob": 0.05}
    tree["params"]["unet_config"]["params"]["default_fs"] = 10
    return tree


def test_viewcrafter_has_the_keys_of_the_1024_model() -> None:
    with torch.device("meta"):
        model = parse_component(viewcrafter_tree(), "viewcrafter").build()
    assert entries(model) == manifest("1024")


@pytest.mark.parametrize(
    ("name", "size", "latent"), [("viewcrafter", (576, 1024), 72), ("viewcrafter-512", (320, 512), 40)]
)
def test_viewcrafter_has_the_settings_of_its_script(name: str, size: tuple[int, int], latent: int) -> None:
    tree = viewcrafter_tree()
    if latent == 40:
        tree["params"] |= {"image_size": [40, 64], "base_scale": 0.7, "loop_video": False, "fix_temporal": True}
    parse_component(tree, name)
    card = ModelCard.from_tree({"model": tree}, "inference_pvd.yaml")
    assert (card.name, card.height, card.width) == (name, *size)
    assert (card.num_frames, card.fs_default, card.image_token_policy) == (25, 10, "broadcast")
    assert (card.guidance_scale, card.guidance_rescale, card.eta) == (7.5, 0.7, 1.0)
    assert (card.num_inference_steps, card.timestep_spacing) == (50, "uniform_trailing")


def test_condition_noise_changes_no_key() -> None:
    """cond-image-leakage: a training with TimeNoise gives a checkpoint of the same layout."""
    tree = released_tree("configs/inference_512_v1.0.yaml")
    tree["params"] = dict(tree["params"]) | {"time_noise": {}}
    with torch.device("meta"):
        model = parse_component(tree, "timenoise").build()
    assert entries(model) == manifest("512")


@pytest.mark.parametrize(
    "target", ["CameraControl.CamI2V.cami2v.CamI2V", "CameraControl.motionctrl.motionctrl.MotionCtrl"]
)
def test_camera_adapters_are_refused_by_name(target: str) -> None:
    tree = viewcrafter_tree() | {"target": target}
    with pytest.raises(ConfigError, match=r"is a camera adapter .*, which is not implemented") as caught:
        parse_component(tree, "model")
    assert "\n" not in str(caught.value)
