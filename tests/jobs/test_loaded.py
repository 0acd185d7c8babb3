"""A model that was used stays loaded until its files or its settings are others."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_model import picture, write_small_model

from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.model import choose_model
from lvdm.jobs.plan import plan_videos
from lvdm.jobs.run import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("small"))


def test_the_same_model_is_loaded_once(folder: Path) -> None:
    model = choose_model(ModelParameters(checkpoint=folder), MachineParameters(device="cpu"))
    loaded = LoadedModel()
    first = loaded.load(model)
    assert loaded.load(replace(model)) is first
    assert loaded.load(replace(model, machine=MachineParameters(device="cpu", low_memory=True))) is not first
    again = loaded.load(model)
    os.utime(model.files.checkpoint, (1, 1))
    assert loaded.load(model) is not again, "the file has changed"


def test_a_run_takes_it_and_shows_the_latents_of_each_step(folder: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "cat.png")
    loaded, seen = LoadedModel(), list[tuple[int, tuple[int, ...]]]()

    def make(name: str, **more: object) -> bytes:
        given = {"image": tmp_path / "cat.png", "prompt": "a cat", "checkpoint": folder, "device": "cpu"}
        plan = plan_videos("animate", **given, output=tmp_path / name, **more)  # type: ignore[arg-type]
        list(run(plan, load=loaded.load, on_step=lambda i, t, x, x_0: seen.append((i, tuple(x_0.shape)))))
        return (tmp_path / name).read_bytes()

    first = make("a.mp4")
    assert seen == [(0, (1, 4, 4, 8, 8)), (1, (1, 4, 4, 8, 8))]
    assert make("b.mp4") == first, "a model that was used gives other numbers"
    seen.clear()
    make("c.mp4", num_frames=6, long_video="fifo")
    assert seen == [], "its frames are at different steps"


def test_a_mode_that_there_is_not_is_named() -> None:
    """It was said that it does not read the image."""
    with pytest.raises(ValueError, match="mode 'anmate' is not known; did you mean 'animate'"):
        plan_videos("anmate", image="cat.png", prompt="a")
