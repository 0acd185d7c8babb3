"""Where the commands are tested: a folder of small checkpoints, and a working folder with an image in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared_models import models_are_loaded_once as models_are_loaded_once
from small_model import picture, write_small_model

import lvdm.pipeline.pipeline
from lvdm.model_files import CHECKPOINTS_VARIABLE


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as the embedded one. A module that needs other models has a fixture of this name."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_small_model(folder / "tiny")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Path) -> Path:
    """An empty working folder with cat.png in it; models lie in `checkpoints`, where the presets look for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(checkpoints))
    picture().save("cat.png")
    return tmp_path


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if weights are loaded: what can be refused earlier must be."""

    def load(*args: object) -> None:
        raise AssertionError("weights were loaded before the input was checked")

    monkeypatch.setattr(lvdm.pipeline.pipeline, "load_model", load)
