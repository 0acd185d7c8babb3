"""Models that commands of one test module share: half of what a command on the small model costs is loading it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lvdm.pipeline.loading
import lvdm.pipeline.pipeline
from lvdm.device import Precision
from lvdm.model_files import ModelFiles
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.placement import WeightPlacement


@contextlib.contextmanager
def shared_models() -> Iterator[None]:
    """While it lasts, files are loaded once for each content, precision and device.

    Modules hold weights only, so pipelines may share them. A model that is given a LoRA or hooks is not handed out
    again, and one whose loading said something (a warning that a test may look for) is loaded anew each time.
    """
    held: dict[tuple[Any, ...], torch.nn.Module] = {}
    load, add = lvdm.pipeline.loading.load_model, DynamiCrafterPipeline.load_lora
    place = WeightPlacement.apply

    def load_once(
        files: ModelFiles,
        precision: Precision,
        towers: str | Path | None,
        device: torch.device,
        schedule: Any = "config",
    ) -> Any:
        paths = [files.config, files.checkpoint, *([towers] if towers is not None else [])]
        key = (*map(_state, paths), towers is None, precision, device, schedule)
        if key not in held:
            with _listening() as said:
                model = load(files, precision, towers, device, schedule)
            if said or files.checkpoint.is_dir():
                return model
            held[key] = model
        return held[key]

    def add_to_its_own(pipeline: DynamiCrafterPipeline, path: str | Path, scale: float = 1.0) -> None:
        for key in [key for key, model in held.items() if model is pipeline.runtime.model]:
            del held[key]
        add(pipeline, path, scale)

    def place_in_its_own(placement: WeightPlacement, unet: Any, device: Any, compute: Any) -> None:
        for key in [key for key, model in held.items() if placement.hooked and getattr(model, "unet", None) is unet]:
            del held[key]
        place(placement, unet, device, compute)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightPlacement, "apply", place_in_its_own)
        patch.setattr(lvdm.pipeline.pipeline, "load_model", load_once)
        patch.setattr(DynamiCrafterPipeline, "load_lora", add_to_its_own)
        yield


@pytest.fixture(scope="module", autouse=True)
def models_are_loaded_once() -> Iterator[None]:
    """For the conftest of a folder: what asks for the same files and precision takes the weights that were loaded."""
    with shared_models():
        yield


def _state(path: str | Path) -> tuple[str, int, int, int]:
    """What changes when the file does."""
    found = Path(path).resolve()
    status = found.stat()
    return str(found), status.st_ino, status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _listening() -> Iterator[list[logging.LogRecord]]:
    """What the library warns of meanwhile."""
    said: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = said.append  # type: ignore[method-assign]
    logger = logging.getLogger("lvdm")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
