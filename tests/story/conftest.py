"""Where stories are tested: a folder of images and a script, and the small model as the embedded one."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared_models import models_are_loaded_once as models_are_loaded_once
from small_model import write_small_model
from story_scripts import lay_out_images

from lvdm.model_files import CHECKPOINTS_VARIABLE


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_small_model(folder / "tiny")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Path) -> Path:
    """A working folder with a background, a character on a transparent layer and an image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(checkpoints))
    lay_out_images(tmp_path)
    return tmp_path
