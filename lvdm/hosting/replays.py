"""Records that somebody sends: no file that they name is opened, and what is here is found by its content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.declaration.run_parameters import MachineParameters
from lvdm.documents import read_json
from lvdm.hosting.library import ListedModel
from lvdm.jobs.extension_record import read_extension_record
from lvdm.jobs.record import read_record
from lvdm.media.ownership import EXTENSION_FORMAT
from lvdm.request.digest import InputFile
from lvdm.request.layers import file_inputs

MAX_RECORD = 1_000_000
"""Bytes; a record takes a few thousand."""


@dataclass(frozen=True)
class SentRecord:
    """What a record says, of a new video or of an extended one.

    mode    of its video, whose file had the name `video`
    values  parameters by name, settings among them
    index   which video of its seed it was, from 0
    inputs  images and videos; a hash that the record has not is empty
    files   all that it names with a hash
    """

    mode: str
    video: str
    values: Mapping[str, Any]
    index: int
    inputs: tuple[InputFile, ...]
    files: tuple[InputFile, ...]

    @property
    def checkpoint(self) -> str:
        """What the file of its model was called."""
        return Path(self.values["checkpoint"]).name

    def model(self, models: Mapping[str, ListedModel], device: str) -> ListedModel | None:
        """The one of `models` that has the content of the record's; None where none has."""
        hashes = {file.parameter: file.sha256 for file in self.files}
        for model in sorted(models.values(), key=lambda model: model.files.checkpoint.name != self.checkpoint):
            identity = model.choose(MachineParameters(device=device)).identity()
            if (identity.config, identity.checkpoint) == (hashes.get("config"), hashes.get("checkpoint")):
                return model
        return None

    def no_such_model(self, name: str) -> str:
        """Why a record, called `name`, is refused whose model is not listed."""
        return f"{name} was made with another model than those of the list ({self.checkpoint})"


def read_sent_record(path: Path, name: str) -> SentRecord:
    """What the record at `path` says; `name` is what messages call it. Raises `ValueError`, `OSError`."""
    if path.stat().st_size > MAX_RECORD:
        raise ValueError(f"{name} is larger than {MAX_RECORD / 1e6:g} MB, which no record of a video is")
    tree = read_json(path)
    if isinstance(tree, dict) and tree.get("format") == EXTENSION_FORMAT:
        longer = read_extension_record(path)
        source = tuple(file for file in longer.files if file.parameter == "video")
        return SentRecord("extend", longer.video, longer.values.values, 0, source, tuple(longer.files))
    record = read_record(path)
    hashes = {(file.parameter, file.frame): file.sha256 for file in record.files}
    places = {(name, None): record.parameters.get(name) for name in file_inputs()}
    places |= {("keyframes", frame): image for frame, image in record.parameters.get("keyframes", ())}
    inputs = tuple(InputFile(key[0], hashes.get(key, ""), file, key[1]) for key, file in places.items() if file)
    settings = {name: getattr(record.settings, name) for name in record.settings.as_dict()}
    values = settings | dict(record.parameters)
    return SentRecord(record.settings.mode, record.video, values, record.index, inputs, record.files)
