"""A training that was stopped and resumed ends with the weights of one that was not, to the bit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lvdm.data.clips import Clip, ClipSize
from lvdm.fit.callbacks import AveragedWeights, AveragedWeightsConfig
from lvdm.fit.checkpoints import CheckpointStore
from lvdm.fit.preemption import Preempted
from lvdm.fit.resume import MARKER, CheckpointConfig, TrainingCheckpoint
from lvdm.fit.utils_data import DataModuleConfig, DataModuleFromConfig

VIDEOS = 7
STEPS = 9  # of 2 clips each: three epochs of 3 batches, in passes of 7 clips


class Numbers:
    """A source of 7 videos whose clips are random numbers."""

    def __len__(self) -> int:
        return VIDEOS

    def clip(self, index: int, rng: random.Random, size: ClipSize | None = None) -> Clip:
        return {"video": torch.full((4,), index + rng.random())}

    def native_size(self, index: int) -> ClipSize | None:
        return None


class Numbered(DataModuleFromConfig):
    """The data module of trainings over the source above."""

    def source(self, name: str) -> Numbers:
        return Numbers()


class Toy(pl.LightningModule):
    """Weights that depend on every clip, on dropout and on the order of both. Remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.seen: list[int] = []

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        self.seen += batch["number"].tolist()
        return self.layers(batch["video"]).square().mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class SignalAfter(pl.Callback):
    """Sends this process a signal, or breaks it, after a batch."""

    def __init__(self, batch: int, signum: int = signal.SIGTERM, crash: bool = False) -> None:
        self.batch, self.signum, self.crash = batch, signum, crash

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.total.ready == self.batch:
            if self.crash:
                raise ConnectionAbortedError
            os.kill(os.getpid(), self.signum)


def train(
    folder: Path,
    stop: SignalAfter | None = None,
    *,
    every: int = 100,
    accumulate: int = 1,
    workers: int = 0,
    batch: int = 2,
) -> Toy:
    """Go on with the training in `folder`, to its end or until `stop`."""
    model, data = Toy(), Numbered(DataModuleConfig(batch_size=batch, num_workers=workers))
    data.seed = 3
    checkpoint = TrainingCheckpoint(CheckpointConfig(every), folder, "a: 1\n", seed=3)
    average = AveragedWeights(AveragedWeightsConfig(decay=0.5))
    trainer = pl.Trainer(
        max_steps=STEPS // accumulate,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        accumulate_grad_batches=accumulate,
        callbacks=[average, *([stop] if stop else []), checkpoint],
    )
    newest = checkpoint.store.newest_good()
    trainer.fit(model, datamodule=data, ckpt_path=newest, weights_only=True if newest else None)
    return model


def stored(folder: Path) -> dict[str, Any]:
    """The last checkpoint of a training."""
    newest = CheckpointStore(folder / "checkpoints").newest_good()
    assert newest is not None, "no good checkpoint was saved"
    return torch.load(newest, weights_only=True)


def assert_same(actual: Any, expected: Any, where: str) -> None:
    """Bit-equality of nested checkpoints."""
    if isinstance(expected, Tensor):
        assert torch.equal(actual, expected), f"{where} differs by {(actual - expected).abs().max():.3g}"
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    else:
        assert actual == expected, where


STATE = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The checkpoint at the end of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    model = train(folder)
    assert model.seen == list(range(2 * STEPS)), "every sample number once, in order"
    return stored(folder)


@pytest.mark.parametrize("stop", range(1, STEPS))
def test_stopped_by_a_signal_after_any_step(tmp_path: Path, uninterrupted: dict[str, Any], stop: int) -> None:
    with pytest.raises(Preempted) as caught:
        train(tmp_path, SignalAfter(stop, [signal.SIGTERM, signal.SIGUSR1][stop % 2]))
    assert (caught.value.step, caught.value.exit_code) == (stop, 143)
    assert (tmp_path / MARKER).is_file(), "a scheduler's script should see that the training was preempted"
    resumed = train(tmp_path)
    assert resumed.seen == list(range(2 * stop, 2 * STEPS)), "it should go on with the next clip"
    assert not (tmp_path / MARKER).exists()
    for key in STATE:
        assert_same(stored(tmp_path)[key], uninterrupted[key], key)


@pytest.mark.parametrize(("stop", "every"), [(2, 1), (3, 2), (5, 2), (7, 3)])
def test_broken_off_after_any_step(tmp_path: Path, uninterrupted: dict[str, Any], stop: int, every: int) -> None:
    with pytest.raises(ConnectionAbortedError):
        train(tmp_path, SignalAfter(stop, crash=True), every=every)
    train(tmp_path, every=every)
    for key in STATE:
        assert_same(stored(tmp_path)[key], uninterrupted[key], key)


def test_worker_processes_change_nothing(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    with pytest.raises(Preempted):
        train(tmp_path, SignalAfter(4), workers=2)
    train(tmp_path, workers=2)
    for key in STATE:
        assert_same(stored(tmp_path)[key], uninterrupted[key], key)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_accumulated_gradients_are_finished_before_saving(tmp_path: Path, stop: int) -> None:
    train(tmp_path / "whole", accumulate=2)
    with pytest.raises(Preempted) as caught:
        train(tmp_path / "stopped", SignalAfter(stop), accumulate=2)
    # Lightning steps at the end of an epoch of 3 batches, too.
    assert caught.value.step == [0, 1, 1, 2, 3, 3][stop], "the step that is under way should be finished first"
    train(tmp_path / "stopped", accumulate=2)
    for key in STATE:
        assert_same(stored(tmp_path / "stopped")[key], stored(tmp_path / "whole")[key], key)


def test_ctrl_c_saves_and_leaves_130(tmp_path: Path) -> None:
    with pytest.raises(Preempted) as caught:
        train(tmp_path, SignalAfter(2, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert stored(tmp_path)["global_step"] == 2


def test_another_batch_size_goes_on_in_the_same_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Preempted):
        train(tmp_path, SignalAfter(5))  # ten clips
    resumed = train(tmp_path, batch=3)
    assert resumed.seen == list(range(12, 12 + 4 * 3)), "sample 10 and 11 are left out, the rest follows in order"
    assert "global batch of 3 instead of 2" in caplog.text
    assert "2 left out" in caplog.text


def test_signals_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    with pytest.raises(Preempted):
        train(tmp_path, SignalAfter(1))
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)] == before
