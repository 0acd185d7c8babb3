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
from lvdm.hosting.replays import check_record_size, model_of_record, no_such_model
from lvdm.jobs.extend import read_extension_record
from lvdm.jobs.record import Record, read_record
from lvdm.jobs.record_parts import present_keys
from lvdm.media.ownership import EXTENSION_FORMAT
from lvdm.request.digest import InputFile
from lvdm.request.layers import file_inputs
from lvdm.serving.asking import RECORD, SERVER_FILES, Submission, Upload

WEIGHTS = tuple(name for name in SERVER_FILES if name not in ("checkpoint", "config", "prompts", "replay", "output"))
"""Parameters whose value is a file that no request brings."""


@dataclass(frozen=True)
class Replay:
    """What a record says, of which nothing was opened.

    mode        of its video
    model       the name of the one of the list that it was made with; None: it is not there
    checkpoint  the name of its file, for messages
    fps         frames each second of its file
    files       its images and videos, with their hashes, and how they are called there
    """

    mode: str
    model: str | None
    checkpoint: Path
    fps: float
    files: tuple[InputFile, ...]

    def listed_model(self) -> str:
        """The name of its model. Raises `ValueError` where the server has it not."""
        if self.model is None:
            raise ValueError(f"{no_such_model('record', self.checkpoint)}; give model to use one of these")
        return self.model

    def replaced(self, uploads: Sequence[Upload]) -> set[str]:
        """The parameters whose files are other ones than the record's.

        Raises `ValueError` for files of the record that did not come with the request.
        """
        sent = {(upload.parameter, upload.frame): hash_bytes(upload.content) for upload in uploads}
        there = {upload.parameter for upload in uploads}
        for file in self.files:
            if file.parameter not in there:
                name = file.parameter if file.frame is None else f"keyframes[{file.frame}]"
                called = "" if file.path is None else f" ({file.path.name})"
                raise ValueError(f"record was made with {name}{called}, which is not read from it; send it, too")
        same = {(file.parameter, file.frame): file.sha256 for file in self.files}
        other = {parameter for (parameter, frame), sha256 in sent.items() if same.get((parameter, frame)) != sha256}
        return other | {parameter for parameter, frame in same if (parameter, frame) not in sent}

    def changes(self, submission: Submission) -> list[str]:
        """What a request has in the place of the record's model and files, in words."""
        model = [] if submission.model_of_record else [f"model to {submission.model}"]
        names = {parameter for parameter, _, _ in submission.uploads} & {file.parameter for file in self.files}
        return [*model, *(f"{name} to another" for name in sorted(names))]


def read_replay(content: bytes, folder: Path, home: Path, models: Mapping[str, ListedModel], device: str) -> Replay:
    """Write the record into `folder`, with those files in it that the server has. Raises `ValueError`.

    home: where the folder will be, with the uploads in it
    """
    check_record_size(len(content), "record")
    tree, path = parse_json(content, "record"), folder / RECORD
    path.write_bytes(content)
    if isinstance(tree, dict) and tree.get("format") == EXTENSION_FORMAT:
        extension = read_extension_record(path)
        mode, values = "extend", dict(extension.values.values)
        files: tuple[InputFile, ...] = (InputFile("video", extension.source_hash, extension.source),)
        of_model: Sequence[InputFile] = extension.files
    else:
        record = read_record(path)
        mode, values = record.settings.mode, record.settings.as_dict() | dict(record.parameters)
        files = _inputs(record)
        of_model = record.files
    for name in WEIGHTS:
        if values.get(name):
            raise ValueError(f"record names a file of {name}, which no request does; it cannot be made again here")
    checkpoint = Path(values["checkpoint"])
    model = model_of_record(of_model, checkpoint, models, device)
    path.write_text(json.dumps(_relocated(tree, home, model)), encoding="utf-8")
    _check_places(path, mode, home, model)
    listed = None if model is None else model.name
    return Replay(mode, listed, checkpoint, float(values["playback_fps"]), files)


def _inputs(record: Record) -> tuple[InputFile, ...]:
    """The images and videos of a record; a hash that it has not is empty."""
    hashes = {(file.parameter, file.frame): file.sha256 for file in record.files}
    found = {(name, None): record.parameters.get(name) for name in file_inputs()}
    places = found | {("keyframes", frame): path for frame, path in record.parameters.get("keyframes", ())}
    return tuple(
        InputFile(key[0], hashes.get(key, ""), path, key[1]) for key, path in places.items() if path is not None
    )


def _relocated(tree: dict[str, Any], home: Path, model: ListedModel | None) -> dict[str, Any]:
    """The record with the files of `home` and of the model in the place of its own."""
    found = tree | {"model": present_keys(tree["model"])}
    for name in ("config", "checkpoint"):
        found["model"][name] = str(home / name if model is None else model.values[name])
    if "source" in tree:
        return found | {"source": tree["source"] | {"video": str(home / "video")}}
    given = present_keys(tree["input"])
    given |= {name: str(home / name) for name in file_inputs() if given.get(name) is not None}
    keys = [key | {"image": str(home / f"keyframe_{key['frame']}")} for key in given.get("keyframes", ())]
    return found | {"input": given | {"keyframes": keys}}


def _check_places(path: Path, mode: str, home: Path, model: ListedModel | None) -> None:
    """Raise `ValueError` if a record still names files other than those of `home` and of the model."""
    values = read_extension_record(path).values.values if mode == "extend" else read_record(path).parameters
    listed = () if model is None else model.values.values()
    places = [value for value in values.values() if isinstance(value, Path)]
    places += [place for _, place in values.get("keyframes", ())]
    if any(place not in listed and place.parent != home for place in places):
        raise ValueError("record names files in a way that is not read here; it cannot be made again")
