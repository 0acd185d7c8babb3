"""What a training that goes on from a checkpoint does with an option that is another one now.

Every option is applied, refused, or kept from the checkpoint, and each change is said: docs/finetuning.md has them.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from lvdm.config import Component, ConfigError
from lvdm.documents import DocumentError, parse_yaml, short_text
from lvdm.fit.callbacks import AveragedWeights
from lvdm.fit.checkpoints import read_resumable
from lvdm.fit.resume import RECORD
from lvdm.fit.training_setup import TrainingSetup, parse_training_setup

log = logging.getLogger(__name__)

Handling = Literal["applied", "refused", "kept"]


@dataclass(frozen=True)
class Rule:
    """What is done with the options at `places` below `section`; a * stands for any letters, of further levels too."""

    section: str
    places: str
    handling: Handling
    reason: str

    def covers(self, place: str) -> bool:
        """Whether it is about the option at a dotted place."""
        return any(fnmatchcase(place, f"{self.section}{name}") for name in self.places.split())


RULES = (
    Rule("optimizer.", "name", "refused", "the moments in the checkpoint are of the other kind"),
    Rule(
        "optimizer.",
        "learning_rate betas weight_decay warmup_steps schedule decay_steps total_steps final_fraction",
        "applied",
        "from the next step on, the schedule as if it had always been so; moments go on",
    ),
    Rule("model.", "scale_lr", "applied", "with the learning rate"),
    Rule("model.", "pretrained_checkpoint", "kept", "all weights come from the checkpoint"),
    Rule("model.", "target", "refused", "the weights in the checkpoint are of the other class"),
    Rule(
        "model.params.",
        "unet_config.params.dropout unet_config.params.temporal_conv_dropout unet_config.params.use_checkpoint",
        "applied",
        "from the next step on",
    ),
    Rule(
        "model.params.",
        "*_config.target *_config.params.* unet_config first_stage_config cond_stage_config img_cond_stage_config "
        "image_proj_stage_config frame_carrier_config depth_stage_config channels conditioning_key drop_encoders",
        "refused",
        "the weights in the checkpoint are of other networks",
    ),
    Rule(
        "model.params.",
        "linear_start linear_end timesteps parameterization rescale_betas_zero_snr use_dynamic_rescale base_scale "
        "turning_step fix_scale_bug final_scale scale_factor fps_condition_type",
        "refused",
        "the weights in the checkpoint were trained for the other noise schedule, latents or fs",
    ),
    Rule(
        "model.params.",
        "cond_stage_trainable image_proj_model_trainable",
        "refused",
        "the optimizer in the checkpoint has moments for other parameters",
    ),
    Rule(
        "model.params.",
        "image_size perframe_ae uncond_prob rand_cond_frame interp_mode log_every_t interpolation_probability "
        "high_noise_probability high_noise_start moving_region_weight noise_strength min_snr_gamma time_noise "
        "time_noise.* carried_frames depth_range drop_depth kl_weight gradient_weight crop clip_level_weight",
        "applied",
        "from the next step on",
    ),
    Rule(
        "tuning.",
        "train lora.rank lora.alpha lora.where lora.modules",
        "refused",
        "the optimizer in the checkpoint has moments for other parameters",
    ),
    Rule("tuning.", "lora.dropout gradient_checkpointing attention", "applied", "from the next step on"),
    Rule("tuning.", "frozen_precision", "applied", "but weights that were rounded stay so"),
    Rule("data.", "target params.*", "applied", "with the next clip; another global batch leaves out a part of one"),
    Rule("lightning.", "precision logger checkpoint.* callbacks.*", "applied", "from the next step on"),
    Rule(
        "lightning.trainer.",
        "max_steps min_steps max_epochs min_epochs",
        "applied",
        "counted from the beginning of the training; refused below the checkpoint's step or epoch",
    ),
    Rule("lightning.trainer.", "max_time", "applied", "the time of earlier starts counts"),
    Rule(
        "lightning.trainer.",
        "accelerator strategy devices num_nodes accumulate_grad_batches gradient_clip_val gradient_clip_algorithm "
        "limit_train_batches limit_val_batches overfit_batches val_check_interval check_val_every_n_epoch "
        "num_sanity_val_steps log_every_n_steps fast_dev_run enable_progress_bar enable_model_summary deterministic "
        "benchmark inference_mode profiler detect_anomaly sync_batchnorm",
        "applied",
        "from the next step on",
    ),
    Rule("sampling.", "*", "applied", "to samples that are drawn from now on"),
)
"""The first one that covers an option holds."""


def rule_of(place: str) -> Rule:
    """The rule for the option at a dotted place. Raises `KeyError` if there is none."""
    for rule in RULES:
        if rule.covers(place):
            return rule
    raise KeyError(place)


def is_finished(path: Path, setup: TrainingSetup) -> bool:
    """Whether the training in the checkpoint `path` has reached the end that `setup` names; then it says so.

    Raises `ConfigError` for an end before the checkpoint, and for options that are refused; `CheckpointError` for a
    file that no training can go on from. Other changes are logged.
    """
    content = read_resumable(path)
    record = content.get(RECORD)
    if isinstance(record, Mapping):
        check_resumed(str(path), str(record.get("configuration")), setup)
    trainer, epochs = setup.lightning.trainer, content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    limits = {"max_steps": (trainer.last_step, content["global_step"]), "max_epochs": (trainer.last_epoch, epochs)}
    for name, (limit, done) in limits.items():
        if limit is not None and done > limit:
            raise ConfigError(
                f"lightning.trainer.{name} is {limit} and {path} has done {done}: give more, or go on from an earlier "
                "checkpoint with --resume_from"
            )
    reached = [f"{name} {limit}" for name, (limit, done) in limits.items() if limit == done]
    if reached:
        log.warning(
            "the training is finished: %s has reached %s; give more to go on, or make a file of its weights with "
            "dynamicrafter convert",
            *(path, " and ".join(reached)),
        )
    return bool(reached)


def check_resumed(checkpoint: str, configuration: str, setup: TrainingSetup) -> None:
    """Log what has changed since `configuration`, the YAML in `checkpoint`. Raises `ConfigError` if it is refused."""
    try:
        earlier = parse_training_setup(parse_yaml(configuration, f"the configuration in {checkpoint}"))
    except (ConfigError, DocumentError) as error:
        log.warning("%s is of another version, and what has changed since is not known (%s)", checkpoint, error)
        return
    if keeps_average(earlier) and not keeps_average(setup):
        raise ConfigError(
            f"{checkpoint} has averaged weights in the place of the trained ones: keep lvdm.fit.callbacks."
            "AveragedWeights in lightning.callbacks, or begin from it with model.pretrained_checkpoint"
        )
    compare(checkpoint, options_of(earlier), options_of(setup))


def compare(checkpoint: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Log each option that differs; raise `ConfigError` for the first one that is refused. None stands for no value."""
    changed = {place: (old.get(place), new.get(place)) for place in {**old, **new}}
    changed = {place: pair for place, pair in changed.items() if pair[0] != pair[1]}
    rules = {place: rule_of(place) for place in changed}
    for place, (before, now) in changed.items():
        if rules[place].handling == "refused":
            raise ConfigError(
                f"{place} is {short_text(now)} and {checkpoint} was trained with {short_text(before)}: "
                f"{rules[place].reason}; put it back, or begin from its weights with model.pretrained_checkpoint"
            )
    for place, (before, now) in changed.items():
        rule = rules[place]
        said = f"applied, {rule.reason}" if rule.handling == "applied" else f"not read: {rule.reason}"
        log.warning("resuming with %s %s instead of %s: %s", place, short_text(now), short_text(before), said)


