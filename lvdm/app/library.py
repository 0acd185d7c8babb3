"""What a visitor may name: models, and weight files of the server. By these names, never by a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvdm.declaration.parameter import known_name
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.media.file_names import check_name
from lvdm.model_card import Capability, ModelCard
from lvdm.model_files import EMBEDDED, PRESETS, WEIGHT_SUFFIXES, card_for, checkpoint_folders, find_model, find_preset
from lvdm.request.settings import check_capability

MAX_FILES = 500


ABLE: Mapping[Capability, str] = MappingProxyType(
    {
        "i2v": "animates an image",
        "interpolation": "joins images",
        "t2v": "needs no image",
        "structure": "follows depth",
    }
)
"""What a model does, as its label says it."""


@dataclass(frozen=True)
class PageModel:
    """A model by its name on the page, the parameters that name it, and its card."""

    name: str
    values: Mapping[str, Any]
    card: ModelCard

    def cannot(self, mode: str) -> str:
        """Why it cannot do `mode`; empty where it can."""
        if mode == "extend":
            return "" if self.card.can("i2v") else f"checkpoint {self.card.name} does not go on from an image"
        try:
            ring = mode == "loop" and self.card.can("i2v")
            check_capability(self.card, "animate" if ring else mode)
        except ValueError as error:
            return str(error)
        return ""

    @property
    def label(self) -> str:
        """Its name, with its size and what it does."""
        able = ", ".join(ABLE[capability] for capability in self.card.capabilities)
        return f"{self.name}: {self.card.width} x {self.card.height}, {able}"

    def choose(self, machine: MachineParameters) -> ChosenModel:
        """The model with nothing added to it. Raises `ValueError`."""
        return choose_model(ModelParameters(**self.values), machine)


@dataclass(frozen=True)
class Library:
    """models: by name. files: weight files by name, for LoRAs and what else is a file of the server."""

    models: Mapping[str, PageModel]
    files: Mapping[str, Path]

    def file(self, name: str, parameter: str) -> Path:
        """The file of this name. Raises `ValueError`."""
        return self.files[known_name(name, self.files, parameter)]

    def lora(self, text: str) -> tuple[Path, float] | str:
        """NAME or NAME:SCALE with the file of that name. Raises `ValueError`."""
        name, colon, scale = text.rpartition(":")
        if not colon or text in self.files:
            return self.file(text, "loras"), 1.0
        try:
            return self.file(name, "loras"), float(scale)
        except ValueError as error:
            raise ValueError(f"loras {text!r}: give a name, or NAME:SCALE such as style:0.8 ({error})") from None


def read_library(entries: Sequence[str] = (), folder: Path | None = None) -> Library:
    """The models of NAME=PATH entries beside the released ones that are here, and the weight files in `folder`.

    PATH is what `find_model` takes. Raises `ValueError` for what is not there.
    """
    found: dict[str, PageModel] = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not equals:
            raise ValueError(f"--model {entry!r} should be NAME=PATH, such as mine=checkpoints/mine")
        check_name(name, "the name of a model")
        files = find_model(Path(path))
        found[name] = PageModel(name, {"config": files.config, "checkpoint": files.checkpoint}, card_for(files))
    for name in PRESETS:
        if name not in found and _is_here(name):
            found[name] = PageModel(name, {"preset": name}, card_for(find_preset(name)))
    if not found:
        find_preset(EMBEDDED)  # says where it should be
    return Library(MappingProxyType(found), MappingProxyType(_weight_files(folder)))


def _is_here(preset: str) -> bool:
    """Whether its files are; `loop` is the model of `interp` by another name."""
    folders = [folder / PRESETS[preset].folder for folder in checkpoint_folders()]
    if preset == "loop" or not any(folder.is_dir() for folder in folders):
        return False
    try:
        find_preset(preset)
    except ValueError:
        return False
    return True


def _weight_files(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ValueError(f"--files {folder} is no folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix in WEIGHT_SUFFIXES and path.is_file())
    if len(paths) > MAX_FILES:
        raise ValueError(f"--files {folder} holds more than {MAX_FILES} weight files; name a smaller folder")
    return {path.relative_to(folder).as_posix(): path.resolve() for path in paths}
