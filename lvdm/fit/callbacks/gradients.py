"""What the strategy's gradients amount to, whatever process holds them."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer


def weights_are_sharded(trainer: pl.Trainer) -> bool:
    """Whether no process holds all weights, so that none can use the model alone."""
    strategy = trainer.strategy
    if isinstance(strategy, DeepSpeedStrategy):
        return bool(strategy.zero_stage_3)
    return isinstance(strategy, FSDPStrategy | ModelParallelStrategy)


def gradients_are_hidden(trainer: pl.Trainer) -> bool:
    """Whether the strategy keeps gradients to itself: DeepSpeed does, they are neither seen nor dropped from here."""
    return isinstance(trainer.strategy, DeepSpeedStrategy)


def gradient_norm(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Tensor:
    """Euclidean norm of all gradients, a scalar of at least float32, the same in every process; zero without gradients.

    Under FSDP this is a collective: all processes must ask.
    """
    gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
    if not gradients:
        return torch.zeros((), device=pl_module.device)
    norms = [torch.linalg.vector_norm(g, dtype=torch.promote_types(g.dtype, torch.float32)) for g in gradients]
    whole = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]  # DTensor
    norm = torch.linalg.vector_norm(torch.stack([part.to(pl_module.device) for part in whole]))
    if isinstance(trainer.strategy, FSDPStrategy):
        shares = trainer.strategy.reduce(norm.square(), reduce_op="sum")
        return torch.as_tensor(shares).sqrt()
    return norm


def weights_are_finite(trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
    """Whether all trained weights are numbers, on all processes, which must all ask."""
    trained = [parameter.detach() for parameter in pl_module.parameters() if parameter.requires_grad]
    own = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]
    bad = torch.zeros((), device=pl_module.device)
    for weight in own:
        bad += (~torch.isfinite(weight)).any()
    return not bool(torch.as_tensor(trainer.strategy.reduce(bad, reduce_op="sum")))


def loss_scaler(trainer: pl.Trainer) -> Any:
    """The `GradScaler` of fp16 training, None otherwise."""
    return getattr(trainer.precision_plugin, "scaler", None)


def unscales_in_step(trainer: pl.Trainer, optimizer: Optimizer) -> bool:
    """Whether gradients hold the loss scale until the optimizer's own step: so with fused optimizers in fp16."""
    return loss_scaler(trainer) is not None and getattr(optimizer, "_step_supports_amp_scaling", False)


def remaining_scale(trainer: pl.Trainer, optimizer: Optimizer) -> float:
    """What gradients are multiplied with just before the optimizer's step; 1 unless that step divides by it."""
    return float(loss_scaler(trainer).get_scale()) if unscales_in_step(trainer, optimizer) else 1.0
