"""Trainings of two steps under the choices of a YAML: adapters, averaged weights, precision, and where they begin."""

from __future__ import annotations

import io
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from golden_vectors import fill_module
from safetensors.torch import load_file, save_file
from small_model import FRAMES, SIDE, shallow_model

from lvdm.checkpoint import checkpoint_hash
from lvdm.checkpoint.lora import read_lora
from lvdm.config import ConfigError, parse_component
from lvdm.fit.assembly import prepare_weights, scale_learning_rate
from lvdm.fit.trainer import main
from lvdm.fit.training_setup import parse_training_setup
from lvdm.models.ddpm3d import LatentVisualDiffusion


def tree(folder: Path, **sections: Any) -> dict[str, Any]:
    """Two steps of two clips, with averaged weights and an export; `sections` are merged over the top level."""
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 8}
    data = {"batch_size": 2, "train": {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}}
    return {
        "model": {**shallow_model(), "pretrained_checkpoint": str(folder / "base.safetensors")},
        "data": {"target": "utils_data.DataModuleFromConfig", "params": data},
        "optimizer": {"learning_rate": 1e-2},
        "lightning": {
            "trainer": {"max_steps": 2, "accelerator": "cpu"},
            "callbacks": {
                "average": {"target": "lvdm.fit.callbacks.AveragedWeights", "params": {"decay": 0.5}},
                "export": {
                    "target": "lvdm.fit.callbacks.WeightExport",
                    "params": {"path": str(folder / "export.safetensors")},
                },
            },
        },
    } | sections


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base checkpoint."""
    model = parse_component(shallow_model(), "model").build()
    fill_module(model, "")
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """A folder with that checkpoint."""
    shutil.copy(base, tmp_path)
    return tmp_path


class Watched(NamedTuple):
    """What a training exported, what it logged, and how many gradients there were before each step."""

    exported: dict[str, torch.Tensor]
    log: str
    gradients: list[int]


def watch(folder: Path, content: dict[str, Any]) -> Watched:
    """Train, and look on."""
    log, gradients, step = io.StringIO(), list[int](), LatentVisualDiffusion.training_step

    def watched(self: LatentVisualDiffusion, *arguments: Any) -> Any:
        gradients.append(sum(parameter.grad is not None for parameter in self.parameters()))
        return step(self, *arguments)

    handler = logging.StreamHandler(log)
    logging.getLogger("lvdm").addHandler(handler)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LatentVisualDiffusion, "training_step", watched)
            exported = train(folder, content)
    finally:
        logging.getLogger("lvdm").removeHandler(handler)
    return Watched(exported, log.getvalue(), gradients)


@pytest.fixture(scope="module")
def full(base: Path) -> Watched:
    """The training of `tree` as it is."""
    return watch(base.parent, tree(base.parent))


def train(folder: Path, content: dict[str, Any], *arguments: str) -> dict[str, torch.Tensor]:
    """Run the trainer and return what it exported."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content))
    command = ["--base", str(config), "--train", "--name", "run", "--logdir", str(folder), "--seed", "1"]
    assert main([*command, *arguments]) == 0
    return load_file(folder / "export.safetensors")


def newest_checkpoint(folder: Path) -> Path:
    return max((folder / "run" / "checkpoints").rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)


def test_full_training_keeps_every_bit_of_what_is_frozen(base: Path, full: Watched) -> None:
    before, trained = load_file(base), full.exported
    assert trained.keys() == before.keys()
    for key, value in trained.items():
        if key.startswith(("first_stage_model.", "cond_stage_model.", "embedder.")):
            assert torch.equal(value, before[key]), f"{key} is frozen: averaging must not change it either"
    assert not torch.equal(trained["model.diffusion_model.out.2.weight"], before["model.diffusion_model.out.2.weight"])


def test_adapters_train_average_resume_and_export(folder: Path) -> None:
    content = tree(folder, tuning={"train": "lora", "lora": {"rank": 2, "where": "temporal"}})
    longer = train(folder, content, "lightning.trainer.max_steps=3")
    assert all(".lora_" in key for key in longer), "the export holds adapters and nothing else"
    lora = read_lora(folder / "export.safetensors")
    assert lora.info.base_sha256 == checkpoint_hash(folder / "base.safetensors")
    assert any(up.abs().max() > 0 for _, up in lora.layers.values()), "adapters should have been trained"
    (folder / "run").rename(folder / "uninterrupted")

    train(folder, content, "lightning.trainer.max_steps=2")
    (folder / "base.safetensors").rename(folder / "moved.safetensors")  # all weights come from the checkpoint
    resumed = train(folder, content, "lightning.trainer.max_steps=3", "--auto_resume")
    assert longer.keys() == resumed.keys()
    assert all(torch.equal(longer[key], resumed[key]) for key in longer), "resuming changes no bit, averages included"

    checkpoint, exported = read_lora(newest_checkpoint(folder)), read_lora(folder / "export.safetensors")
    assert all(torch.equal(checkpoint.delta(key), exported.delta(key)) for key in exported.layers)
    state = torch.load(newest_checkpoint(folder), weights_only=True)
    base = load_file(folder / "moved.safetensors")
    held = {key: value for key, value in state["state_dict"].items() if ".lora_" not in key}
    assert held.keys() == base.keys(), "a checkpoint has the released keys, and the adapters' beside them"
    assert all(torch.equal(held[key], base[key]) for key in base), "the base model is as it was, to the bit"
    adapted = next(key for key in state["state_dict"] if ".lora_B." in key)
    averaged, current = state["state_dict"][adapted], state["current_model_state"][adapted]
    assert not torch.equal(averaged, current), "the state dict holds the averages, the current weights lie beside it"


