"""The trainer on a small model: it trains, validates, exports, resumes, and says what is wrong with a configuration."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from small_model import FRAMES, SIDE, shallow_model
from tiny_videos import write_video

from lvdm.checkpoint import read_checkpoint
from lvdm.config import ConfigError, load_model_config
from lvdm.fit.trainer import main
from lvdm.fit.training_setup import load_training_setup, parse_training_setup


def training_tree(folder: Path) -> dict[str, Any]:
    """Two steps of two procedural clips, with every callback."""
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 8}
    node = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    checkpoint = {"every_n_train_steps": 1, "filename": "newest", "save_top_k": 1}
    return {
        "model": {**shallow_model(), "base_learning_rate": 1e-3},
        "data": {
            "target": "utils_data.DataModuleFromConfig",
            "params": {"batch_size": 2, "train": node, "validation": node},
        },
        "lightning": {
            "trainer": {
                "max_steps": 2,
                "limit_val_batches": 1,
                "val_check_interval": 1,
                "log_every_n_steps": 1,
                "accelerator": "cpu",
            },
            "callbacks": {
                "average": {"target": "lvdm.fit.callbacks.AveragedWeights", "params": {"decay": 0.5}},
                "checkpoint": {"target": "pytorch_lightning.callbacks.ModelCheckpoint", "params": checkpoint},
                "images": {
                    "target": "callbacks.ImageLogger",
                    "params": {"batch_frequency": 2, "max_images": 1, "log_images_kwargs": {"ddim_steps": 2}},
                },
                "export": {
                    "target": "lvdm.fit.callbacks.WeightExport",
                    "params": {"path": str(folder / "weights.safetensors")},
                },
            },
        },
    }


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("training")
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(training_tree(folder)))
    code = main(["--base", str(config), "--train", "--name", "run", "--logdir", str(folder), "--seed", "1"])
    assert code == 0, "training should end with exit code 0"
    return folder


def test_training_changes_what_is_trained_and_nothing_else(finished_run: Path) -> None:
    trained = read_checkpoint(finished_run / "weights.safetensors")
    torch.manual_seed(0)
    reference = load_model_config(finished_run / "config.yaml").build()
    assert set(trained) == set(reference.state_dict()), "the export should hold every key of the model"
    # Zero-initialised layers tell whether they were trained whatever the random start was.
    assert trained["model.diffusion_model.out.2.weight"].abs().max() > 0, "the last layer of the UNet did not move"
    assert torch.equal(trained["alphas_cumprod"], reference.alphas_cumprod), "the schedule must not be trained"


def test_a_run_leaves_its_configuration_its_losses_and_a_checkpoint(finished_run: Path) -> None:
    run = finished_run / "run"
    assert load_training_setup([run / "config.yaml"]).optimizer.learning_rate == 1e-3
    lines = next(run.rglob("metrics.csv")).read_text()
    assert "train/loss_simple" in lines
    assert "val/loss_simple" in lines, "validation should have run (the original's raises a TypeError)"
    assert list(run.rglob("newest*.ckpt"))
    assert list(run.rglob("events.out.tfevents*")), "TensorBoard logs are written by default"


def test_a_run_can_be_resumed(finished_run: Path) -> None:
    arguments = ["--base", str(finished_run / "config.yaml"), "--train", "--name", "run", "--logdir", str(finished_run)]
    assert main([*arguments, "--auto_resume", "lightning.trainer.max_steps=3"]) == 0
    newest = max((finished_run / "run").rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    assert torch.load(newest, weights_only=True)["global_step"] == 3


@pytest.mark.parametrize(("flag", "name"), [("--train", "train"), ("--val", "validation")])
def test_what_is_wrong_with_the_data_is_told_before_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, name: str
) -> None:
    tree = training_tree(tmp_path)
    tree["model"]["pretrained_checkpoint"] = str(tmp_path / "weights_that_are_not_there.ckpt")
    missing = {"data_dir": str(tmp_path / "no_videos")}
    tree["data"]["params"][name] = {"target": "lvdm.data.video_folder.VideoFolder", "params": missing}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    assert main(["--base", str(tmp_path / "config.yaml"), flag, "--logdir", str(tmp_path), "--name", "run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no_videos" in line, "reading gigabytes of weights first helps nobody"


@pytest.mark.parametrize("flags", [["--val"], ["--test"], ["--train", "--val"]])
def test_validation_without_data_for_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    tree = training_tree(tmp_path)
    tree["data"]["params"].pop("validation", None)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    assert main(["--base", str(tmp_path / "config.yaml"), *flags, "--logdir", str(tmp_path), "--name", "run"]) == 2
    assert "data.params.validation is missing: name the videos to use" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--logdir", "--name"])
def test_a_run_folder_that_is_no_utf8_is_refused_before_weights_are_read(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(training_tree(tmp_path)))
    flags = {"--logdir": str(tmp_path), "--name": "run", flag: os.fsdecode(b"caf\xe9")}
    assert main(["--base", str(tmp_path / "config.yaml"), "--train", *sum(flags.items(), ())]) == 2
    assert "is no UTF-8, which TensorBoard needs; give another --name or --logdir" in capsys.readouterr().err


def test_overrides_win_and_later_files_win_over_earlier_ones(tmp_path: Path) -> None:
    base, later = tmp_path / "a.yaml", tmp_path / "b.yaml"
    base.write_text(yaml.safe_dump(training_tree(tmp_path)))
    later.write_text("optimizer: {learning_rate: 0.5, warmup_steps: 7}\n")
    setup = load_training_setup([base, later], ["optimizer.learning_rate=0.25"])
    assert (setup.optimizer.learning_rate, setup.optimizer.warmup_steps) == (0.25, 7)


def test_another_target_takes_no_params_of_the_one_it_replaces(tmp_path: Path) -> None:
    base, later = tmp_path / "a.yaml", tmp_path / "b.yaml"
    base.write_text(yaml.safe_dump(training_tree(tmp_path)))
    source = {"target": "lvdm.data.video_folder.VideoFolder", "params": {"data_dir": "my_videos"}}
    later.write_text(yaml.safe_dump({"data": {"params": {"train": source, "validation": {"params": {"length": 5}}}}}))
    data = load_training_setup([base, later]).data.params
    assert data.train.params.data_dir == "my_videos", "the procedural clips' options should be gone"
    assert data.validation.params.length == 5
    assert data.validation.params.height == SIDE, "the same target keeps its other options"
    assert data.batch_size == 2


def test_the_trainers_precision_is_that_of_the_training(tmp_path: Path) -> None:
    tree = copy.deepcopy(training_tree(tmp_path))
    tree["lightning"]["trainer"]["precision"] = "bf16-mixed"
    lightning = parse_training_setup(tree).lightning
    assert lightning.precision == "bf16-mixed", "the checks and the prediction of memory look at lightning.precision"
    tree["lightning"]["precision"] = 32
    with pytest.raises(ConfigError, match=r"lightning\.precision is 32 and lightning\.trainer\.precision bf16-mixed"):
        parse_training_setup(tree)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optimizer.learning_rat", 1.0, "learning_rate"),
        ("lightning.trainer.max_step", 1, "max_step"),
        ("model.params.unet_config.params.model_chanels", 32, "model_channels"),
        ("model.target", "os.system", "not allowed"),
        ("data.params.batch_size", "two", "batch_size"),
        ("lightning.precision", "bf17", "lightning.precision = 'bf17' is not known; did you mean 'bf16'"),
        ("extra", 1, "extra"),
    ],
)
def test_a_wrong_key_is_named_before_anything_is_built(tmp_path: Path, path: str, value: object, message: str) -> None:
    tree = copy.deepcopy(training_tree(tmp_path))
    node = tree
    *parents, last = path.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    with pytest.raises(ConfigError, match=message):
        parse_training_setup(tree)


def test_a_missing_checkpoint_to_resume_from_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(training_tree(tmp_path)))
    assert main(["--base", str(config), "--train", "--resume_from", str(tmp_path / "gone.ckpt")]) == 2
    assert "gone.ckpt does not exist" in capsys.readouterr().err


def test_command_line_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base", str(tmp_path / "missing.yaml"), "--train"]) == 2
    assert main(["--base", "x.yaml", "--trian"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2
    assert "missing.yaml" in errors[0]
    assert "--trian" in errors[1]


def test_an_override_right_after_the_files_is_told_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(training_tree(tmp_path)))
    assert main(["--base", str(config), "optimizer.learning_rate=0.5", "--train"]) == 2
    assert "put overrides before --base, or after another flag" in capsys.readouterr().err


def test_without_anything_to_do_the_flags_that_do_something_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(training_tree(tmp_path)))
    assert main(["--base", str(config), "--logdir", str(tmp_path / "logs")]) == 2
    assert "nothing to do: add --train, --val or --dry-run" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


def test_weights_alone_are_no_checkpoint_to_go_on_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(training_tree(tmp_path)))
    weights = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(2)}, weights)
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "weights.ckpt")
    for name in ("weights.safetensors", "weights.ckpt"):
        flags = ["--train", "--logdir", str(tmp_path / "logs"), "--resume_from", str(tmp_path / name)]
        assert main(["--base", str(config), *flags]) == 2
        error = capsys.readouterr().err
        assert f"{name} holds weights only" in error
        assert "model.pretrained_checkpoint" in error


def test_a_folder_of_which_no_clip_can_be_cut_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "videos" / "a.mp4", 3)
    (tmp_path / "videos" / "a.txt").write_text("a caption")
    source = {"data_dir": str(tmp_path / "videos"), "resolution": [SIDE, SIDE], "video_length": 40}
    tree = training_tree(tmp_path)
    tree["data"]["params"]["train"] = {"target": "lvdm.data.video_folder.VideoFolder", "params": source}
    tree["data"]["params"]["num_workers"] = 1
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    assert main(["--base", str(config), "--train", "--logdir", str(tmp_path / "logs")]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: none of 1 videos")
    assert "has 3 frames, a clip needs 40" in last
