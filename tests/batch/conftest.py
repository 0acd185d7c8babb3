"""A folder with small models and images in it, and what a batch says instead of printing it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from small_model import picture, small_videocrafter_yaml, write_model, write_small_model

from lvdm.model_files import CHECKPOINTS_VARIABLE


class Silent:
    """A reporter that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self) -> None:
        """Nothing to begin."""

    def progress(self, title: str) -> AbstractContextManager[None]:
        return nullcontext()

    def show(self, lines: Iterable[str]) -> None:
        self.lines += lines


LIST = "image,prompt,seed,mode\n" + "".join(
    f"{image}.png,x,{seed},{mode}\n" for seed, image in enumerate("abc") for mode in ("animate", "loop")
)
"""Six videos."""


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
