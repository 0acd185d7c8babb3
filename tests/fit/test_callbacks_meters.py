"""What is logged while training runs: losses by time step, gauges, failures."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger
from training_toys import Line, Numbers, train

from lvdm.fit.callbacks import DataFailures, LossByTimestep, StepGuard, TrainingMeters
from lvdm.fit.callbacks.cadence import EveryNSteps
from lvdm.fit.callbacks.failures import DataFailuresConfig
from lvdm.fit.callbacks.guard import StepGuardConfig
from lvdm.fit.callbacks.meters import TrainingMetersConfig
from lvdm.fit.callbacks.timestep_loss import LossByTimestepConfig, bucket_sums


def rows(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, without empty cells."""
    with next(folder.rglob("metrics.csv")).open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def logged(folder: Path, callbacks: list[Any], data: Any = None, **options: Any) -> list[dict[str, float]]:
    logger = CSVLogger(str(folder), flush_logs_every_n_steps=1)
    train(data or Numbers(8), callbacks, folder, logger=logger, **options)
    return rows(folder)


def test_buckets_hold_the_losses_of_their_time_steps() -> None:
    config = LossByTimestepConfig(buckets=4, timesteps=10)
    names = [config.name(i) for i in range(4)]
    assert names == ["loss_by_t/0-2", "loss_by_t/3-4", "loss_by_t/5-7", "loss_by_t/8-9"]
    t = torch.arange(10)
    sums = bucket_sums(2.0**t, t, config)
    assert sums.tolist() == [[7.0, 24.0, 224.0, 768.0], [3.0, 2.0, 3.0, 2.0]], "buckets and names should agree"
    assert bucket_sums(torch.tensor([float("nan"), 1.0]), torch.tensor([0, 0]), config)[:, 0].tolist() == [1.0, 1.0]


def test_losses_are_logged_by_time_step(tmp_path: Path) -> None:
    table = logged(tmp_path, [LossByTimestep(LossByTimestepConfig(memory=0.0))])
    for i, row in enumerate(table):
        assert row[f"loss_by_t/{100 * i:03d}-{100 * i + 99:03d}"] == pytest.approx(row["train/loss_simple"], rel=1e-5)


def test_running_losses_forget_and_survive_a_resume(tmp_path: Path) -> None:
    first = LossByTimestep(LossByTimestepConfig(buckets=1, memory=0.5))
    table = logged(tmp_path, [first], Numbers(3))
    losses = [row["train/loss_simple"] for row in table]
    expected = (losses[2] + losses[1] / 2 + losses[0] / 4) / (1 + 1 / 2 + 1 / 4)
    assert table[-1]["loss_by_t/000-999"] == pytest.approx(expected, rel=1e-5)
    second = LossByTimestep(LossByTimestepConfig(buckets=1, memory=0.5))
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()


def test_meters_log_the_norm_before_clipping_and_the_rate_of_the_step(tmp_path: Path) -> None:
    norms: list[float] = []

    class Watched(Line):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            norms.append(torch.cat([p.grad.flatten() for p in self.parameters()]).norm().item())

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    meters = TrainingMeters(TrainingMetersConfig())
    table = logged(tmp_path, [meters], Numbers(4), model=Watched(), gradient_clip_val=0.01)
    assert [row["train/grad_norm"] for row in table] == pytest.approx(norms, rel=1e-5)
    assert [row["train/learning_rate"] for row in table] == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])


def test_meters_count_samples_of_accumulated_steps_and_waiting(tmp_path: Path) -> None:
    meters = TrainingMeters(TrainingMetersConfig())
    table = logged(tmp_path, [meters], Numbers(16), batch_size=2, accumulate_grad_batches=2, log_every_n_steps=2)
    for row in table:
        per_step = row["speed/samples_per_second"] * row["speed/seconds_per_step"]
        assert per_step == pytest.approx(4.0), "a step is two batches of two samples"
        assert 0 <= row["speed/data_wait_share"] <= 1
        assert 0 < row["memory/current_gb"] < 100
        assert row["memory/peak_gb"] >= 0.9 * row["memory/current_gb"]


def test_meters_and_guard_leave_training_alone(tmp_path: Path) -> None:
    watched = train(
        Numbers(5),
        [TrainingMeters(TrainingMetersConfig()), StepGuard(StepGuardConfig()), LossByTimestep(LossByTimestepConfig())],
        tmp_path,
    )
    assert torch.equal(watched.layer.weight, train(Numbers(5), [], tmp_path).layer.weight)


class Failing(Numbers):
    """Samples 1 and 3 could not read a.mp4, sample 3 nor b.mp4."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        failures = {1: "a.mp4: broken", 3: "a.mp4: broken\nb.mp4: too short"}
        return {**super().__getitem__(index), "failures": failures.get(index, "")}


def test_failures_are_counted_always_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counter = DataFailures(DataFailuresConfig(named=1))
    with caplog.at_level(logging.WARNING, logger="lvdm.fit"):
        table = logged(tmp_path, [counter], Failing(6), batch_size=2)
    assert [row["data/failures"] for row in table] == [1.0, 3.0, 3.0]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("lvdm.fit")]
    assert sum("a.mp4: broken" in line for line in lines[:-1]) == 1, "a file is named the first time only"
    assert "3 times" in lines[-1]
    assert "2 x a.mp4: broken" in lines[-1]
    assert "and 1 more" in lines[-1]
    again = DataFailures(DataFailuresConfig())
    again.load_state_dict(counter.state_dict())
    assert again.state_dict() == counter.state_dict()


def test_every_n_steps_comes_once_for_a_step_and_not_where_training_went_on() -> None:
    cadence = EveryNSteps(2)
    cadence.begin(4)
    assert [cadence.due(step) for step in (4, 5, 5, 6, 6, 7, 8)] == [False, False, False, True, False, False, True]
    assert not EveryNSteps(0).due(3)
