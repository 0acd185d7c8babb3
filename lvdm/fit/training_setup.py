"""From training YAMLs and command-line overrides to a checked `TrainingSetup`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lvdm.config import Component, ConfigError, load_yaml, parse_component, parse_dataclass, parse_value
from lvdm.declaration.ranges import LearningRate
from lvdm.documents import DocumentError, parse_yaml, short_text
from lvdm.fit.loggers import LoggerChoice
from lvdm.fit.resume import CheckpointConfig
from lvdm.fit.trainer_options import TrainerOptions
from lvdm.fit.tuning import TuningConfig
from lvdm.models.optimization import OptimizerConfig
from lvdm.models.video_config import LatentVisualDiffusionConfig
from lvdm.suggestions import suggest

PRETRAINED = "model.pretrained_checkpoint"
MODEL_KEYS = ("target", "params", "pretrained_checkpoint", "base_learning_rate", "scale_lr")
Precision = Literal[
    32, 16, 64, "32", "32-true", "16", "16-mixed", "bf16", "bf16-mixed", "16-true", "bf16-true", "64", "64-true"
]
UNFILLED = re.compile(r"<[^<>]+>")
TOP_KEYS = ("model", "data", "lightning", "optimizer", "sampling", "tuning")


@dataclass(frozen=True)
class LightningConfig:
    """Keys of `lightning:`.

    `checkpoint` is about what a training resumes from; `callbacks` may save other files beside it.
    """

    precision: Precision = 32
    trainer: TrainerOptions = field(default_factory=TrainerOptions)
    callbacks: dict[str, Component] = field(default_factory=dict)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logger: LoggerChoice = "tensorboard"


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training run is made of.

    scale_lr  multiply the learning rate by the samples of a step, as the original does with its `base_learning_rate`
    """

    model: Component
    data: Component
    optimizer: OptimizerConfig
    lightning: LightningConfig
    tuning: TuningConfig
    pretrained: tuple[Path, ...]
    scale_lr: bool
    tree: dict[str, Any]


def load_training_setup(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> TrainingSetup:
    """Merge YAML files, later ones winning, then `key.sub=value` overrides, and check the result.

    A node whose `target` a later file changes loses its old `params`, which belong to another class.
    """
    if not paths:
        raise ConfigError("no configuration: name at least one YAML file with --base")
    for path in paths:
        if "=" in str(path) and not Path(path).is_file():
            raise ConfigError(
                f"--base takes {path} for a file: put overrides before --base, or after another flag such as --train"
            )
    sources: dict[str, Any] = {str(path): load_yaml(path) for path in paths}
    try:
        merged: Any = OmegaConf.create({})
        for read in sources.values():
            later = OmegaConf.create(read)  # plain data: no interpolation is left in it
            forget_replaced(merged, later)
            merged = OmegaConf.merge(merged, later)
        for override in overrides:
            parse_yaml(override.partition("=")[2], f"{short_text(override.partition('=')[0])} of the command line")
        typed = OmegaConf.from_dotlist(list(overrides))
        tree = OmegaConf.to_container(OmegaConf.merge(merged, typed), resolve=False)
        sources["the command line"] = typed
    except DocumentError as error:
        raise ConfigError(str(error)) from error
    except OmegaConfBaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"cannot merge {', '.join(map(str, paths))} with {short_text(list(overrides))}: {reason}"
        ) from error
    assert isinstance(tree, dict)
    try:
        return parse_training_setup({str(key): value for key, value in tree.items()})
    except ConfigError as error:
        raise ConfigError(_with_source(str(error), sources)) from error


def _with_source(message: str, sources: Mapping[str, Any]) -> str:
    """`message` after the name of the file whose value it begins with: the last one that gives it."""
    place = re.match(r"[\w.]*\w", message)
    for source, tree in reversed(list(sources.items())):
        node = tree
        for key in place[0].split(".") if place else ():
            node = node.get(key) if isinstance(node, Mapping | DictConfig) else None
        if place and node is not None and not isinstance(node, Mapping | DictConfig):
            return f"{source}: {message}"
    return message


def forget_replaced(earlier: Any, later: Any) -> None:
    """Take the `params` out of every node of `earlier` that has another `target` in `later`."""
    if not (isinstance(earlier, DictConfig) and isinstance(later, DictConfig)):
        return
    if "target" in later and later["target"] != earlier.get("target", later["target"]):
        earlier.pop("params", None)
    for key in later:
        if key in earlier:
            forget_replaced(earlier[key], later[key])


