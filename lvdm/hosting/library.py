"""What others may name: models, and weight files of this machine. By these names, never by a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from lvdm.declaration.parameter import known_name
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.media.file_names import check_name
from lvdm.model_card import Capability, ModelCard
from lvdm.model_files import PRESETS, USUAL, WEIGHT_SUFFIXES, ModelFiles, card_for, checkpoint_folders, find_model
from lvdm.request.layers import all_parameters
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
class ListedModel:
    """A model by the name that requests give; its files are the affair of this machine."""

    name: str
    files: ModelFiles
    card: ModelCard

    @property
    def values(self) -> dict[str, Path]:
        """The parameters that name it."""
        return {"config": self.files.config, "checkpoint": self.files.checkpoint}

    @property
    def label(self) -> str:
        """Its name, with its size and what it does."""
        able = ", ".join(ABLE[capability] for capability in self.card.capabilities)
        return f"{self.name}: {self.card.width} x {self.card.height}, {able}"

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

    def able(self, mode: str) -> bool:
        """Whether it can do `mode`, by itself or with the setting `between`."""
        if not self.cannot(mode):
            return True
        try:
            check_capability(self.card, mode, between=True)
        except (ValueError, KeyError):  # a mode that no network is trained for
            return False
        return mode in all_parameters()["between"].parameter.modes

    def choose(self, machine: MachineParameters) -> ChosenModel:
        """The model with nothing added to it. Raises `ValueError`."""
        return choose_model(ModelParameters(config=self.files.config, checkpoint=self.files.checkpoint), machine)


@dataclass(frozen=True)
class Library:
    """models: by name, the usual one first. files: weight files by name, for LoRAs and what else is a file."""

    models: Mapping[str, ListedModel]
    files: Mapping[str, Path] = field(default_factory=dict)

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
    """The models of `entries`, and the weight files in `folder`.

    An entry is NAME=PATH, where PATH is what `find_model` takes, or the name of a released model. Without any, all
    released ones whose files are here are listed, the embedded one first. Raises `ValueError` for a name that stands
    twice, and for what is not here.
    """
    found: dict[str, ListedModel] = {}
    for entry in entries or _released() or (USUAL,):
        name, equals, path = entry.partition("=")
        if not equals:
            known_name(name, PRESETS, "model", "--model NAME=PATH: ")
        check_name(name, "the name of a model")
        if name in found:
            raise ValueError(f"--model gives {name} twice; give each model a name of its own")
        files = find_model(Path(path) if equals and path not in PRESETS else path or name)
        found[name] = ListedModel(name, ModelFiles(files.config.resolve(), files.checkpoint.resolve()), card_for(files))
    return Library(MappingProxyType(found), MappingProxyType(_weight_files(folder)))


def _released() -> list[str]:
    """The models whose files are here, that of `USUAL` first; `loop` is the model of `interp` by another name."""
    here = [name for name in PRESETS if name != "loop" and _is_here(name)]
    return sorted(here, key=lambda name: name != USUAL)


def _is_here(preset: str) -> bool:
    if not any((folder / PRESETS[preset].folder).is_dir() for folder in checkpoint_folders()):
        return False
    try:
        find_model(preset)
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
