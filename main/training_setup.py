"""From training YAMLs and command-line overrides to a checked `TrainingSetup`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lvdm.config import Component, ConfigError, load_yaml, parse_component, parse_dataclass
from lvdm.models.optimization import OptimizerConfig
from main.resume import CheckpointConfig

MODEL_KEYS = ("target", "params", "pretrained_checkpoint", "base_learning_rate", "scale_lr")
TOP_KEYS = ("model", "data", "lightning", "optimizer", "sampling")


@dataclass(frozen=True)
class LightningConfig:
    """Keys of `lightning:`. `trainer` holds arguments of `pytorch_lightning.Trainer`, checked by name."""

    precision: int | str = 32
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Component] = field(default_factory=dict)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        known = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
        unknown = sorted(set(self.trainer) - known)
        if unknown:
            raise ValueError(f"trainer has no option {', '.join(unknown)}; see pytorch_lightning.Trainer")


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training run is made of."""

    model: Component
    data: Component
    optimizer: OptimizerConfig
    lightning: LightningConfig
    pretrained: tuple[Path, ...]
    tree: dict[str, Any]


def load_training_setup(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> TrainingSetup:
    """Merge YAML files, later ones winning, then `key.sub=value` overrides, and check the result."""
    if not paths:
        raise ConfigError("no configuration: name at least one YAML file with --base")
    try:
        merged = OmegaConf.merge(
            *(OmegaConf.create(load_yaml(path)) for path in paths), OmegaConf.from_dotlist(list(overrides))
        )
        tree = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"cannot merge {', '.join(map(str, paths))} with {list(overrides)}: {error}") from error
    assert isinstance(tree, dict)
    return parse_training_setup({str(key): value for key, value in tree.items()})


def parse_training_setup(tree: dict[str, Any]) -> TrainingSetup:
    """Check a whole training tree. Raises `ConfigError` naming the first key that is wrong."""
    _only(tree, TOP_KEYS, "the configuration")
    for key in ("model", "data"):
        if key not in tree:
            raise ConfigError(f"the configuration has no `{key}:`")
    model = tree["model"]
    _only(model, MODEL_KEYS, "model")
    optimizer = parse_dataclass(OptimizerConfig, tree.get("optimizer") or {}, "optimizer")
    if "base_learning_rate" in model and "learning_rate" not in (tree.get("optimizer") or {}):
        optimizer = replace(optimizer, learning_rate=float(model["base_learning_rate"]))
    pretrained = model.get("pretrained_checkpoint") or []
    return TrainingSetup(
        model=parse_component(model, "model"),
        data=parse_component(tree["data"], "data"),
        optimizer=optimizer,
        lightning=parse_dataclass(LightningConfig, tree.get("lightning") or {}, "lightning"),
        pretrained=tuple(Path(path) for path in ([pretrained] if isinstance(pretrained, str) else pretrained)),
        tree=tree,
    )


def _only(tree: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(set(tree) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; the keys are {', '.join(known)}")
