"""A model so small that its training can be done by hand, and Lightning around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Numbers(Dataset[dict[str, Any]]):
    """Sample i holds the number i, a path, and x drawn from i; those of `bad` hold `value` instead."""

    def __init__(self, length: int, bad: tuple[int, ...] = (), value: float = float("nan")) -> None:
        self.length, self.bad, self.value = length, bad, value

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        x = torch.randn(4, generator=torch.Generator().manual_seed(index))
        if index in self.bad:
            x = torch.full_like(x, self.value)
        return {"x": x, "number": index, "path": f"clip{index}.mp4", "caption": f"number {index}", "failures": ""}


class Line(pl.LightningModule):
    """A linear map under AdamW; the time steps of its losses are 100 times their numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def losses(self, x: Tensor) -> Tensor:
        """One loss for each sample, (b,)."""
        return (self.layer(x)[:, 0] - 1).square()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        losses = self.losses(batch["x"])
        self.log("train/loss_simple", losses.mean(), prog_bar=True, batch_size=len(losses))
        return {"loss": losses.mean(), "losses": losses.detach(), "t": batch["number"] * 100 % 1000}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)


def train(
    data: Dataset[Any],
    callbacks: list[pl.Callback],
    folder: Path,
    batch_size: int = 1,
    model: Line | None = None,
    **options: Any,
) -> Line:
    """A `Line` after one pass over `data`, in order."""
    model = model or Line()
    options = {"max_epochs": 1, "accelerator": "cpu", "enable_checkpointing": False, "log_every_n_steps": 1} | options
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False} | options
    trainer = pl.Trainer(default_root_dir=str(folder), callbacks=callbacks, **options)
    trainer.fit(model, DataLoader(data, batch_size))
    return model


def by_hand(batches: list[Tensor]) -> Line:
    """A `Line` after one AdamW step for each batch of x (b, 4)."""
    model = Line()
    optimizer = model.configure_optimizers()
    for x in batches:
        optimizer.zero_grad()
        model.losses(x).mean().backward()
        optimizer.step()
    return model
