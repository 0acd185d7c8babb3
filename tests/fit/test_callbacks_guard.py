"""Steps with bad losses or gradients: skipped without a trace in weights, moments and averages, named and counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor
from training_toys import Line, LineModel, Numbers, by_hand, train, write_line_yaml

from lvdm.fit.callbacks import AveragedWeights, AveragedWeightsConfig, StepGuard, TrainingStoppedError
from lvdm.fit.callbacks.guard import StepGuardConfig
from lvdm.fit.trainer import main


def guard(**options: Any) -> StepGuard:
    return StepGuard(StepGuardConfig(**options))


def samples(*numbers: int) -> Tensor:
    return torch.stack([Numbers(100)[number]["x"] for number in numbers])


def same(first: Line, second: Line) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_skipped_without_a_trace(tmp_path: Path, value: float) -> None:
    watch = guard()
    trained = train(Numbers(6, bad=(2,), value=value), [watch], tmp_path)
    expected = by_hand([samples(i) for i in (0, 1, 3, 4, 5)])
    assert same(trained, expected), "the weights should be those of a run that never saw sample 2"
    assert watch.total == 1
    record = json.loads((tmp_path / "skipped_steps.jsonl").read_text())
    assert record["samples"] == [{"number": 2, "path": "clip2.mp4", "caption": "number 2"}]
    assert record["step"] == 2


def test_a_clean_run_is_what_it_was_without_the_guard(tmp_path: Path) -> None:
    data = Numbers(6)
    assert same(train(data, [guard()], tmp_path), train(data, [], tmp_path)), "the guard changed a clean run"
    assert not (tmp_path / "skipped_steps.jsonl").exists()


def test_one_bad_batch_costs_the_whole_accumulated_step(tmp_path: Path) -> None:
    watch = guard()
    trained = train(Numbers(6, bad=(2,)), [watch], tmp_path, accumulate_grad_batches=2, gradient_clip_val=100.0)
    expected = by_hand([samples(0, 1), samples(4, 5)])
    assert torch.allclose(trained.layer.weight, expected.layer.weight, atol=1e-6), (
        "samples 2 and 3 make one step and should both be left out"
    )
    record = json.loads((tmp_path / "skipped_steps.jsonl").read_text())
    assert [sample["number"] for sample in record["samples"]] == [2, 3], "both batches of the step should be named"


def test_the_average_does_not_move_on_a_skipped_step(tmp_path: Path) -> None:
    averages = [AveragedWeights(AveragedWeightsConfig(decay=0.5)) for _ in range(2)]
    with_bad = train(Numbers(4, bad=(3,)), [guard(), averages[0]], tmp_path)
    without = train(Numbers(3), [guard(), averages[1]], tmp_path)
    assert same(with_bad, without), "the average of three good steps and a skipped one is that of the three"


def test_a_spike_is_skipped_only_when_asked_for(tmp_path: Path) -> None:
    data = Numbers(8, bad=(6,), value=1e4)
    off, on = guard(), guard(loss_spike=100.0, median_over=8)
    expected = by_hand([samples(i) for i in (0, 1, 2, 3, 4, 5, 7)])
    assert not same(train(data, [off], tmp_path), expected)
    assert off.total == 0, "spikes are let through unless a limit is set"
    assert same(train(data, [on], tmp_path), expected), "the loss of sample 6 is a spike"
    by_norm = guard(norm_spike=100.0, median_over=8)
    assert same(train(data, [by_norm], tmp_path), expected), "so is its gradient"


@pytest.mark.parametrize(
    ("options", "bad", "message"),
    [
        ({"max_bad": 3}, (2, 3, 4), "3 steps in a row"),
        ({"max_bad_in_window": 2, "window": 3}, (2, 4), "2 of the last 3 steps"),
    ],
)
def test_too_many_bad_steps_stop_training_with_good_weights(
    tmp_path: Path, options: dict[str, int], bad: tuple[int, ...], message: str
) -> None:
    last: list[Line] = []

    class Keep(StepGuard):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            last.append(pl_module)

    with pytest.raises(TrainingStoppedError, match=message):
        train(Numbers(9, bad=bad), [Keep(StepGuardConfig(**options))], tmp_path)
    good = [samples(i) for i in range(bad[-1]) if i not in bad]
    assert same(last[0], by_hand(good)), "the weights should be those of the last good step"


def test_bad_steps_far_apart_do_not_stop_training(tmp_path: Path) -> None:
    watch = guard(max_bad=2, max_bad_in_window=2, window=2)
    train(Numbers(8, bad=(1, 3, 5)), [watch], tmp_path)
    assert watch.total == 3


def test_its_state_survives_a_resume() -> None:
    first, second = guard(), guard()
    first.total, first._in_a_row = 4, 3
    first._recent.extend([5, 6])
    first._losses.extend([0.5, 0.25])
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()


def fp16_on_cpu() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=4.0))


def test_in_fp16_overflowing_gradients_are_left_to_the_scaler(tmp_path: Path) -> None:
    class Overflow(Line):
        def on_after_backward(self) -> None:
            if self.global_step == 1 and self.trainer.precision_plugin.scaler.get_scale() == 4.0:
                self.layer.weight.grad.fill_(math.inf)

    watch, plugin = guard(max_bad=1), fp16_on_cpu()
    train(Numbers(4), [watch], tmp_path, model=Overflow(), plugins=plugin)
    assert watch.total == 0, "an overflow is no bad step"
    assert plugin.scaler.get_scale() == 2.0, "the scaler should have halved its scale once"


@pytest.mark.parametrize("fused", [False, True])
def test_in_fp16_a_loss_that_is_not_finite_is_skipped(tmp_path: Path, fused: bool) -> None:
    class Fused(Line):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.1, fused=fused)

    watch = guard()
    trained = train(Numbers(4, bad=(3,)), [watch], tmp_path, model=Fused(), plugins=fp16_on_cpu())
    expected = train(Numbers(3), [], tmp_path, model=Fused(), plugins=fp16_on_cpu())
    assert same(trained, expected)
    assert watch.total == 1


@pytest.mark.parametrize(("length", "bad"), [(2, (0, 1)), (8, (5, 6, 7))])
def test_a_training_that_ends_in_bad_steps_has_failed(tmp_path: Path, length: int, bad: tuple[int, ...]) -> None:
    exported: list[bool] = []

    class Export(pl.Callback):
        def on_train_end(self, *_: Any) -> None:
            exported.append(True)

    with pytest.raises(TrainingStoppedError, match=f"the loss is nan, and the last {len(bad)} were skipped"):
        train(Numbers(length, bad=bad), [guard(), Export()], tmp_path)
    assert not exported
    train(Numbers(8, bad=(6, 7)), [guard(), Export()], tmp_path)
    assert exported, "two clips that are broken are no reason to throw a training away"


class Destroyed(LineModel):
    """Its third step leaves weights that are no numbers."""

    def optimizer_step(self, *arguments: Any) -> None:
        super().optimizer_step(*arguments)
        if self.global_step == 2:  # it counts the step when this returns
            self.layer.weight.data.fill_(math.nan)


@pytest.mark.parametrize("last", [3, 20], ids=["at the end", "on the way"])
def test_weights_that_are_no_numbers_replace_no_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: int
) -> None:
    write_line_yaml(tmp_path, monkeypatch)
    monkeypatch.setattr("lvdm.models.autoencoder.LineModel", Destroyed)
    newest = "{target: lvdm.fit.callbacks.ModelCheckpoint, params: {every_n_train_steps: 1, filename: newest}}"
    export = f"{{target: lvdm.fit.callbacks.WeightExport, params: {{path: '{tmp_path}/export.safetensors'}}}}"
    flags = ["--base", str(tmp_path / "config.yaml"), "--train", "--name", "run", "--logdir", str(tmp_path)]
    words = [f"lightning.trainer.max_steps={last}", "lightning.checkpoint={every_n_train_steps: 1, keep: 1}"]
    assert main([*flags, *words, f"lightning.callbacks.newest={newest}", f"lightning.callbacks.export={export}"]) == 1
    last_line = capsys.readouterr().err.strip().splitlines()[-1]
    assert last_line.startswith("error: training stopped at step 3: the weights are not finite any more")
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt"))
    assert kept == ["step-00000002.ckpt"]
    for path in tmp_path.rglob("*.ckpt"):
        assert all(value.isfinite().all() for value in torch.load(path)["state_dict"].values()), path
    assert not (tmp_path / "export.safetensors").exists()


@pytest.mark.parametrize("options", [{"loss_spike": 1.0}, {"norm_spike": 0.5}])
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        StepGuardConfig(**options)
