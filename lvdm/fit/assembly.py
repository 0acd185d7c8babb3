"""The parts of a training put together: Lightning's trainer, and the weights that it begins with."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lvdm.checkpoint import CheckpointFile, read_checkpoint
from lvdm.checkpoint.parts import UNET
from lvdm.checkpoint.warm_start import unfilled_frozen_parts, warm_start
from lvdm.config import ConfigError
from lvdm.device import multiplies_bf16
from lvdm.documents import one_line
from lvdm.errors import CheckpointError
from lvdm.fit.callbacks import default_callbacks
from lvdm.fit.loggers import build_loggers
from lvdm.fit.resume import TrainingCheckpoint
from lvdm.fit.strategies import Machines
from lvdm.fit.training_setup import TrainingSetup
from lvdm.fit.tuning import apply_tuning
from lvdm.model_card import ModelCard
from lvdm.models.optimization import allow_8bit_moments, scaled_learning_rate

log = logging.getLogger(__name__)


def build_trainer(
    setup: TrainingSetup, run_dir: Path, machines: Machines, strategy: str | Strategy, checkpoint: TrainingCheckpoint
) -> pl.Trainer:
    """Lightning's trainer with the YAML's options, its callbacks and those of every training, and logs in `run_dir`."""
    options: dict[str, Any] = {
        "precision": setup.lightning.precision,
        **setup.lightning.trainer.arguments(),
        "accelerator": machines.accelerator,
        "devices": machines.devices,
        "num_nodes": machines.nodes,
        "strategy": strategy,
        "use_distributed_sampler": False,  # the data module shares the batches itself
    }
    named = [component.build() for component in setup.lightning.callbacks.values()]
    card = ModelCard.from_tree(setup.tree, "the configuration") if "sampling" in setup.tree else None
    callbacks = default_callbacks(named, card, progress=options.get("enable_progress_bar") is not False)
    loggers = build_loggers(setup.lightning.logger, run_dir, run_dir.name)
    callbacks = [*callbacks, checkpoint]
    try:
        trainer = pl.Trainer(default_root_dir=str(run_dir), logger=loggers, callbacks=callbacks, **options)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"lightning.trainer: {one_line(str(error))}") from error
    if setup.optimizer.name == "adamw_8bit" and type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = HostCheckpointIO()
    return trainer


class HostCheckpointIO(TorchCheckpointIO):
    """Reads checkpoints into host memory by its name. Lightning does so by a function, which 8-bit moments refuse."""

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """As Lightning's."""
        return super().load_checkpoint(path, "cpu", weights_only)  # type: ignore[arg-type]


def prepare_weights(model: Any, setup: TrainingSetup, resume: Path | None, weights_only: bool) -> None:
    """Begin from the checkpoints that the YAML names, choose what is trained, take the weights of `resume` if asked.

    What Lightning will restore from `resume` is not loaded twice.
    """
    plans = []
    model.base_checkpoint = next(iter(setup.pretrained), None)
    for path in setup.pretrained if resume is None else ():
        plans.append(warm_start(model, read_checkpoint(path)))
        if plans[-1].gives(UNET):
            model.base_checkpoint = path
        log.info("%s:\n  %s", path, "\n  ".join(plans[-1].lines()))
    log.info("%s", apply_tuning(model, setup.tuning))
    if resume is not None and weights_only:
        plans.append(warm_start(model, read_checkpoint(resume)))
    elif resume is not None:
        check_same_model(model, read_checkpoint(resume, "trained"))
    if resume is None or weights_only:
        for part in unfilled_frozen_parts(model, plans):
            log.warning(
                "the %s is not trained, at least in part, and no checkpoint fills it: it stays random; name one that "
                "holds it in model.pretrained_checkpoint, which takes a list",
                part.name,
            )
    if str(setup.lightning.precision) in ("64", "64-true"):
        model.double()  # Lightning does so only after it restored a checkpoint, which would be rounded


def check_same_model(model: Any, checkpoint: CheckpointFile) -> None:
    """Raise `CheckpointError` for a checkpoint of other tensors than those of `model`."""
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    held = {key: tuple(checkpoint.shape(key)) for key in checkpoint}
    problems = [
        f"{len(keys)} tensors {what}, such as {keys[0]}"
        for what, keys in (
            ("of this one are not in it", [key for key in own if key not in held]),
            ("of it are not in this one", [key for key in held if key not in own]),
            ("have another shape", [key for key in own if key in held and own[key] != held[key]]),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path} is of another model: {'; '.join(problems)}. Go on with its own configuration, or begin "
            "from what fits with model.pretrained_checkpoint"
        )


def warn_of_slow_precision(setup: TrainingSetup, accelerator: str) -> None:
    """Say so where bf16 would be computed without instructions for it."""
    places = {
        "lightning.precision=32": str(setup.lightning.precision).startswith("bf16"),
        "tuning.frozen_precision=fp32": setup.tuning.frozen_precision == "bf16",
    }
    if accelerator == "cpu" and any(places.values()) and not multiplies_bf16(torch.device("cpu")):
        log.warning(
            "this CPU has no instructions for bf16, and steps take many times as long in it; add %s",
            " ".join(override for override, asked in places.items() if asked),
        )


def prepare_optimizer(setup: TrainingSetup, strategy: str) -> None:
    """Have the class of 8-bit moments known before a checkpoint is read.

    Raises `ConfigError` if no package has it, and for a strategy that splits moments.
    """
    if setup.optimizer.name == "adamw_8bit":
        if strategy.startswith("fsdp"):
            raise ConfigError(
                f"optimizer.name: adamw_8bit keeps moments that strategy {strategy} cannot split; use adamw"
            )
        try:
            allow_8bit_moments()
        except ValueError as error:
            raise ConfigError(str(error)) from error


def scale_learning_rate(model: Any, setup: TrainingSetup, world_size: int) -> None:
    """The original's `scale_lr`."""
    if setup.scale_lr:
        base, samples = setup.optimizer.learning_rate, setup.data.params.batch_size
        rate = scaled_learning_rate(base, samples, world_size)
        log.info("learning rate %g = %g x %d samples x %d devices (scale_lr)", rate, base, samples, world_size)
        model.optimizer_config = replace(setup.optimizer, learning_rate=rate)