def test_mixed_precision_stays_close(folder: Path) -> None:
    content = tree(folder)
    content["lightning"]["trainer"] |= {"max_steps": 1, "log_every_n_steps": 1}
    content["lightning"]["callbacks"].pop("average")
    losses = {}
    for precision, frozen in ((32, "fp32"), ("bf16-mixed", "fp32"), ("bf16-mixed", "bf16")):
        content["lightning"]["precision"], content["tuning"] = precision, {"frozen_precision": frozen}
        train(folder, content)
        rows = next((folder / "run").rglob("metrics.csv")).read_text().splitlines()
        column = rows[0].split(",").index("train/loss_simple")
        losses[precision, frozen] = float(rows[1].split(",")[column])
        (folder / "run").rename(folder / f"run_{len(losses)}")
    assert list(losses.values()) == pytest.approx([losses[32, "fp32"]] * 3, rel=0.03), f"losses: {losses}"


def test_frozen_halves_train_without_autocast(folder: Path, full: Watched) -> None:
    assert "rounded" not in full.log
    content = tree(folder, tuning={"frozen_precision": "bf16"})
    content["lightning"]["trainer"]["max_steps"] = 1
    trained, log, _ = watch(folder, content)
    assert trained["embedder.model.visual.conv1.weight"].dtype == torch.bfloat16
    told = next(line for line in log.splitlines() if "rounded" in line)
    assert "autoencoder, text encoder, image encoder rounded" in told, told
    assert "--encoders" in told, f"how to get them back is missing: {told}"
    assert trained["model.diffusion_model.out.2.weight"].dtype == torch.float32


def test_random_frozen_parts_are_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = load_file(folder / "base.safetensors")
    save_file({k: v for k, v in base.items() if not k.startswith("embedder.")}, folder / "base.safetensors")
    setup = parse_training_setup(tree(folder))
    model = setup.model.build()
    with caplog.at_level(logging.INFO):
        prepare_weights(model, setup, None, False)
    assert model.base_checkpoint == folder / "base.safetensors"
    assert "the image encoder is not trained" in caplog.text
    assert "the autoencoder is not trained" not in caplog.text
    assert "training full:" in caplog.text
    assert "image encoder: not in the file" in caplog.text


def test_the_learning_rate_is_scaled_as_in_the_original(folder: Path) -> None:
    content = tree(folder, optimizer={})
    content["model"] |= {"base_learning_rate": 3e-3, "scale_lr": False}
    assert not parse_training_setup(content).scale_lr
    content["model"].pop("scale_lr")
    setup = parse_training_setup(content)
    assert setup.scale_lr, "the original scales unless told not to"
    model = setup.model.build()
    scale_learning_rate(model, setup, world_size=4)
    assert model.optimizer_config.learning_rate == pytest.approx(3e-3 * 2 * 4), "rate x clips x devices"
    content["optimizer"] = {"learning_rate": 1e-4}
    assert not parse_training_setup(content).scale_lr, "an explicit rate is what it says"


def test_schedules_end_with_the_training(folder: Path) -> None:
    content = tree(folder, optimizer={"schedule": "cosine", "warmup_steps": 1})
    assert parse_training_setup(content).optimizer.total_steps == 2
    content["lightning"]["trainer"].pop("max_steps")
    with pytest.raises(ConfigError, match=r"optimizer: schedule cosine needs total_steps"):
        parse_training_setup(content)


def test_a_tuning_that_cannot_be_is_refused_before_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = tree(folder, tuning={"train": "lora", "frozen_precision": "fp16"})
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content))
    assert main(["--base", str(config), "--train", "--logdir", str(folder)]) == 2
    assert "needs lightning.precision: 16-mixed" in capsys.readouterr().err


def test_gradients_do_not_live_through_the_next_forward_pass(folder: Path, full: Watched) -> None:
    assert full.gradients == [0, 0], "gradients of the step before should be gone, they would be held for nothing"
    accumulating = tree(folder)
    accumulating["lightning"]["trainer"] |= {"accumulate_grad_batches": 2, "max_steps": 1}
    first, second = watch(folder, accumulating).gradients
    assert first == 0
    assert second > 0, "gradients that accumulate must stay"
