"""Optimizer and learning-rate schedule, shared by everything that the trainer trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate; the defaults are the original's, a constant rate.

    learning_rate   peak rate
    betas           decay of the first and second moment
    weight_decay    on every parameter, norms and biases too, as the original
    warmup_steps    linear rise from 0
    decay_steps     length of the linear fall to `final_fraction`, which ends at `total_steps`; 0 for none
    total_steps     steps of the whole training; needed by the fall only
    """

    learning_rate: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    warmup_steps: int = 0
    decay_steps: int = 0
    total_steps: int = 0
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, it is {self.learning_rate}")
        if self.decay_steps and self.total_steps < self.decay_steps:
            raise ValueError(
                f"decay_steps {self.decay_steps} need total_steps of at least as many, not {self.total_steps}"
            )


def learning_rate_factor(step: int, config: OptimizerConfig) -> float:
    """The learning rate at `step` as a fraction of the peak."""
    factor = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.decay_steps:
        left = min(max((config.total_steps - step) / config.decay_steps, 0.0), 1.0)
        factor *= config.final_fraction + (1 - config.final_fraction) * left
    return factor


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> tuple[torch.optim.AdamW, LambdaLR]:
    """AdamW over the trainable ones of `parameters`, and its schedule by steps."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    return optimizer, LambdaLR(optimizer, partial(learning_rate_factor, config=config))
