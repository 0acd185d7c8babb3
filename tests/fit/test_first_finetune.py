"""The first fine-tune of docs/finetuning.md: its clips hop, its files train, and the model takes what they write."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lvdm.fit.trainer import main
from lvdm.fit.training_setup import load_training_setup
from lvdm.media.video_reader import VideoReader
from lvdm.pipeline import DynamiCrafterPipeline

ROOT = Path(__file__).parents[2]
FILES = ("checkpoints/tiny/small.yaml", "examples/finetune/lora.yaml")


@pytest.fixture(scope="module")
def make_clips() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_clips", ROOT / "examples/finetune/make_clips.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_clip_that_hops_goes_up_and_comes_back(make_clips: ModuleType) -> None:
    video, caption = make_clips.clip(0)
    assert caption.endswith(" hops")
    torch.testing.assert_close(video[:, -1], video[:, 0], atol=0.02, rtol=0)
    away = (video - video[:, :1]).abs().mean((0, 2, 3))
    middle = make_clips.FRAMES // 2
    assert away[middle] > 2 * away[1]
    torch.testing.assert_close(away, away.flip(0), atol=1e-3, rtol=0)
    _, other = make_clips.clip(2)
    assert "hops" not in other


def test_the_page_trains_with_the_files_of_the_example() -> None:
    text = (ROOT / "docs/finetuning.md").read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if line.startswith("dynamicrafter train"))
    assert shlex.split(command)[3:5] == list(FILES)
    setup = load_training_setup([ROOT / name for name in FILES])
    assert (setup.tuning.train, setup.tuning.lora.where) == ("lora", "carrier")


def test_it_trains_on_a_plain_folder_and_the_model_takes_the_lora(
    make_clips: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, lora = tmp_path / "hops", tmp_path / "hops.safetensors"
    monkeypatch.setattr(sys, "argv", ["make_clips.py", str(clips), "--count", "2"])
    make_clips.main()
    with VideoReader(clips / "0000.mp4") as reader:
        assert (reader.num_frames, reader.fps) == (make_clips.FRAMES, make_clips.FPS)
    monkeypatch.chdir(ROOT)  # as the page has it
    options = ["lightning.trainer.max_steps=2", "optimizer.warmup_steps=0", "data.params.batch_size=1"]
    options += [f"data.params.train.params.data_dir={clips}", f"lightning.callbacks.export.params.path={lora}"]
    arguments = ["--base", *FILES, "--train", "--name", "run", "--logdir", str(tmp_path / "logs")]
    assert not main([*arguments, *options])
    pipe = DynamiCrafterPipeline.from_pretrained("small")
    carrier = pipe.runtime.model.frame_carrier
    assert carrier is not None
    before = carrier.motion.layers[4].weight.detach().clone()
    pipe.load_lora(lora)
    assert not torch.equal(carrier.motion.layers[4].weight, before), "two steps should have moved the last layer"
    pipe.unload_loras()
    assert torch.equal(carrier.motion.layers[4].weight, before)
