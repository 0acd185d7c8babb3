"""A video made again: the record that a request begins with, whose files are those that come with the request.

Paths in it are those of another machine, or of somebody else: none is opened. Images and videos are sent again, and
what they hold is compared with the record; the model is that of the list with the same content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.content_hash import hash_bytes
from lvdm.documents import parse_json
from lvdm.hosting.library import ListedModel
from lvdm.hosting.replays import SentRecord, read_sent_record
from lvdm.jobs.record_parts import present_keys
from lvdm.request.layers import file_inputs
from lvdm.serving.asking import RECORD, SERVER_FILES, Submission, Upload

WEIGHTS = tuple(name for name in SERVER_FILES if name not in ("checkpoint", "config", "prompts", "replay", "output"))
"""Parameters whose value is a file that no request brings."""


@dataclass(frozen=True)
class Replay:
    """A record, of whose files none was opened, and the name of the one of the list that it was made with, if any."""

    record: SentRecord
    model: str | None

    def listed_model(self) -> str:
        """The name of its model. Raises `ValueError` where the server has it not."""
        if self.model is None:
            raise ValueError(f"{self.record.no_such_model('record')}; give model to use one of these")
        return self.model

    def replaced(self, uploads: Sequence[Upload]) -> set[str]:
        """The parameters whose files are other ones than the record's.

        Raises `ValueError` for files of the record that did not come with the request.
        """
        sent = {(upload.parameter, upload.frame): hash_bytes(upload.content) for upload in uploads}
        there = {upload.parameter for upload in uploads}
        for file in self.record.inputs:
            if file.parameter not in there:
                name = file.parameter if file.frame is None else f"keyframes[{file.frame}]"
                called = "" if file.path is None else f" ({file.path.name})"
                raise ValueError(f"record was made with {name}{called}, which is not read from it; send it, too")
        same = {(file.parameter, file.frame): file.sha256 for file in self.record.inputs}
        other = {parameter for (parameter, frame), sha256 in sent.items() if same.get((parameter, frame)) != sha256}
        return other | {parameter for parameter, frame in same if (parameter, frame) not in sent}

    def changes(self, submission: Submission) -> list[str]:
        """What a request has in the place of the record's model and files, in words."""
        model = [] if submission.model_of_record else [f"model to {submission.model}"]
        names = {parameter for parameter, _, _ in submission.uploads} & {file.parameter for file in self.record.inputs}
        return [*model, *(f"{name} to another" for name in sorted(names))]


def read_replay(content: bytes, folder: Path, home: Path, models: Mapping[str, ListedModel], device: str) -> Replay:
    """Write the record into `folder`, with those files in it that the server has. Raises `ValueError`.

    home: where the folder will be, with the uploads in it
    """
    path = folder / RECORD
    path.write_bytes(content)
    record = read_sent_record(path, "record")
    for name in WEIGHTS:
        if record.values.get(name):
            raise ValueError(f"record names a file of {name}, which no request does; it cannot be made again here")
    model = record.model(models, device)
    path.write_text(json.dumps(_relocated(parse_json(content, "record"), record.mode, home, model)), encoding="utf-8")
    _check_places(read_sent_record(path, "record"), home, model)
    return Replay(record, None if model is None else model.name)


def _relocated(tree: dict[str, Any], mode: str, home: Path, model: ListedModel | None) -> dict[str, Any]:
    """The record with the files of `home` and of the model in the place of its own."""
    found = tree | {"model": present_keys(tree["model"])}
    for name in ("config", "checkpoint"):
        found["model"][name] = str(home / name if model is None else model.values[name])
    if mode == "extend":
        return found | {"source": tree["source"] | {"video": str(home / "video")}}
    given = present_keys(tree["input"])
    given |= {name: str(home / name) for name in file_inputs() if given.get(name) is not None}
    keys = [key | {"image": str(home / f"keyframe_{key['frame']}")} for key in given.get("keyframes", ())]
    return found | {"input": given | {"keyframes": keys}}


def _check_places(record: SentRecord, home: Path, model: ListedModel | None) -> None:
    """Raise `ValueError` if a record still names files other than those of `home` and of the model."""
    listed = () if model is None else model.values.values()
    places = [value for value in record.values.values() if isinstance(value, Path)]
    places += [file.path for file in record.inputs if file.path is not None]
    if any(place not in listed and place.parent != home for place in places):
        raise ValueError("record names files in a way that is not read here; it cannot be made again")