def parse_training_setup(tree: dict[str, Any]) -> TrainingSetup:
    """Check a whole training tree. Raises `ConfigError` naming the first key that is wrong."""
    _only(tree, TOP_KEYS, "the configuration")
    for key in ("model", "data"):
        if key not in tree:
            raise ConfigError(f"the configuration has no `{key}:`")
    model = tree["model"]
    _only(model, MODEL_KEYS, "model")
    lightning = parse_dataclass(LightningConfig, _with_one_precision(tree.get("lightning") or {}), "lightning")
    tuning = parse_dataclass(TuningConfig, tree.get("tuning") or {}, "tuning")
    tuning.check_precision(lightning.precision)
    optimizer, scale_lr = _parse_optimizer(tree.get("optimizer") or {}, model, lightning)
    pretrained = parse_value(model.get("pretrained_checkpoint") or (), str | tuple[str, ...], PRETRAINED)
    component = parse_component(model, "model")
    _check_trainable(component)
    return TrainingSetup(
        model=component,
        data=parse_component(tree["data"], "data"),
        optimizer=optimizer,
        lightning=lightning,
        tuning=tuning,
        pretrained=tuple(Path(path) for path in ([pretrained] if isinstance(pretrained, str) else pretrained)),
        scale_lr=scale_lr,
        tree=tree,
    )


def _check_trainable(model: Component) -> None:
    """Raise `ConfigError` for a VideoCrafter model: its checkpoints are sampled, and trainings begin from them."""
    if isinstance(model.params, LatentVisualDiffusionConfig) and model.params.conditioning_key == "crossattn":
        raise ConfigError(
            "model.params.conditioning_key: VideoCrafter models (crossattn) are not trained here; use a configuration "
            "of DynamiCrafter, and name the VideoCrafter checkpoint in model.pretrained_checkpoint"
        )


def _with_one_precision(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A `precision` among the trainer's options is that of `lightning`, where everything looks for it."""
    trainer = node.get("trainer")
    if not isinstance(trainer, Mapping) or "precision" not in trainer:
        return node
    named = trainer["precision"]
    if str(node.get("precision", named)) != str(named):
        raise ConfigError(
            f"lightning.precision is {node['precision']} and lightning.trainer.precision {named}: leave out the second"
        )
    options = {key: value for key, value in trainer.items() if key != "precision"}
    return {**node, "precision": named, "trainer": options}


def _parse_optimizer(
    node: Mapping[str, Any], model: Mapping[str, Any], lightning: LightningConfig
) -> tuple[OptimizerConfig, bool]:
    """The optimizer, and whether its learning rate is scaled: as in the original, but not an `optimizer.learning_rate`.

    The original's `base_learning_rate` and the trainer's `max_steps` serve where it has none of its own.
    """
    node = dict(node)
    from_model = "base_learning_rate" in model and "learning_rate" not in node
    if from_model:
        node["learning_rate"] = parse_value(model["base_learning_rate"], LearningRate, "model.base_learning_rate")
    if "total_steps" not in node and lightning.trainer.last_step:
        node["total_steps"] = lightning.trainer.last_step
    optimizer = parse_dataclass(OptimizerConfig, node, "optimizer")
    half = str(lightning.precision) in ("16", "16-mixed")
    if optimizer.name == "adamw_fused" and half and lightning.trainer.gradient_clip_val:
        raise ConfigError(
            "optimizer.name: adamw_fused cannot clip gradients under lightning.precision: 16, because it unscales them "
            "itself; use adamw, or bf16-mixed"
        )
    try:
        optimizer.fall_steps  # noqa: B018  # raises where the schedule has no end
    except ValueError as error:
        raise ConfigError(f"optimizer: {error}") from error
    return optimizer, from_model and bool(parse_value(model.get("scale_lr", True), bool, "model.scale_lr"))


def _only(tree: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(set(tree) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; {suggest(unknown[0], known)}")


def check_filled(tree: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for the first value that is still a `<...>` to fill in, with its place and a hint."""
    for place, value in _strings(tree, ""):
        if UNFILLED.search(value):
            raise ConfigError(f"{place} is still {value!r}; fill it in there, or add {place}=... to the command")


def _strings(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a tree of mappings and lists, with its dotted place."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _strings(value, f"{place}.{key}".lstrip("."))
    elif isinstance(node, Sequence):
        for index, value in enumerate(node):
            yield from _strings(value, f"{place}[{index}]")
