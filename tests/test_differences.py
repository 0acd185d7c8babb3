"""Differences from the original that no other test shows; docs/differences.md names these tests."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from small_model import SIDE, picture, write_small_model
from torch import Tensor
from typer.testing import CliRunner

import lvdm.jobs.images
from lvdm.cli.app import app
from lvdm.diffusion.samplers.ddim import DDIMStep, ddim_steps
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.jobs.run import make_videos
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.runtime import Runtime


def test_step_coefficients_are_numbers_on_the_cpu() -> None:
    """No step waits for the GPU to hand over a value of the schedule."""
    schedule = NoiseSchedule.from_config(ScheduleConfig())
    steps = ddim_steps(schedule, make_timesteps("uniform", 4), 1.0, False, torch.float32)
    values = [value for step in steps for value in vars(step).values()]
    assert len(values) == 4 * len(DDIMStep.__dataclass_fields__)
    assert all(type(value) is float for value in values), f"not plain numbers: {values}"


def test_one_path_builds_the_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line and Python show the same picture to the image encoder and the autoencoder, at the same steps."""
    folder = write_small_model(tmp_path / "small")
    picture(40, 90).save(tmp_path / "wide.png")
    seen: dict[str, list[Any]] = {}
    conditions, sample = Runtime.conditions, Runtime.sample

    def watch(self: Runtime, requests: Any, settings: Any, pictures: dict[int, Tensor], *rest: Any) -> Any:
        found = conditions(self, requests, settings, pictures, *rest)
        seen[name] = [pictures[0], found[0].text, found[0].image, found[0].concat, settings]
        return found

    def watch_towers(self: Runtime, requests: Any, settings: Any, *rest: Any, **more: Any) -> Any:
        steps: list[int] = []
        result = sample(self, requests, settings, rest[0], lambda i, t, x_t, x_0: steps.append(t), *rest[2:], **more)
        seen[name].append(steps)
        return result

    monkeypatch.setattr(Runtime, "conditions", watch)
    monkeypatch.setattr(Runtime, "sample", watch_towers)
    name = "command line"
    arguments = [
        "animate",
        str(tmp_path / "wide.png"),
        "-p",
        "a red ball",
        "--checkpoint",
        str(folder),
        "--width",
        "128",
    ]
    result = CliRunner().invoke(app, [*arguments, "--seed", "3", "-o", str(tmp_path / "a.gif"), "--dtype", "fp32"])
    assert result.exit_code == 0, result.output
    name = "python"
    pipe = DynamiCrafterPipeline.from_pretrained(folder, dtype="fp32")
    looked_at: list[Tensor] = []
    embed_image = pipe.runtime.model.embed_image
    monkeypatch.setattr(
        pipe.runtime.model, "embed_image", lambda image: (looked_at.append(image), embed_image(image))[1]
    )
    pipe(tmp_path / "wide.png", "a red ball", width=128, seed=3)
    for mine, other in zip(seen["python"], seen["command line"], strict=True):
        assert torch.equal(mine, other) if isinstance(mine, Tensor) else mine == other, f"{mine} is not {other}"
    assert torch.equal(looked_at[0].cpu(), seen["python"][0]), "image encoder and autoencoder see other crops"
    assert seen["python"][-1] == make_timesteps("uniform_trailing", 2).tolist(), "steps follow the width of the latents"


def test_images_are_loaded_one_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a list, only the images of the batch at work are held; they are looked at before, and read again."""
    folder = write_small_model(tmp_path / "small")
    for i in range(3):
        picture(seed=i).save(tmp_path / f"{i}.png")
    lines = [f'{{"image": "{i}.png", "prompt": "left"}}' for i in range(3)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    loaded: list[weakref.ref[Any]] = []
    counts: list[int] = []
    load_image, generate = lvdm.jobs.images.load_image, DynamiCrafterPipeline.generate

    def load(path: Path) -> Any:
        image = load_image(path)
        loaded.append(weakref.ref(image))
        return image

    def count(self: DynamiCrafterPipeline, *args: Any, **more: Any) -> Any:
        gc.collect()
        counts.append(sum(image() is not None for image in loaded))
        return generate(self, *args, **more)

    monkeypatch.setattr(lvdm.jobs.images, "load_image", load)
    monkeypatch.setattr(lvdm.jobs.images, "MAX_PIXELS", SIDE * SIDE)
    monkeypatch.setattr(DynamiCrafterPipeline, "generate", count)
    given = {"checkpoint": folder, "output": tmp_path / "made", "dtype": "fp32", "format": "gif"}
    make_videos("animate", prompts=tmp_path / "list.jsonl", **given)
    assert len(counts) == 3
    assert max(counts) <= 2, f"images held when each video starts: {counts}"  # the one before may still be referenced


def test_the_conditioning_latent_is_a_sample(tmp_path: Path) -> None:
    """The image's latent is drawn from the posterior, from the seed, as in the original; the mode is at hand."""
    pipe = DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path / "small"), device="cpu", dtype="fp32")
    concat = [_concat(pipe, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(concat[0], concat[1]), "the same seed drew another latent"
    assert not torch.equal(concat[0], concat[2]), "the latent does not depend on the seed: it is the mode"
    video = torch.zeros(1, 3, 1, 32, 32)
    model = pipe.runtime.model
    with torch.no_grad():
        mode = model.encode_first_stage(video)
        zero_noise = model.encode_first_stage(video, torch.zeros_like(mode))
    assert torch.equal(mode, zero_noise), "without noise the latent should be the mode"


def _concat(pipe: DynamiCrafterPipeline, **settings: Any) -> Tensor:
    """The latents that a generation concatenates to the noise."""
    seen: list[Tensor] = []
    branches = pipe.runtime.model.branches

    def watch(conditions: Any, batched: bool) -> Any:
        seen.append(conditions[0].concat)
        return branches(conditions, batched=batched)

    pipe.runtime.model.branches = watch
    try:
        pipe(picture(), "a red ball", num_inference_steps=1, **settings)
    finally:
        del pipe.runtime.model.branches
    return seen[0]
