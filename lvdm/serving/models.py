"""The models that a request may name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvdm.declaration.parameter import known_name
from lvdm.media.file_names import check_name
from lvdm.model_card import ModelCard
from lvdm.model_files import EMBEDDED, PRESETS, ModelFiles, card_for, find_model


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
