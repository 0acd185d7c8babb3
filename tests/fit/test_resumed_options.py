"""A resumed training applies another option, refuses it, or says that it keeps the old one: all options, each once."""

from __future__ import annotations

import dataclasses
import logging
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_model import FRAMES, SIDE, small_yaml
from training_toys import LineModel, write_line_yaml

from lvdm.config import Component, ConfigError
from lvdm.fit import resumed_options
from lvdm.fit.autoencoder_training import AutoencoderTrainingConfig
from lvdm.fit.clip_training import ClipTrainingConfig
from lvdm.fit.resumed_options import RULES, check_resumed, compare, rule_of, table
from lvdm.fit.trainer import main
from lvdm.fit.training_setup import TrainingSetup, parse_training_setup
from lvdm.models.depth_diffusion import LatentDepthDiffusionConfig
from lvdm.models.video_config import LatentVisualDiffusionConfig
from lvdm.modules.networks.openaimodel3d import UNetConfig

MODELS = (
    LatentVisualDiffusionConfig,
    LatentDepthDiffusionConfig,
    AutoencoderTrainingConfig,
    ClipTrainingConfig,
)
WHOLE = ("data", "lightning.callbacks")
"""Places of which only what lies below is an option."""


def places_of(cls: Any, place: str) -> Iterator[str]:
    """The dotted places of all options of a dataclass; a component stands as a whole."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner = [hints[field.name], *typing.get_args(hints[field.name])]
        nested = [hint for hint in inner if dataclasses.is_dataclass(hint) and hint is not Component]
        yield from (deep for hint in nested for deep in places_of(hint, f"{place}{field.name}."))
        if Component in inner:
            yield from (f"{place}{field.name}.target", f"{place}{field.name}.params.anything")
        if not nested or len(nested) < len(inner) - 1:
            yield f"{place}{field.name}"


def every_place() -> list[str]:
    """All options of a training: those of the setup, of each kind of model, and of the UNet."""
    own = ("model", "tree", "scale_lr", "pretrained")
    setup = [place for place in places_of(TrainingSetup, "") if place.partition(".")[0] not in own]
    models = [place for cls in MODELS for place in places_of(cls, "model.params.")]
    unet = places_of(UNetConfig, "model.params.unet_config.params.")
    named = ("model.target", "model.scale_lr", "model.pretrained_checkpoint", "sampling.height")
    return sorted({*setup, *models, *unet, *named, "lightning.callbacks.own.params.x"})


def text(rule: resumed_options.Rule) -> str:
    return f"{rule.section}{rule.places}"


def test_every_option_has_a_rule_and_every_rule_an_option() -> None:
    places = every_place()
    assert len(places) > 110, "options are missing from the list"
    covered = {text(rule_of(place)) for place in places if place not in WHOLE}
    assert covered == {text(rule) for rule in RULES}
    names = {f"{rule.section}{name}" for rule in RULES for name in rule.places.split() if "*" not in name}
    assert names <= {*places, "data.target"}, "rules name options that are gone"


@pytest.mark.parametrize("place", [place for place in every_place() if place not in WHOLE])
def test_another_value_is_applied_refused_or_kept_and_said(place: str, caplog: pytest.LogCaptureFixture) -> None:
    rule, old, new = rule_of(place), {place: 1, "data.params.x": 5}, {place: 2, "data.params.x": 5}
    if rule.handling == "refused":
        with pytest.raises(ConfigError) as caught:
            compare("a.ckpt", old, new)
        assert f"{place} is 2 and a.ckpt was trained with 1: {rule.reason}; put it back" in str(caught.value)
        return
    compare("a.ckpt", old, new)
    (message,) = caplog.messages
    said = "applied, " if rule.handling == "applied" else "not read: "
    assert message == f"resuming with {place} 2 instead of 1: {said}{rule.reason}"
    caplog.clear()
    compare("a.ckpt", old, old)
    assert not caplog.messages, "what is as it was needs no words"


def tree(**sections: Any) -> dict[str, Any]:
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 8}
    source = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    return {
        "model": small_yaml()["model"],
        "data": {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": 2, "train": source}},
        "lightning": {"trainer": {"max_steps": 2, "accelerator": "cpu"}},
    } | sections


AVERAGE = {"average": {"target": "lvdm.fit.callbacks.AveragedWeights", "params": {"decay": 0.5}}}


def test_defaults_that_are_written_down_are_no_change(caplog: pytest.LogCaptureFixture) -> None:
    written = tree(tuning={"train": "full"}, optimizer={"name": "adamw", "learning_rate": 1e-5})
    check_resumed("a.ckpt", yaml.safe_dump(tree()), parse_training_setup(written))
    assert not caplog.messages


def test_a_run_that_averaged_goes_on_averaging() -> None:
    averaged = tree(lightning={"trainer": {"max_steps": 2}, "callbacks": AVERAGE})
    with pytest.raises(ConfigError, match=r"a\.ckpt has averaged weights in the place of the trained ones: keep"):
        check_resumed("a.ckpt", yaml.safe_dump(averaged), parse_training_setup(tree()))
    check_resumed("a.ckpt", yaml.safe_dump(tree()), parse_training_setup(averaged))


def test_a_configuration_that_cannot_be_read_any_more_is_said(caplog: pytest.LogCaptureFixture) -> None:
    check_resumed("a.ckpt", "model: {target: lvdm.gone.Model}", parse_training_setup(tree()))
    assert "a.ckpt is of another version, and what has changed since is not known" in caplog.text


# ---------------------------------------------------------------------- whole trainings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configuration of a training of two steps, which takes milliseconds."""
    return write_line_yaml(tmp_path, monkeypatch)


