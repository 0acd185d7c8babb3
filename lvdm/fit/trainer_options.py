"""What a YAML may give Lightning's trainer under `lightning.trainer`, and in which ranges."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval

from lvdm.config import LegacyOption
from lvdm.declaration.ranges import Kept, Share, Steps, StepsOrNone, Weight, with_ranges
from lvdm.declaration.values import MAX_DEVICES

NoLimit = Literal[-1]
Device = Annotated[int, Interval(ge=-1, le=MAX_DEVICES)]
"""How many devices, or the number of one; -1 for all."""
ALWAYS = LegacyOption((True,), "a training always writes its checkpoints; lightning.checkpoint says how often")


def _elsewhere(place: str) -> LegacyOption:
    return LegacyOption((), place)


@with_ranges
@dataclass(frozen=True)
class TrainerOptions:
    """Arguments of `pytorch_lightning.Trainer`, by its names. What is None is left to its default.

    max_steps, max_epochs   where a training ends, the earlier one of both; -1 for no limit
    max_time                the same, in days:hours:minutes:seconds, such as 00:12:00:00
    limit_..., overfit_..., val_check_interval   whole numbers are batches, fractions are shares of an epoch
    check_val_every_n_epoch  null counts the batches of val_check_interval over the ends of epochs
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] | None = None
    strategy: str | None = None
    devices: Device | tuple[Device, ...] | str | None = None
    num_nodes: Annotated[int, Interval(ge=1, le=MAX_DEVICES)] | None = None
    max_steps: NoLimit | Steps | None = None
    min_steps: StepsOrNone | None = None
    max_epochs: NoLimit | Steps | None = None
    min_epochs: StepsOrNone | None = None
    max_time: str | None = None
    accumulate_grad_batches: Steps | None = None
    gradient_clip_val: Weight | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    limit_train_batches: Steps | Share | None = None
    limit_val_batches: StepsOrNone | Share | None = None
    overfit_batches: Steps | Share | None = None
    val_check_interval: Steps | Share | None = None
    check_val_every_n_epoch: Steps | None = 1
    num_sanity_val_steps: Kept | None = None
    log_every_n_steps: StepsOrNone | None = None
    fast_dev_run: bool | Steps | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    inference_mode: bool | None = None
    profiler: Literal["simple", "advanced", "pytorch"] | None = None
    detect_anomaly: bool | None = None
    sync_batchnorm: bool | None = None

    LEGACY: ClassVar[Mapping[str, LegacyOption]] = types.MappingProxyType(
        {
            "enable_checkpointing": ALWAYS,
            "use_distributed_sampler": LegacyOption((False,), "the data module shares the batches itself"),
            "logger": _elsewhere("set lightning.logger"),
            "callbacks": _elsewhere("set lightning.callbacks"),
            "default_root_dir": _elsewhere("set --logdir and --name"),
            "plugins": _elsewhere("precision and strategy are lightning.precision and --strategy"),
            "barebones": _elsewhere("without callbacks there would be no checkpoints"),
            "limit_test_batches": _elsewhere("--test validates; set limit_val_batches"),
            "limit_predict_batches": _elsewhere("a training predicts nothing"),
            "reload_dataloaders_every_n_epochs": _elsewhere("the order of the clips is that of one long epoch"),
            "enable_autolog_hparams": _elsewhere("the configuration is in config.yaml and run.json of the run"),
            "model_registry": _elsewhere("nothing is uploaded"),
        }
    )

    def __post_init__(self) -> None:
        if self.max_time is not None and not re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", self.max_time):
            raise ValueError(f"max_time should be days:hours:minutes:seconds, such as 00:12:00:00, not {self.max_time}")
        if self.check_val_every_n_epoch is None and isinstance(self.val_check_interval, float):
            raise ValueError("check_val_every_n_epoch null needs a val_check_interval in batches, a whole number")

    def arguments(self) -> dict[str, Any]:
        """Those for Lightning that are not left to their defaults."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        every = given.pop("check_val_every_n_epoch")
        return {"check_val_every_n_epoch": every, **{name: value for name, value in given.items() if value is not None}}

    @property
    def last_step(self) -> int | None:
        """The optimizer step that training ends with; None without a limit."""
        return None if self.max_steps is None or self.max_steps < 0 else self.max_steps

    @property
    def last_epoch(self) -> int | None:
        """The same in passes over the videos."""
        return None if self.max_epochs is None or self.max_epochs < 0 else self.max_epochs

    @property
    def accumulated(self) -> int:
        """Batches for each optimizer step."""
        return self.accumulate_grad_batches or 1
