"""The progress of a whole training, on a terminal and elsewhere, and the loggers."""

from __future__ import annotations

import importlib.util
import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console
from training_toys import Numbers, train

from lvdm.config import ConfigError
from lvdm.fit.callbacks import StepGuard, TrainingProgress
from lvdm.fit.callbacks.guard import StepGuardConfig
from lvdm.fit.callbacks.progress import Pace, TrainingProgressConfig, clock
from lvdm.fit.loggers import build_loggers


def test_the_estimate_covers_the_whole_training_and_leaves_the_warm_up_out() -> None:
    pace = Pace(first=100, total=110, begun=0.0, step=100)
    assert pace.remaining() is None
    assert pace.recent() is None
    for step, now in ((101, 60.0), (102, 62.0), (103, 64.0)):  # the first step took a minute, the others two seconds
        pace.advance(step, samples=4, now=now)
    assert pace.remaining() == pytest.approx(7 * 2.0)
    assert pace.recent() == pytest.approx((2.0, 2.0))
    assert pace.text({"loss": 0.25}) == "step 103/110 (94%), loss 0.25, 2 s/it, 2 samples/s, 1:04 gone, 0:14 left"


def test_accumulated_batches_count_as_one_step() -> None:
    pace = Pace(first=0, total=None, begun=0.0)
    for step, now in ((0, 1.0), (1, 2.0), (1, 3.0), (2, 4.0)):
        pace.advance(step, samples=3, now=now)
    assert pace.recent() == pytest.approx((2.0, 3.0)), "two batches of three samples in two seconds"
    assert pace.text({}) == "step 2, 2 s/it, 3 samples/s, 0:04 gone", "without an end there is no estimate"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (725, "12:05"), (11220, "3:07:00"), (184500, "2 d 03:15:00")]
)
def test_times_are_readable(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def run(tmp_path: Path, terminal: bool, line_every: float, extra: tuple[Any, ...] = ()) -> str:
    """What is shown over 3 epochs of 4 steps, of which each batch takes a second of a clock of its own."""
    text = io.StringIO()
    ticks = itertools.count()
    console = Console(file=text, force_terminal=terminal, width=200)
    progress = TrainingProgress(TrainingProgressConfig(line_every), console, now=lambda: float(next(ticks)))
    train(Numbers(4, bad=(1,)), [*extra, progress], tmp_path, max_epochs=3, enable_progress_bar=True)
    return text.getvalue()


def test_without_a_terminal_there_is_a_line_now_and_then(tmp_path: Path) -> None:
    shown = run(tmp_path, terminal=False, line_every=5.0, extra=(StepGuard(StepGuardConfig()),))
    lines = shown.splitlines()
    assert 2 <= len(lines) <= 5, f"a line every five seconds of twelve, and the last: {lines}"
    assert all(re.match(r"step \d+/12 \(\d+%\), loss_simple .*lr 0.1, skipped \d", line) for line in lines), lines
    assert lines[-1].startswith("step 12/12 (100%)")
    assert len(set(lines)) == len(lines), "the last line comes once"
    assert "\x1b" not in shown, "no control characters where there is no terminal"


def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    shown = run(tmp_path, terminal=True, line_every=5.0)
    assert "step 12/12 (100%)" in shown
    assert "━" in shown


def test_tensorboard_is_the_default_and_the_table_is_always_there(tmp_path: Path) -> None:
    assert [type(logger) for logger in build_loggers("tensorboard", tmp_path, "run")] == [TensorBoardLogger, CSVLogger]
    assert [type(logger) for logger in build_loggers("csv", tmp_path, "run")] == [CSVLogger]


def test_wandb_that_is_not_installed_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        build_loggers("wandb", tmp_path, "run")