def run(folder: Path, *overrides: str) -> int:
    flags = ["--base", str(folder / "config.yaml"), "--train", "--name", "run", "--logdir", str(folder)]
    return main([*flags, "--auto_resume", *overrides])


def checkpoint(folder: Path, step: int) -> dict[str, Any]:
    path = folder / "run" / "checkpoints" / f"step-{step:08d}.ckpt"
    return torch.load(path, weights_only=True)


def test_another_rate_decay_and_schedule_hold_from_the_next_step_on(folder: Path) -> None:
    assert run(folder) == 0
    changes = {"learning_rate": 0.5, "betas": [0.5, 0.75], "weight_decay": 0.25, "schedule": "linear"}
    words = [f"optimizer.{name}={value}" for name, value in changes.items()]
    assert run(folder, *words, "lightning.trainer.max_steps=4") == 0
    state = checkpoint(folder, 4)
    (group,) = state["optimizer_states"][0]["param_groups"]
    assert (group["initial_lr"], group["betas"], group["weight_decay"]) == (0.5, (0.5, 0.75), 0.25)
    assert state["lr_schedulers"][0]["base_lrs"] == [0.5]
    assert group["lr"] == 0.0, "the schedule falls to its end at step 4"
    assert run(folder, *words, "optimizer.total_steps=8", "lightning.trainer.max_steps=5") == 0
    weights, moved = state["state_dict"], checkpoint(folder, 5)["state_dict"]
    assert all((moved[key] - weights[key]).abs().max() > 0.05 for key in weights), "0.5 x 4/8 is a large step"


def test_the_same_options_change_no_bit(folder: Path) -> None:
    assert run(folder, "optimizer.warmup_steps=3", "lightning.trainer.max_steps=4") == 0
    expected = checkpoint(folder, 4)
    (folder / "run").rename(folder / "whole")
    assert run(folder, "optimizer.warmup_steps=3") == 0
    assert run(folder, "optimizer.warmup_steps=3", "lightning.trainer.max_steps=4") == 0
    actual = checkpoint(folder, 4)
    assert all(torch.equal(actual["state_dict"][key], value) for key, value in expected["state_dict"].items())
    assert actual["optimizer_states"][0]["param_groups"] == expected["optimizer_states"][0]["param_groups"]


def test_a_training_that_is_finished_or_beyond_its_end_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING)
    assert run(folder) == 0
    written = (folder / "run" / "run.json").read_bytes()
    assert run(folder) == 0, "a scheduler that starts a finished training again should not see a failure"
    assert "the training is finished" in caplog.text
    assert "step-00000002.ckpt has reached max_steps 2" in caplog.text
    assert (folder / "run" / "run.json").read_bytes() == written, "nothing was started"
    capsys.readouterr()
    assert run(folder, "lightning.trainer.max_steps=1") == 2
    assert "lightning.trainer.max_steps is 1 and" in capsys.readouterr().err
    epochs = ["lightning.trainer.max_steps=null", "lightning.trainer.max_epochs=1"]  # of 4 steps
    assert run(folder, *epochs) == 0
    caplog.clear()
    assert run(folder, *epochs) == 0
    assert "step-00000004.ckpt has reached max_epochs 1" in caplog.text


def test_refused_options_stop_before_anything_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    written = (folder / "run" / "run.json").read_bytes()
    capsys.readouterr()
    assert run(folder, "optimizer.name=adamw_fused", "lightning.trainer.max_steps=4") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "optimizer.name is 'adamw_fused' and" in line
    assert "step-00000002.ckpt was trained with 'adamw'" in line
    assert (folder / "run" / "run.json").read_bytes() == written


def test_a_checkpoint_of_another_model_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    path = folder / "run" / "checkpoints" / "step-00000002.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {"layer.weight": torch.zeros(2, 9), "other": torch.zeros(3)}
    torch.save(content, folder / "other.ckpt")
    capsys.readouterr()
    flags = ["--base", str(folder / "config.yaml"), "--train", "--name", "new", "--logdir", str(folder)]
    assert main([*flags, "--resume_from", str(folder / "other.ckpt"), "lightning.trainer.max_steps=4"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "other.ckpt is of another model: 1 tensors of this one are not in it, such as layer.bias" in line
    assert "1 tensors have another shape, such as layer.weight" in line


def test_validation_alone_takes_the_weights_of_the_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder) == 0
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        LineModel, "validation_step", lambda self, *_: seen.append(self.layer.weight.detach().clone()), raising=False
    )
    again = (folder / "config.yaml").read_text()
    source = yaml.safe_load(again)["data"]["params"]["train"]
    flags = ["--base", str(folder / "config.yaml"), "--val", "--auto_resume", "--name", "run", "--logdir", str(folder)]
    assert main([*flags, f"data.params.validation={source}"]) == 0
    assert torch.equal(seen[0], checkpoint(folder, 2)["state_dict"]["layer.weight"]), "it validated other weights"


def test_the_document_has_the_rules() -> None:
    document = Path(__file__).parents[2] / "docs" / "finetuning.md"
    assert table() in document.read_text(encoding="utf-8"), "write the table of lvdm.fit.resumed_options into it"
