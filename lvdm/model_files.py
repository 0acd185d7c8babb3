"""Where a model's configuration and weights lie, from whatever the user named it by."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.checkpoint import checkpoint_hash
from lvdm.checkpoint.keys import DIFFUSERS_INDEX
from lvdm.config import SHIPPED_CONFIGS, ConfigError, load_yaml
from lvdm.content_hash import hash_text
from lvdm.model_card import RELEASED, ModelCard
from lvdm.regular_files import absence_reason
from lvdm.request.digest import InputFile
from lvdm.request.settings import GenerationSettings
from lvdm.suggestions import suggest

CHECKPOINTS_VARIABLE = "DYNAMICRAFTER_CHECKPOINTS"
"""Environment variable that names the folder of the checkpoints.

It goes before ./checkpoints, the folder of the repository and that of the installed package.
"""

REPOSITORY = Path(__file__).resolve().parents[1]
"""The checkout that this file lies in; of an installed package, a folder without checkpoints."""
INSTALLED = Path(__file__).resolve().parent / "embedded"
"""Where the embedded model and the YAML files lie in an installed package."""
WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
WEIGHT_NAMES = ("model.safetensors", "model.ckpt")
EMBEDDED = "tiny"
"""The preset that comes with the repository; `small` is the same weights at twice the size."""
USUAL = "small"
"""The preset of commands that name no model, but for those that follow depth."""
USUAL_FOR_STRUCTURE = "tiny-structure"


@dataclass(frozen=True)
class Preset:
    """A model: its folder under the checkpoints, and its YAML inside or under configs/ (None: `config.yaml`)."""

    folder: str
    config: str | None


PRESETS: Mapping[str, Preset] = {
    EMBEDDED: Preset("tiny", None),
    "small": Preset("tiny", "small.yaml"),
    USUAL_FOR_STRUCTURE: Preset("tiny-structure", None),
    "256": Preset("dynamicrafter_256_v1", "inference_256_v1.0.yaml"),
    "512": Preset("dynamicrafter_512_v1", "inference_512_v1.0.yaml"),
    "1024": Preset("dynamicrafter_1024_v1", "inference_1024_v1.0.yaml"),
    "interp": Preset("dynamicrafter_512_interp_v1", "inference_512_interp_v1.0.yaml"),
    "loop": Preset("dynamicrafter_512_interp_v1", "inference_512_interp_v1.0.yaml"),
    "vc1": Preset("base_512_v1", "inference_t2v_512_v1.0.yaml"),
    "vc2": Preset("base_512_v2", "inference_t2v_512_v2.0.yaml"),
    "vc1024": Preset("base_1024_v1", "inference_t2v_1024_v1.0.yaml"),
    "vc-i2v": Preset("i2v_512_v1", "inference_i2v_512_v1.0.yaml"),
    "myv": Preset("makeyourvideo_256_v1", "inference_makeyourvideo_256_v1.0.yaml"),
    "toon": Preset("tooncrafter_512_interp_v1", "inference_tooncrafter_512_v1.0.yaml"),
}
"""By name; `python -m scripts.write_parameters` makes the names choices of the option `preset`."""


@dataclass(frozen=True)
class ModelFiles:
    """The two files a model is made from."""

    config: Path
    checkpoint: Path


@dataclass(frozen=True)
class ModelIdentity:
    """The hashes of all that decides on the numbers of a model, wherever its files lie.

    config   of the `model:` node of the YAML: comments and the card do not count
    encoders   of the checkpoint that supplies missing encoders
    loras    hash and scale of each
    """

    config: str
    checkpoint: str
    encoders: str | None
    loras: tuple[tuple[str, float], ...]
    schedule: str
    dtype: str

    def files(self) -> tuple[InputFile, ...]:
        """Configuration, checkpoint and encoders, as a record has them."""
        hashes = {"config": self.config, "checkpoint": self.checkpoint, "encoders": self.encoders}
        return tuple(InputFile(name, sha256) for name, sha256 in hashes.items() if sha256 is not None)


def usual_preset(mode: str) -> str:
    """The preset of a `mode` where no model is named."""
    return USUAL_FOR_STRUCTURE if mode == "structure" else USUAL


def config_hash(tree: Mapping[str, Any]) -> str:
    """The hash of the `model:` node of a YAML that has been read."""
    return hash_text(json.dumps(tree.get("model"), sort_keys=True))


def identify(
    config: str,
    files: ModelFiles,
    encoders: Path | None,
    loras: Sequence[tuple[Path, float]],
    schedule: str,
    dtype: str,
) -> ModelIdentity:
    """The identity of a model; each file is read once for the process. `config`: its hash. Raises `CheckpointError`."""
    return ModelIdentity(
        config,
        checkpoint_hash(files.checkpoint),
        None if encoders is None else checkpoint_hash(encoders),
        tuple((checkpoint_hash(path), scale) for path, scale in loras),
        schedule,
        dtype,
    )


def checkpoint_folders() -> list[Path]:
    """The folders that may hold checkpoints, in the order they are looked at."""
    named = os.environ.get(CHECKPOINTS_VARIABLE)
    folders = [Path(named).expanduser()] if named else []
    return [*folders, Path("checkpoints"), REPOSITORY / "checkpoints", INSTALLED]


def find_preset(name: str) -> ModelFiles:
    """The files of a preset. Raises `ConfigError` that says where to put a checkpoint that is not there."""
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is not known; {suggest(name, PRESETS)}")
    folders = [folder / PRESETS[name].folder for folder in checkpoint_folders()]
    for folder in folders:
        weights = _weights_in(folder)
        if weights is not None:
            return ModelFiles(_preset_config(PRESETS[name], folder), weights)
    raise ConfigError(
        f"the checkpoint of preset {name!r} is not here; put it at {folders[0] / WEIGHT_NAMES[-1]}, or name the folder "
        f"that holds {PRESETS[name].folder}/ in the environment variable {CHECKPOINTS_VARIABLE}"
    )


def find_model(source: str | Path, checkpoint: str | Path | None = None) -> ModelFiles:
    """The files of a model named by a preset, a folder, a YAML or a weight file.

    source: a name in `PRESETS`, as `str`, since a `Path` of that name is a file; a folder with `config.yaml` and
    `model.safetensors` or `model.ckpt`, or in the layout of diffusers; a YAML; or a weight file with its `config.yaml`
    beside it. `checkpoint` goes before the weights of any of these. Raises `ConfigError` when a file is missing.
    """
    path = Path(source)
    config: Path
    weights: Path | None
    if isinstance(source, str) and source in PRESETS:
        if checkpoint is None:
            return find_preset(source)
        config, weights = _preset_config(PRESETS[source], Path(checkpoint).parent), None
    elif path.name == DIFFUSERS_INDEX and path.is_file():
        config, weights = path, path.parent
    elif (path / DIFFUSERS_INDEX).is_file():
        config, weights = path / DIFFUSERS_INDEX, path
    elif path.is_dir():
        config, weights = _config_for(path), _weights_in(path)
    elif path.suffix in (".yaml", ".yml"):
        config, weights = path, _weights_in(path.parent)
    elif path.is_file():
        config, weights = _config_for(path.parent), path
        if path.suffix not in WEIGHT_SUFFIXES and not config.is_file():
            raise ConfigError(f"{source} is no model: neither weights ({', '.join(WEIGHT_SUFFIXES)}) nor a YAML")
    elif path.exists():
        raise ConfigError(f"{source} {absence_reason(path)}")
    else:
        raise ConfigError(f"{source} is neither a file, a folder nor a preset ({', '.join(PRESETS)})")
    chosen = checkpoint or weights
    if chosen is None:
        raise ConfigError(
            f"{source} comes without weights ({' or '.join(WEIGHT_NAMES)} beside it); name them with --checkpoint"
        )
    return ModelFiles(_existing(config, "configuration"), _existing(Path(chosen), "checkpoint"))


def card_for(files: ModelFiles, tree: Mapping[str, Any] | None = None) -> ModelCard:
    """The card of a model's YAML, which may have been read; weights in the folder of the interpolation model have its.

    Its YAML is that of the 512 model but for the card, and many scripts name the latter. Raises `ConfigError` for a
    card that cannot be sampled with.
    """
    card = ModelCard.from_tree(load_yaml(files.config) if tree is None else tree, str(files.config))
    try:
        GenerationSettings.from_card(card, mode=card.usual_mode)
    except ValueError as error:
        raise ConfigError(f"{files.config}: sampling: {error}") from error
    interpolates = files.checkpoint.resolve().parent.name == PRESETS["interp"].folder
    return RELEASED["512_interp"] if interpolates and card == RELEASED["512"] else card


def _weights_in(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHT_NAMES if (folder / name).is_file()), None)


def _config_for(folder: Path) -> Path:
    """The configuration of the weights in `folder`: the one beside them, else that of the preset of this name."""
    preset = next((preset for preset in PRESETS.values() if preset.folder == folder.resolve().name), None)
    return _preset_config(preset, folder) if preset else folder / "config.yaml"


def _preset_config(preset: Preset, folder: Path) -> Path:
    if preset.config is None:
        return folder / "config.yaml"
    folders = [base / preset.folder for base in checkpoint_folders()]
    folders += [Path("configs"), *SHIPPED_CONFIGS]
    places = [folder / preset.config, folder / "config.yaml", *(other / preset.config for other in folders)]
    return next((place for place in places if place.is_file()), SHIPPED_CONFIGS[0] / preset.config)


def preset_config(name: str) -> Path:
    """The YAML of a released model, which is there without its weights. Raises `ConfigError`."""
    preset = PRESETS[name]
    if preset.config is None:
        return find_preset(name).config
    return _existing(_preset_config(preset, SHIPPED_CONFIGS[0]), "configuration")


def _existing(path: Path, what: str) -> Path:
    if not path.is_file() and not (path / DIFFUSERS_INDEX).is_file():
        hint = f"put the file there, or try the embedded model ({EMBEDDED})"
        if what == "configuration":
            hint = "name the YAML that belongs to the weights (--config), or the released model they are (--preset)"
        raise ConfigError(f"{what} {path} {absence_reason(path)}; {hint}")
    return path
