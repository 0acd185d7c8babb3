"""The models that a request may name, and those that are in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvdm.declaration.parameter import known_name
from lvdm.jobs.model import ChosenModel
from lvdm.media.file_names import check_name
from lvdm.model_card import ModelCard
from lvdm.model_files import EMBEDDED, PRESETS, ModelFiles, card_for, find_model
from lvdm.pipeline import DynamiCrafterPipeline


@dataclass(frozen=True)
class ListedModel:
    """A model by the name that requests give; its files are the server's affair."""

    name: str
    files: ModelFiles
    card: ModelCard

    def values(self) -> dict[str, Any]:
        """The parameters that name it."""
        return {"config": self.files.config, "checkpoint": self.files.checkpoint}


def list_models(entries: Sequence[str]) -> Mapping[str, ListedModel]:
    """The models of NAME=PATH entries, or names of released models; without any, the embedded one.

    PATH is what `find_model` takes. Raises `ValueError` for a name that stands twice and for files that are not there.
    """
    found: dict[str, ListedModel] = {}
    for entry in entries or (EMBEDDED,):
        name, equals, path = entry.partition("=")
        if not equals:
            known_name(name, PRESETS, "model", "--model NAME=PATH: ")
        check_name(name, "the name of a model")
        if name in found:
            raise ValueError(f"--model gives {name} twice; give each model a name of its own")
        files = find_model(Path(path) if equals and path not in PRESETS else path or name)
        found[name] = ListedModel(name, ModelFiles(files.config.resolve(), files.checkpoint.resolve()), card_for(files))
    return MappingProxyType(found)


class Pipelines:
    """The pipelines that were used last, at most `most` of them. For one thread."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._loaded: OrderedDict[str, DynamiCrafterPipeline] = OrderedDict()

    def load(self, model: ChosenModel) -> DynamiCrafterPipeline:
        """The pipeline of `model`: the one that is there, or a new one in the place of the one used longest ago."""
        key = repr((model.files, model.added, model.machine))
        if key not in self._loaded:
            while len(self._loaded) >= self._most:  # before, not after: memory may hold no more than so many
                self._loaded.popitem(last=False)
            self._loaded[key] = model.load()
        self._loaded.move_to_end(key)
        return self._loaded[key]
