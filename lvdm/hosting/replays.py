"""Records that somebody sends: no file that they name is opened, and what is here is found by its content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lvdm.declaration.run_parameters import MachineParameters
from lvdm.hosting.library import ListedModel
from lvdm.request.digest import InputFile

MAX_RECORD = 1_000_000
"""Bytes; a record takes a few thousand."""


def check_record_size(size: int, name: str) -> None:
    """Raise `ValueError` for a record of more bytes than any has."""
    if size > MAX_RECORD:
        raise ValueError(f"{name} is larger than {MAX_RECORD / 1e6:g} MB, which no record of a video is")


def model_of_record(
    files: Iterable[InputFile], checkpoint: Path, models: Mapping[str, ListedModel], device: str
) -> ListedModel | None:
    """The one of `models` that has the content of the record's; None where none has.

    files: those of the record, with their hashes; checkpoint: as it is called there, for the order of looking
    """
    hashes = {file.parameter: file.sha256 for file in files}
    for model in sorted(models.values(), key=lambda model: model.files.checkpoint.name != checkpoint.name):
        identity = model.choose(MachineParameters(device=device)).identity()
        if (identity.config, identity.checkpoint) == (hashes.get("config"), hashes.get("checkpoint")):
            return model
    return None


def no_such_model(record: str, checkpoint: Path) -> str:
    """Why a record whose model is not listed is refused."""
    return f"{record} was made with another model than those of the list ({checkpoint.name})"
