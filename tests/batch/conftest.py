"""A folder with small models and images in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared_models import models_are_loaded_once as models_are_loaded_once
from small_model import picture, small_videocrafter_yaml, write_model, write_small_model

from lvdm.model_files import CHECKPOINTS_VARIABLE


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_small_model(folder / "tiny")
    write_model(folder / "t2v", small_videocrafter_yaml())
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Path:
    """The working folder, with a.png, b.png and c.png."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(models))
    for seed, name in enumerate("abc"):
        picture(seed=seed).save(f"{name}.png")
    return tmp_path
