"""LoRAs in the pipeline and on the command line: added, recorded, replayed, taken out, refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from golden_vectors import fill_value
from small_model import picture, write_small_model
from typer.testing import CliRunner

from lvdm.checkpoint import CheckpointError, checkpoint_hash, read_checkpoint
from lvdm.checkpoint.lora import LoraInfo, read_lora, write_lora
from lvdm.cli.app import app
from lvdm.model_files import CHECKPOINTS_VARIABLE
from lvdm.models.sharing import WeightsInUseError
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.runtime import Runtime

PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("checkpoints") / "tiny")


def make_lora(path: Path, checkpoint: Path, name: str = "attn", wider: int = 0, base: str | None = None) -> Path:
    """A LoRA of rank 1 on the linear layers of the checkpoint whose names hold `name`."""
    weights = read_checkpoint(checkpoint)
    layers = {
        key: (
            fill_value(key + "A", (1, weights.shape(key)[1] + wider)),
            fill_value(key + "B", (weights.shape(key)[0], 1)),
        )
        for key in weights
        if key.startswith("model.") and f".{name}" in key and key.endswith(".weight") and len(weights.shape(key)) == 2
    }
    assert layers
    sha256 = checkpoint_hash(checkpoint) if base is None else base
    return write_lora(path, layers, LoraInfo(1, 0.5, name, checkpoint.name, sha256))


@pytest.fixture(scope="module")
def lora(folder: Path) -> Path:
    return make_lora(folder / "lora.safetensors", folder / "model.safetensors")


def test_loras_change_the_video_by_their_scale_and_leave_no_trace(folder: Path, lora: Path) -> None:
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")
    plain = pipe(picture(), PROMPT).latents
    pipe.load_lora(lora, 0.0)
    assert torch.equal(pipe(picture(), PROMPT).latents, plain), "scale 0 is the base model, to the bit"
    pipe.load_lora(lora)
    strong = pipe(picture(), PROMPT).latents
    assert (strong - plain).abs().max() > 1e-3
    assert pipe.loras == ((lora, 0.0), (lora, 1.0))
    pipe.unload_loras()
    assert pipe.loras == ()
    assert torch.equal(pipe(picture(), PROMPT).latents, plain), "unloading restores every bit"
    pipe.load_lora(lora, 0.5)
    pipe.load_lora(lora, 0.5)
    torch.testing.assert_close(pipe(picture(), PROMPT).latents, strong, rtol=0, atol=1e-4)


def test_loras_wait_for_no_generation_and_belong_to_the_weights(folder: Path, lora: Path) -> None:
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")
    runtime = Runtime(pipe.runtime.model, pipe.runtime.device, pipe.runtime.precision)
    neighbour = DynamiCrafterPipeline(runtime, pipe.card, pipe.files)
    plain, refused = pipe(picture(), PROMPT).latents, []

    def after_step(step: int, t: int, x_t: torch.Tensor, pred_x0: torch.Tensor) -> None:
        for change in (lambda: pipe.load_lora(lora), pipe.unload_loras, neighbour.unload_loras):
            with pytest.raises(WeightsInUseError, match="a generation is at work"):
                change()
            refused.append(step)

    during = pipe(picture(), PROMPT, callback_on_step_end=after_step)
    assert refused == [0, 0, 0, 1, 1, 1]
    assert torch.equal(during.latents, plain), "a LoRA that was refused is in the weights"
    assert pipe.loras == ()
    pipe.load_lora(lora, 0.5)
    neighbour.load_lora(lora, 0.5)
    assert pipe.loras == neighbour.loras == ((lora, 0.5), (lora, 0.5))
    pipe.unload_loras()
    assert torch.equal(neighbour(picture(), PROMPT).latents, plain), "the other pipeline restored a LoRA"
    assert neighbour.loras == ()


def test_half_precision_weights_take_loras_too(folder: Path, lora: Path) -> None:
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="bf16")
    key = next(iter(read_lora(lora).layers))
    before = pipe.runtime.model.get_parameter(key).clone()
    pipe.load_lora(lora)
    expected = (before.float() + read_lora(lora).delta(key)).bfloat16()
    assert torch.equal(pipe.runtime.model.get_parameter(key), expected), "summed in float32, rounded once"


def test_another_model_is_refused_another_checkpoint_warned_of(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")
    wide = make_lora(tmp_path / "wide.safetensors", folder / "model.safetensors", wider=3)
    with pytest.raises(CheckpointError, match=r"does not fit small .*in the LoRA and .* in the model"):
        pipe.load_lora(wide)
    with pytest.raises(ValueError, match="scale"):
        pipe.load_lora(wide, float("nan"))
    other = make_lora(tmp_path / "other.safetensors", folder / "model.safetensors", base="1" * 64)
    with caplog.at_level(logging.WARNING):
        pipe.load_lora(other)
    assert "trained on another checkpoint" in caplog.text


def test_animate_records_loras_and_replays_them(
    folder: Path, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(folder.parent))
    picture().save("cat.png")

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return result.stderr if result.exit_code else "made"

    command = ("animate", "cat.png", "-p", PROMPT)
    assert run(*command, "-o", "plain_%02d.png") == "made"
    assert run(*command, "-o", "moved_%02d.png", "--lora", f"{lora}:0.5", "--lora", lora) == "made"
    recorded = json.loads(Path("moved.json").read_text())["model"]["loras"]
    assert recorded == [{"file": str(lora), "scale": scale, "sha256": checkpoint_hash(lora)} for scale in (0.5, 1.0)]
    assert json.loads(Path("plain.json").read_text())["model"]["loras"] == []
    assert run("animate", "--replay", "moved.json") == "made"
    frames = {name: Path(f"{name}_03.png").read_bytes() for name in ("plain", "moved", "moved_replay")}
    assert frames["moved"] != frames["plain"]
    assert frames["moved_replay"] == frames["moved"]

    merged = tmp_path / "merged" / "model.safetensors"
    merged.parent.mkdir()
    (merged.parent / "config.yaml").write_text((folder / "config.yaml").read_text())
    assert run("convert", folder / "model.safetensors", merged, "--lora", f"{lora}:0.5", "--lora", lora) == "made"
    assert run(*command, "-o", "merged_%02d.png", "--checkpoint", merged.parent) == "made"
    assert Path("merged_03.png").read_bytes() == frames["moved"], "a merged file makes the same video"

    assert "gone.safetensors does not exist" in run(*command, "--lora", "gone.safetensors:0.5")
    wide = make_lora(tmp_path / "wide.safetensors", folder / "model.safetensors", wider=3)
    assert "does not fit small" in run(*command, "--lora", wide)