def keeps_average(setup: TrainingSetup) -> bool:
    """Whether the training averages its weights."""
    return any(issubclass(callback.resolve(), AveragedWeights) for callback in setup.lightning.callbacks.values())


def options_of(setup: TrainingSetup) -> dict[str, Any]:
    """Dotted place -> value of every option, defaults included."""
    sections = ("model", "data", "optimizer", "lightning", "tuning")
    parts = {name: getattr(setup, name) for name in sections} | {"sampling": setup.tree.get("sampling") or {}}
    options = dict(_leaves(parts, ""))
    options |= {
        "model.scale_lr": setup.scale_lr,
        "model.pretrained_checkpoint": [str(path) for path in setup.pretrained],
    }
    if not setup.optimizer.fall_steps:
        del options["optimizer.total_steps"]  # follows max_steps, and is not read
    return options


def _leaves(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Component):
        node = {"target": node.target, "params": node.params}
    elif dataclasses.is_dataclass(node) and not isinstance(node, type):
        node = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if not isinstance(node, Mapping):
        yield place, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{place}.{key}".lstrip("."))


def table() -> str:
    """The rules as a table of Markdown, which docs/finetuning.md holds."""
    rows = ["| option | another value is | |", "|---|---|---|"]
    for rule in RULES:
        first, *others = rule.places.split()
        names = ", ".join(f"`{name}`" for name in (rule.section + first, *others))
        rows.append(f"| {names} | {rule.handling} | {rule.reason} |")
    return "\n".join(rows)
