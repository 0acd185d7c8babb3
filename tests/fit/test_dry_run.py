"""A dry run tells what the training then does: the same clips, the same draws, the same counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from small_model import FRAMES, SIDE, small_yaml

from lvdm.data.clips import ClipDataset
from lvdm.data.sampling import PlannedBatches
from lvdm.fit.dry_run import plan_progress
from lvdm.fit.dry_run_clips import first_batches, seen_clips
from lvdm.fit.trainer import main
from lvdm.fit.training_setup import TrainingSetup, parse_training_setup
from lvdm.fit.tuning import apply_tuning

SEED = 11


def tree(**trainer: Any) -> dict[str, Any]:
    """Two procedural clips a batch, with every condition dropped now and then, and random conditioning frames."""
    model = small_yaml()["model"]
    model["params"] |= {"uncond_prob": 0.3, "rand_cond_frame": True, "interpolation_probability": 0.5}
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 7}
    node = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    return {
        "model": model,
        "data": {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": 2, "train": node}},
        "lightning": {"trainer": {"max_steps": 2, "accelerator": "cpu"} | trainer},
    }


class Recorder(pl.Callback):
    """Keeps the batches that a training gets, and the time steps that it draws for them."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.times: list[list[int]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)
        self.times.append(outputs["t"].tolist())


def trained(setup: TrainingSetup, folder: Path) -> Recorder:
    """What the first two steps of a real training see."""
    model, data, recorder = setup.model.build(), setup.data.build(), Recorder()
    model.training_seed = data.seed = SEED
    apply_tuning(model, setup.tuning)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        default_root_dir=str(folder),
        callbacks=[recorder],
        enable_model_summary=False,
        **quiet,
        **setup.lightning.trainer.arguments(),
    )
    trainer.fit(model, datamodule=data)
    return recorder


def test_the_clips_are_those_of_the_first_steps(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree()), encoding="utf-8")
    arguments = ["--base", str(config), "--dry-run", "--logdir", str(tmp_path), "--name", "run", "--seed", str(SEED)]
    assert main(arguments) == 0
    folder = tmp_path / "run"
    assert [path.name for path in folder.iterdir()] == ["dry_run"], "a dry run begins no training"
    told = json.loads((folder / "dry_run" / "dry_run.json").read_text(encoding="utf-8"))

    setup = parse_training_setup(tree())
    with torch.device("meta"):
        model = setup.model.build()
    model.training_seed = SEED
    data = setup.data.build()
    data.seed = SEED
    source = data.source("train")
    shown = [batch for parts in first_batches(source, data.plan(source), SEED, 2) for batch in parts]
    recorder = trained(setup, tmp_path)
    for step, (seen, actual) in enumerate(zip(shown, recorder.batches, strict=True)):
        assert torch.equal(seen["video"], actual["video"]), f"step {step} trains on other clips"
        assert [clip.draws.t for clip in seen_clips(model, seen, step)] == recorder.times[step]
        for name in ("caption", "path"):
            assert seen[name] == actual[name]
    assert [clip["draws"]["t"] for clip in told["clips"]] == [t for times in recorder.times for t in times]
    assert [clip["caption"] for clip in told["clips"]] == [c for batch in recorder.batches for c in batch["caption"]]
    with Image.open(folder / "dry_run" / "clips.png") as sheet:
        assert sheet.height >= 4 * 112, "a row for each of four clips"


def test_dropped_conditions_are_those_of_the_step() -> None:
    """A dropped sentence is the empty one, a dropped image a grey one: seen in what the encoders are given."""
    setup = parse_training_setup(tree())
    model, data = setup.model.build(), setup.data.build()
    model.training_seed = data.seed = SEED
    source = data.source("train")
    given: dict[str, Any] = {}
    model.cond_stage_model.register_forward_pre_hook(lambda _, args: given.update(sentences=args[0]))
    model.embedder.register_forward_pre_hook(lambda _, args: given.update(images=args[0]))
    dropped = set()
    for number, parts in enumerate(first_batches(source, data.plan(source), SEED, 8)):
        model._step(parts[0], "train")
        for i, clip in enumerate(seen_clips(model, parts[0], number)):
            frame = clip.frames[:, clip.draws.conditioning_frame]
            assert given["sentences"][i] == ("" if clip.draws.caption_dropped else clip.caption)
            assert torch.equal(given["images"][i], torch.zeros_like(frame) if clip.draws.image_dropped else frame)
            dropped.add((clip.draws.caption_dropped, clip.draws.image_dropped))
    assert len(dropped) >= 3, f"the clips show too few of the cases: {dropped}"


def test_two_devices_share_a_batch_as_in_training() -> None:
    setup = parse_training_setup(tree())
    data = setup.data.build()
    data.seed = SEED
    source = data.source("train")
    plan = data.plan(source, 2)
    (parts,) = first_batches(source, plan, SEED, 1, world_size=2)
    for rank, part in enumerate(parts):
        draws = next(iter(PlannedBatches(plan, lambda: 0, rank, 2)))
        expected = ClipDataset(source, SEED).__getitems__(draws)
        assert part["number"].tolist() == [clip["number"] for clip in expected]
        assert torch.equal(part["video"], torch.stack([clip["video"] for clip in expected]))


@pytest.mark.parametrize(
    ("trainer", "steps_per_epoch", "steps"),
    [({}, 3, 2), ({"accumulate_grad_batches": 2}, 2, 2), ({"max_steps": -1, "max_epochs": 4}, 3, 12)],
)
def test_steps_and_epochs(trainer: dict[str, Any], steps_per_epoch: int, steps: int) -> None:
    """7 clips in batches of 2: a pass has 3 batches, what is left over begins the next pass."""
    setup = parse_training_setup(tree(**trainer))
    data = setup.data.build()
    source = data.source("train")
    progress = plan_progress(setup, source, data.plan(source), 1)
    assert (progress.steps_per_epoch, progress.steps) == (steps_per_epoch, steps)
    assert progress.epochs == steps / steps_per_epoch
    assert progress.effective_batch == 2 * trainer.get("accumulate_grad_batches", 1)


def test_data_that_cannot_be_read_stops_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tree()
    broken["data"]["params"]["train"] = {
        "target": "lvdm.data.webvid.WebVid",
        "params": {"meta_path": str(tmp_path / "gone.csv"), "data_dir": str(tmp_path)},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(broken), encoding="utf-8")
    assert main(["--base", str(config), "--dry-run", "--logdir", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1, errors
    assert "gone.csv" in errors[0]
