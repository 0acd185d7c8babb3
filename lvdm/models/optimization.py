"""Optimizer and learning-rate schedule, shared by everything that the trainer trains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lvdm.declaration.ranges import Decay, LearningRate, Probability, StepsOrNone, Weight, with_ranges

OptimizerName = Literal["adamw", "adamw_fused", "adamw_8bit"]


@with_ranges
@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate; the defaults are the original's, a constant rate.

    name            adamw; adamw_fused: one kernel for all parameters, the same up to rounding; adamw_8bit: moments in
                    8 bits (arXiv:2110.02861), a quarter of the memory, by torchao or bitsandbytes
    learning_rate   peak rate
    betas           decay of the first and second moment
    weight_decay    on every parameter, norms and biases too, as the original
    warmup_steps    linear rise from 0
    schedule        shape of the fall to `final_fraction`, which ends at `total_steps`: constant, linear or cosine.
                    `constant` with decay_steps stays at the peak, then falls linearly
    decay_steps     length of the fall; left out, it begins after the rise (linear, cosine), or there is none (constant)
    total_steps     steps of the whole training; needed by the fall only
    final_fraction  the last rate as a share of the peak
    """

    name: OptimizerName = "adamw"
    learning_rate: LearningRate = 1e-5
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: Weight = 0.01
    warmup_steps: StepsOrNone = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    decay_steps: StepsOrNone = 0
    total_steps: StepsOrNone = 0
    final_fraction: Probability = 0.0

    def __post_init__(self) -> None:
        if self.decay_steps and self.total_steps < self.decay_steps:
            raise ValueError(
                f"decay_steps {self.decay_steps} need total_steps of at least as many, not {self.total_steps}"
            )

    @property
    def fall_steps(self) -> int:
        """Steps over which the rate falls; 0 if it does not. Raises `ValueError` where `total_steps` are needed."""
        if self.decay_steps or self.schedule == "constant":
            return self.decay_steps
        if self.total_steps <= self.warmup_steps:
            raise ValueError(
                f"schedule {self.schedule} needs total_steps above warmup_steps {self.warmup_steps}, not "
                f"{self.total_steps}; set optimizer.total_steps"
            )
        return self.total_steps - self.warmup_steps


def learning_rate_factor(step: int, config: OptimizerConfig) -> float:
    """The learning rate at `step` as a fraction of the peak."""
    factor = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    fall = config.fall_steps
    if fall:
        left = min(max((config.total_steps - step) / fall, 0.0), 1.0)
        if config.schedule == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        factor *= config.final_fraction + (1 - config.final_fraction) * left
    return factor


def scaled_learning_rate(base: float, batch_size: int, world_size: int) -> float:
    """The rate that the original's `scale_lr: true` trains at: `base` for each sample of a step on all devices.

    Accumulated batches do not count, as in the original.
    """
    return base * batch_size * world_size


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """AdamW over the trainable ones of `parameters`, and its schedule by steps.

    Raises `ValueError` if `adamw_8bit` has no package that provides it.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    options: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay}
    optimizer: torch.optim.Optimizer
    if config.name == "adamw_8bit":
        optimizer = adamw_8bit_class()(trainable, **options)
    else:
        optimizer = torch.optim.AdamW(trainable, **options, fused=True if config.name == "adamw_fused" else None)
    return optimizer, LambdaLR(optimizer, partial(learning_rate_factor, config=config))


def adamw_8bit_class() -> type[torch.optim.Optimizer]:
    """torchao's AdamW with 8-bit moments, which also runs on a CPU, else that of bitsandbytes. Raises `ValueError`."""
    try:
        from torchao.optim import AdamW8bit
    except ImportError:
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise ValueError(
                "optimizer.name: adamw_8bit needs torchao (pip install 'dynamicrafter[train]') or bitsandbytes; "
                "or choose adamw_fused"
            ) from error
    return AdamW8bit


def allow_8bit_moments() -> None:
    """Let torch read 8-bit moments from a checkpoint before there is an optimizer. Raises `ValueError` without one."""
    if adamw_8bit_class().__module__.startswith("torchao."):
        from torchao.optim.subclass_8bit import OptimState8bit

        torch.serialization.add_safe_globals([OptimState8bit])
