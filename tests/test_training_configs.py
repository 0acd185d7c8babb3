"""Every training file that is shipped is whole, its model can be built, its shell asks for what is missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from lvdm.config import ConfigError, load_yaml
from lvdm.fit.trainer import main
from lvdm.fit.training_setup import TrainingSetup, check_filled, load_training_setup
from lvdm.fit.tuning import apply_tuning

ROOT = Path(__file__).parent.parent
STAGES = ["config_stage1.yaml", "config_stage2.yaml", "config_stage3.yaml"]
PAPER = ROOT / "configs" / "training_paper_256"
WHOLE = sorted(
    path
    for path in (ROOT / "configs").glob("training_*/config*.yaml")
    if path.parent != PAPER and path.name not in STAGES
)
SHELLS = sorted((ROOT / "configs").glob("training_*/run.sh"))
RELEASED_TRAINABLE = 1516 + 51
"""Tensors of the UNet and of the query transformer of the 512 and 1024 models."""


def setup_of(*paths: Path) -> TrainingSetup:
    return load_training_setup(paths)


def build(setup: TrainingSetup) -> torch.nn.Module:
    with torch.device("meta"):
        return setup.model.build()


def trained(setup: TrainingSetup) -> set[str]:
    model = build(setup)
    apply_tuning(model, setup.tuning)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_model_of_every_file_is_trained_as_the_original(path: Path) -> None:
    names = trained(setup_of(path))
    alphas = 16 if "256" in path.parent.name else 0
    assert len(names) == RELEASED_TRAINABLE + alphas
    assert {name.split(".")[0] for name in names} == {"model", "image_proj_model"}


def test_the_256_file_is_the_released_model_with_the_objective_of_the_others() -> None:
    ours = setup_of(ROOT / "configs" / "training_256_v1.0" / "config.yaml")
    released = load_yaml(ROOT / "configs" / "inference_256_v1.0.yaml")["model"]["params"]
    params = ours.tree["model"]["params"]
    assert {key: params[key] for key in released} == released, "the network or its schedule differs from the released"
    other = setup_of(ROOT / "configs" / "training_512_v1.0" / "config.yaml")
    for key in ("uncond_prob", "rand_cond_frame", "image_proj_model_trainable", "cond_stage_trainable"):
        assert params[key] == other.tree["model"]["params"][key]
    assert ours.model.params.parameterization == "eps"
    assert ours.model.params.fps_condition_type == "fs"
    assert not ours.model.params.rescale_betas_zero_snr
    assert ours.optimizer.learning_rate == other.optimizer.learning_rate
    assert ours.data.params.train.params.frame_stride == released_card_maximum()


def released_card_maximum() -> int:
    return load_yaml(ROOT / "configs" / "inference_256_v1.0.yaml")["sampling"]["fs_max"]


def test_the_stages_of_the_paper_train_what_it_says() -> None:
    stages = [setup_of(PAPER / "base.yaml", PAPER / name) for name in STAGES]
    assert [stage.lightning.trainer.max_steps for stage in stages] == [1_000_000, 30_000, 100_000]
    assert [stage.optimizer.learning_rate for stage in stages] == [1e-4, 5e-5, 5e-5]
    for stage in stages:
        devices = stage.lightning.trainer.devices
        assert devices * stage.data.params.batch_size == 64
        assert not stage.scale_lr
    first, second, third = (trained(stage) for stage in stages)
    query_transformer = {name for name in third if name.startswith("image_proj_model.")}
    assert query_transformer <= first
    assert all("_ip." in name or name.endswith(".alpha") for name in first - query_transformer)
    assert third - second == {f"model.diffusion_model.input_blocks.0.0.{name}" for name in ("weight", "bias")}
    assert not any(".temopral_conv." in name or ".init_attn." in name for name in third)
    assert (
        stages[0].data.params.train.params.video_length
        == stages[0].model.params.image_proj_stage_config.params.video_length
        == 1
    )
    exports = [stage.tree["lightning"]["callbacks"]["export"]["params"]["path"] for stage in stages]
    assert exports[0] == str(stages[1].pretrained[0])
    assert exports[1] == str(stages[2].pretrained[0])


def test_what_is_to_be_filled_in_is_named() -> None:
    check_filled({"a": {"b": ["x", 3, "a < b"]}})
    with pytest.raises(ConfigError, match=r"a\.b\[1\] is still '<your file>'"):
        check_filled({"a": {"b": ["x", "<your file>"]}})


@pytest.mark.parametrize("shell", SHELLS, ids=lambda path: path.parent.name)
def test_a_shell_runs_the_trainer_and_asks_for_what_is_missing(
    shell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = tmp_path / "python"
    recorder.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    recorder.chmod(0o755)
    stage = ["3"] if shell.parent == PAPER else []
    clean = {name: value for name, value in os.environ.items() if name not in ("DATA_DIR", "META_PATH", "CONFIG")}
    done = subprocess.run(
        ["bash", str(shell), *stage, "--seed", "7"],
        env={**clean, "PYTHON": str(recorder)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    module, *arguments = done.stdout.splitlines()[1:]
    assert module == "main.trainer"
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert "data.params.train.params.data_dir is still '<folder that holds videos/>'" in error
    assert "\n" not in error


@pytest.mark.parametrize("shell", SHELLS, ids=lambda path: path.parent.name)
def test_paths_given_to_a_shell_are_those_of_the_folder_it_is_called_from(shell: Path, tmp_path: Path) -> None:
    recorder = tmp_path / "python"
    recorder.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    recorder.chmod(0o755)
    paths = {"DATA_DIR": "my videos", "META_PATH": "/elsewhere/captions.csv"}
    command = ["bash", str(shell), *(["3"] if shell.parent == PAPER else [])]
    environment = {**os.environ, **paths, "PYTHON": str(recorder)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    arguments = done.stdout.splitlines()
    assert f"data.params.train.params.data_dir={tmp_path}/my videos" in arguments
    assert "data.params.train.params.meta_path=/elsewhere/captions.csv" in arguments


def test_the_shells_of_all_folders_are_tested() -> None:
    assert len(SHELLS) >= 4
