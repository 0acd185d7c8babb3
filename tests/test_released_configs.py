"""The original's YAML files load unchanged, and those in `configs/` are them, plus our `sampling:` block."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvdm.config import ConfigError, load_model_config, load_yaml
from lvdm.fit.training_setup import load_training_setup

ROOT = Path(__file__).parent.parent
ORIGINALS: dict[str, dict[str, Any]] = json.loads((ROOT / "tests" / "golden" / "configs.json").read_text())
SHIPPED = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml"))


def is_whole(name: str) -> bool:
    """Whether a training file needs no other: it is no stage, not what stages share, and names its model."""
    if "training" not in name or "_stage" in name or name.endswith("base.yaml"):
        return False
    return "target" in load_yaml(ROOT / name).get("model", {})


def save(tree: dict[str, Any], folder: Path) -> Path:
    """The tree as a YAML file."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@pytest.mark.parametrize("name", ORIGINALS)
def test_original_loads_unchanged(name: str, tmp_path: Path) -> None:
    component = load_model_config(save(ORIGINALS[name], tmp_path))
    assert component.resolve().__name__ == "LatentVisualDiffusion"
    params, given = component.params, ORIGINALS[name]["model"]["params"]
    assert params.parameterization == given.get("parameterization", "eps")
    assert params.scale_factor == 0.18215
    unet = params.unet_config.params
    assert unet.model_channels == 320
    assert unet.channel_mult == (1, 2, 4, 4)
    assert unet.default_fs == given["unet_config"]["params"]["default_fs"]


@pytest.mark.parametrize("name", ORIGINALS)
def test_shipped_file_is_the_original(name: str) -> None:
    shipped = load_yaml(ROOT / name)
    shipped.pop("sampling", None)
    assert shipped == ORIGINALS[name], f"{name} differs from the original"


def test_interpolation_has_the_network_of_the_512_model() -> None:
    shipped = load_yaml(ROOT / "configs" / "inference_512_interp_v1.0.yaml")
    assert shipped["model"] == ORIGINALS["configs/inference_512_v1.0.yaml"]["model"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_loads(name: str) -> None:
    path = ROOT / name
    if "target" in load_yaml(path).get("model", {}):
        load_model_config(path)
    else:  # a stage, which is laid over the file of the whole recipe
        names = ("base.yaml", "video.yaml", re.sub("_[a-z]+_stage", "", path.name))
        bases = [path.with_name(name) for name in dict.fromkeys(names) if name != path.name]
        bases = [base for base in bases if base.is_file()]
        load_training_setup([*bases, path])


@pytest.mark.parametrize("name", [name for name in SHIPPED if is_whole(name)])
def test_every_training_file_is_a_whole_training(name: str) -> None:
    setup = load_training_setup([ROOT / name])
    assert setup.optimizer.learning_rate > 0
    assert setup.lightning.trainer.max_steps > 0


def changed(path: str, value: Any) -> dict[str, Any]:
    """The 512 model's YAML with the key at `path` (below `model.params`) set to `value`."""
    tree = copy.deepcopy(ORIGINALS["configs/inference_512_v1.0.yaml"])
    node = tree["model"]["params"]
    *parents, last = path.split(".")
    for parent in parents:
        node = node[parent]
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("parametrization", "v", "parameterization"),
        ("parameterization", "velocity", "velocity"),
        ("parameterization", 3, "parameterization"),
        ("timesteps", "1000", "timesteps"),
        ("scale_factor", "0.18215", "scale_factor"),
        ("use_ema", True, "use_ema"),
        ("conditioning_key", "crossattn", "conditioning_key"),
        ("image_size", [40], "image_size"),
        ("unet_config.params.modelchannels", 320, "model_channels"),
        ("unet_config.params.channel_mult", "1244", "channel_mult"),
        ("unet_config.params.temporal_selfatt_only", False, "temporal_selfatt_only"),
        ("unet_config.target", "os.system", "os.system"),
        ("unet_config.target", "lvdm.modules.networks.openaimodel3d.UnetModel", "UnetModel"),
        ("first_stage_config.params.ddconfig.chmult", [1], "ch_mult"),
        ("first_stage_config.params.lossconfig.target", "torch.nn.Linear", "torch.nn.Linear"),
        ("cond_stage_config.params.layer", "last-but-three", "layer"),
        ("image_proj_stage_config.params.video_lenght", 16, "video_length"),
        ("image_proj_stage_config.params.depth", 4.5, "depth"),
    ],
)
def test_mistakes_are_named(path: str, value: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model_config(save(changed(path, value), tmp_path))
    message = str(caught.value)
    assert expected in message, f"{path} = {value!r}: {message}"
    assert "\n" not in message, "an error of more than one line"


def test_every_legacy_option_is_refused_at_other_values(tmp_path: Path) -> None:
    found = load_model_config(save(ORIGINALS["configs/inference_512_v1.0.yaml"], tmp_path)).params
    components = {name: getattr(found, name) for name in vars(found) if "_config" in name}
    parts = {"": found, **{f"{name}.params.": part.params for name, part in components.items() if part is not None}}
    tried = 0
    for prefix, params in parts.items():
        for key in getattr(params, "LEGACY", {}):
            with pytest.raises(ConfigError, match=key):
                load_model_config(save(changed(prefix + key, "something else"), tmp_path))
            tried += 1
    assert tried > 5, "the legacy options were not found"
