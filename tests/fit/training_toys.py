"""A model so small that its training can be done by hand, and Lightning around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lvdm.config import Nothing
from lvdm.models.optimization import OptimizerConfig, build_optimizer


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


class LineModel(Line):
    """The same on pixels of procedural clips, as a model that a YAML names, with the optimizer that it gives."""

    Config = Nothing.Config

    def __init__(self, config: Nothing.Config) -> None:
        super().__init__()
        self.optimizer_config = OptimizerConfig()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:  # type: ignore[override]
        return self.losses(batch["video"].flatten(1)[:, :4]).mean()

    def configure_optimizers(self) -> Any:
        optimizer, schedule = build_optimizer(self.parameters(), self.optimizer_config)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def write_line_yaml(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write config.yaml of a training of a `LineModel`, two steps of two clips, into `folder`; returns the folder."""
    monkeypatch.setattr("lvdm.models.autoencoder.LineModel", LineModel, raising=False)
    clips = {"height": 8, "width": 8, "num_frames": 1, "length": 8}
    source = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    samples = {"target": "lvdm.fit.callbacks.SampleLogger", "params": {"every_n_steps": 0}}
    content = {
        "model": {"target": "lvdm.models.autoencoder.LineModel", "params": {}},
        "data": {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": 2, "train": source}},
        "optimizer": {"learning_rate": 1e-2},
        "lightning": {
            "trainer": {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False},
            "logger": "csv",
            "callbacks": {"samples": samples},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder
