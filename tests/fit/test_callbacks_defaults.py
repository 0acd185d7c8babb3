"""The callbacks that every training has, by which names YAMLs know them, and what checkpoints keep of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from training_toys import Numbers, train

from lvdm.config import parse_component
from lvdm.fit.callbacks import (
    DataFailures,
    LossByTimestep,
    SampleLogger,
    StepGuard,
    TrainingMeters,
    TrainingProgress,
    default_callbacks,
)

NAMES = {
    "callbacks.ImageLogger": {"batch_frequency": 500},
    "pytorch_lightning.callbacks.ModelCheckpoint": {"every_n_train_steps": 5},
    "lvdm.fit.callbacks.AveragedWeights": {},
    "lvdm.fit.callbacks.DataFailures": {},
    "lvdm.fit.callbacks.LossByTimestep": {},
    "lvdm.fit.callbacks.SampleLogger": {},
    "lvdm.fit.callbacks.StepGuard": {"loss_spike": 5},
    "lvdm.fit.callbacks.TrainingMeters": {},
    "lvdm.fit.callbacks.TrainingProgress": {},
    "lvdm.fit.callbacks.WeightExport": {"path": "weights.safetensors"},
}


@pytest.mark.parametrize("name", NAMES)
def test_yamls_can_name_every_callback(name: str) -> None:
    built = parse_component({"target": name, "params": NAMES[name]}, "callbacks").build()
    assert isinstance(built, pl.Callback)


def named(name: str, **params: Any) -> Any:
    return parse_component({"target": name, "params": params}, "callbacks").build()


def test_what_a_yaml_names_is_taken_and_the_rest_added() -> None:
    guard, export = named("lvdm.fit.callbacks.StepGuard", max_bad=3), named("lvdm.fit.callbacks.WeightExport", path="x")
    found = default_callbacks([export, guard])
    kinds = [TrainingMeters, LossByTimestep, DataFailures, StepGuard, type(export), SampleLogger, TrainingProgress]
    assert [type(callback) for callback in found] == kinds
    assert found[3] is guard
    assert found[4] is export
    without = default_callbacks([], progress=False)
    assert not any(isinstance(callback, pl.callbacks.ProgressBar) for callback in without)
    own = pl.callbacks.RichProgressBar()
    assert [c for c in default_callbacks([own]) if isinstance(c, pl.callbacks.ProgressBar)] == [own]


def test_checkpoints_keep_what_the_callbacks_have_counted(tmp_path: Path) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
            trainer.save_checkpoint(tmp_path / "saved.ckpt")

    callbacks = default_callbacks([], progress=False)
    train(Numbers(4, bad=(1,)), [*callbacks, Save()], tmp_path, enable_checkpointing=True)
    kept = torch.load(tmp_path / "saved.ckpt", weights_only=True)["callbacks"]
    for fresh, used in zip(default_callbacks([], progress=False), callbacks, strict=True):
        state = used.state_dict()
        if state:
            fresh.load_state_dict(kept[used.state_key])
            assert fresh.state_dict() == state, f"{used.state_key} forgot something"
    assert kept["StepGuard"]["total"] == 1
