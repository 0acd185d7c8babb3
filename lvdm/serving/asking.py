"""What a request asks for, from JSON or a form, before anything of it is believed: parameters and images.

Names are those of `lvdm.request`, and the few that video APIs share: `model`, `input_reference`, `seconds`, `size`.
Images and videos come with the request. Text that names a file or an address is refused and never looked up, and
what a client calls its file is not read.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import ALL_MODES, IMAGELESS, known_name, present_names
from lvdm.declaration.run_parameters import OutputParameters
from lvdm.documents import DocumentError, parse_json, short_text
from lvdm.hosting.checks import IMAGES, VIDEOS, UploadIntake
from lvdm.hosting.data_urls import decoded_file
from lvdm.hosting.library import ListedModel
from lvdm.hosting.limits import Limits
from lvdm.jobs.outputs import suffix_of
from lvdm.model_card import MODES
from lvdm.plugins.registry import method_files
from lvdm.request.layers import all_parameters, check_mode, checked

if TYPE_CHECKING:
    from lvdm.serving.replaying import Replay

UPLOADS = (*IMAGES, "keyframes", *VIDEOS)
"""Parameters whose value is a file, which comes with the request."""
SERVER_FILES = (
    *("checkpoint", "config", "encoders", "loras", *method_files(), "depth_model"),
    *("prompts", "replay", "output"),
)
"""Parameters that name a file where the videos are made."""
SERVER_CHOICES = {"device": "", "overwrite": "", "preset": "; give model, the name of one of its models"}
"""Parameters that are for whoever runs the server, and what to do instead."""
SHARED = ("mode", "model", "record", "input_reference", "seconds", "size")
"""Fields that are no parameters: those that choose, and those of other video APIs."""

OUTPUT_FOLDER, RECORD = "out", "record.json"
"""The folder, in that of a job, of what is made, and the record that it begins with."""
_KEYFRAME = re.compile(r"keyframes\[(\d{1,7})\]")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True)
class Upload:
    """A file that came with a request: the parameter whose value it is, and of a key frame its number."""

    parameter: str
    content: bytes
    frame: int | None = None

    @property
    def name(self) -> str:
        """What it is called here, whatever the client calls it."""
        return self.parameter if self.frame is None else f"keyframe_{self.frame}"


@dataclass(frozen=True)
class Fields:
    """The fields of a request by name: values as they came, files, and the record of an earlier video.

    Nothing is checked.
    """

    values: Mapping[str, Any]
    uploads: tuple[Upload, ...]
    record: bytes | None = None


@dataclass(frozen=True)
class Submission:
    """A request in the words of `lvdm.request`.

    values   parameters by name, as JSON can hold them; without files
    uploads  parameter, number of the key frame and name of each file, without those that are the record's
    record   whether the request begins with the record in the folder of its job
    model_of_record  whether the model is the one that the record was made with
    """

    mode: str
    model: str
    values: Mapping[str, Any]
    uploads: tuple[tuple[str, int | None, str], ...]
    dry_run: bool = False
    record: bool = False
    model_of_record: bool = False

    def as_json(self) -> dict[str, Any]:
        """For the store."""
        uploads = [list(upload) for upload in self.uploads]
        found = {"mode": self.mode, "model": self.model, "values": dict(self.values), "uploads": uploads}
        return found | {"record": self.record, "model_of_record": self.model_of_record}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Submission:
        """From the store."""
        uploads = tuple((parameter, frame, name) for parameter, frame, name in tree["uploads"])
        begun = {name: tree.get(name, False) for name in ("record", "model_of_record")}  # of none in an older store
        return cls(tree["mode"], tree["model"], tree["values"], uploads, **begun)

    def parameters(self, folder: Path) -> dict[str, Any]:
        """The parameters with the files of `folder`, and a name for the output in it."""
        found = dict(self.values)
        keyframes = []
        for parameter, frame, name in self.uploads:
            if frame is None:
                found[parameter] = folder / name
            else:
                keyframes.append((frame, folder / name))
        if keyframes:
            found["keyframes"] = keyframes
        if self.record:
            found["replay"] = folder / RECORD
        suffix = suffix_of(OutputParameters(format=found.get("format")))
        return found | {"output": folder / OUTPUT_FOLDER / f"video{suffix}"}


def fields_of_json(text: bytes) -> Fields:
    """The fields of a JSON object. Raises `ValueError`."""
    tree = parse_json(text, "the body") if text.strip() else None
    if not isinstance(tree, dict):
        what = "not a JSON object" if text.strip() else "empty"
        raise DocumentError(f'the body is {what}; give a JSON object, such as {{"prompt": "the ball rolls"}}')
    values, uploads = dict(tree), list[Upload]()
    reference = values.get("input_reference")
    if isinstance(reference, dict) and set(reference) == {"image_url"}:
        values["input_reference"] = reference["image_url"]
    for name in ("input_reference", *UPLOADS):
        value = values.pop(name, None)
        if name == "keyframes" and value is not None:
            uploads += [Upload(name, decoded_file(f"{name}[{frame}]", item), frame) for frame, item in _pairs(value)]
        elif value is not None:
            uploads.append(Upload(name, decoded_file(name, value)))
    record = values.pop("record", None)
    if record is not None and not isinstance(record, dict):
        raise ValueError("record is not the JSON object that stands beside a video; give that one")
    return Fields(values, tuple(uploads), None if record is None else json.dumps(record).encode())


def fields_of_form(items: Sequence[tuple[str, str | bytes]]) -> Fields:
    """The fields of a form, text or the content of files, in their order. Raises `ValueError`."""
    values, uploads, declared = dict[str, Any](), list[Upload](), all_parameters()
    records = [content.encode() if isinstance(content, str) else content for name, content in items if name == "record"]
    if len(records) > 1:
        raise ValueError("record was given twice; leave out one")
    for field, content in items:
        if field == "record":
            continue
        (name,) = present_names(declared, {field: content})
        keyframe = _KEYFRAME.fullmatch(name)
        if keyframe or name in ("input_reference", *UPLOADS):
            if name == "keyframes":
                raise ValueError("of a form, the image of frame 15 is the field keyframes[15]; keyframes is none")
            content = decoded_file(name, content) if isinstance(content, str) else content
            uploads.append(Upload("keyframes" if keyframe else name, content, int(keyframe[1]) if keyframe else None))
            continue
        _check_known(name)
        if not isinstance(content, str):
            raise ValueError(f"{name} is not a file; give its value as text")
        if name in declared and typing.get_origin(declared[name].kind) is tuple:
            values.setdefault(name, []).append(content)
            continue
        if name in values:
            raise ValueError(f"{name} was given twice; leave out one")
        values[name] = content if name in SHARED or name in SERVER_FILES else declared[name].read(content)
    return Fields(values, tuple(uploads), *records)


def understand(
    fields: Fields, models: Mapping[str, ListedModel], replay: Replay | None = None
) -> tuple[Submission, tuple[Upload, ...]]:
    """The request, checked by the declaration, and its files under the names that they get. Raises `ValueError`.

    replay: what its record says
    """
    values = {name: value for name, value in fields.values.items() if value is not None}
    if not (values or fields.uploads or replay):
        raise ValueError("nothing was given; send prompt, and with input_reference the image to begin with")
    values = present_names(all_parameters(), values)
    uploads = _own_names(fields.uploads, values.get("mode", None if replay is None else replay.record.mode))
    there = {upload.parameter for upload in uploads}
    usual = "keyframes" if "keyframes" in there else "animate" if there else "text-to-video"
    usual = "structure" if there & {"depth", "driving_video"} else usual
    usual = usual if replay is None else replay.record.mode
    mode = known_name(_text(values.pop("mode", usual), "mode"), ALL_MODES, "mode")
    if replay is not None and mode != replay.record.mode:
        raise ValueError(f"record is that of a video by {replay.record.mode}, not by {mode}; leave out mode")
    if mode == "animate" and "keyframes" in there:
        mode = "keyframes"  # as on the command line
    name = values.pop("model", None) or (_usual_model(models, mode) if replay is None else replay.listed_model())
    model = models[known_name(_text(name, "model"), models, "model")]
    _refuse(values)
    values = _sized(values)
    seconds = values.pop("seconds", None)
    typed = checked(values)
    dry_run = bool(typed.pop("dry_run", False))
    check_mode([*typed, *there], mode)
    if seconds is not None:
        earlier = {} if replay is None else replay.record.values
        fps = typed.get("playback_fps") or earlier.get("playback_fps") or float(model.card.playback_fps)
        typed["num_frames"] = checked({"num_frames": _frames(seconds, fps, mode, typed)})["num_frames"]
    given = there if replay is None else replay.replaced(uploads)
    names = tuple((upload.parameter, upload.frame, upload.name) for upload in uploads if upload.parameter in given)
    begun = replay is not None, replay is not None and name == replay.model
    return Submission(
        mode, name, {key: as_text(value) for key, value in typed.items()}, names, dry_run, *begun
    ), uploads


def store_uploads(uploads: Sequence[Upload], folder: Path, limits: Limits) -> None:
    """Write the files into `folder` and read each once. Raises `ValueError` for what is no image or video of ours."""
    intake = UploadIntake(limits)
    for upload in uploads:
        path = folder / upload.name
        path.write_bytes(upload.content)
        intake.check(upload.parameter, path)


def _own_names(uploads: Sequence[Upload], mode: object) -> tuple[Upload, ...]:
    """The uploads by the names of parameters, each of which is there once."""
    first = "video" if mode == "extend" else "image"
    renamed = [Upload(first if u.parameter == "input_reference" else u.parameter, u.content, u.frame) for u in uploads]
    both = {first, "input_reference"} <= {upload.parameter for upload in uploads}
    seen = set[tuple[str, int | None]]()
    for upload in renamed:
        key = upload.parameter, upload.frame
        if key in seen:
            also = " (as input_reference too)" if both and upload.parameter == first else ""
            raise ValueError(f"{upload.name} was given twice{also}; leave out one")
        seen.add(key)
    return tuple(renamed)


def _usual_model(models: Mapping[str, ListedModel], mode: str) -> str:
    """The first model of the list; for a mode without an image the first that was trained for it, if one is listed."""
    able = [name for name, model in models.items() if model.card.can(MODES[mode])] if mode in IMAGELESS else []
    return (able or list(models))[0]


def _refuse(values: Mapping[str, Any]) -> None:
    """Raise `ValueError` for what no request decides."""
    for name in values:
        _check_known(name)
        if name in SERVER_FILES:
            instead = "send what it holds as record" if name == "replay" else "leave it out"
            raise ValueError(f"{name} names a file of the server, which no request does; {instead}")
        if name in SERVER_CHOICES:
            raise ValueError(f"{name} is what the server decides; leave it out{SERVER_CHOICES[name]}")


def _check_known(name: str) -> None:
    """Raise `ValueError` for what is no parameter, with those that a request may have."""
    refused = (*SERVER_FILES, *SERVER_CHOICES)
    if name not in refused:
        known_name(name, (*SHARED, *(known for known in all_parameters() if known not in refused)), "parameter")


def _sized(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with width and height in the place of size."""
    found = dict(values)
    size = found.pop("size", None)
    if size is None:
        return found
    match = _SIZE.fullmatch(_text(size, "size"))
    if match is None:
        raise ValueError(f"size {short_text(size)} is not possible; use WIDTHxHEIGHT, such as 512x320")
    if "width" in found or "height" in found:
        raise ValueError("size and width or height were given; leave out one")
    return found | {"width": int(match[1]), "height": int(match[2])}


def _frames(seconds: object, fps: float, mode: str, typed: Mapping[str, Any]) -> int:
    """The length of a video of so many seconds."""
    if "num_frames" in typed:
        raise ValueError("seconds and num_frames were given; leave out one")
    if mode == "extend":
        raise ValueError("extend does not read seconds; give num_frames, the number of new ones")
    try:
        number = float(seconds) if isinstance(seconds, str | int | float) and not isinstance(seconds, bool) else 0.0
    except ValueError:
        number = 0.0
    if not 0 < number <= 3600:
        raise ValueError(f"seconds {short_text(seconds)} is not possible; use a number above 0, up to 3600")
    return max(1, round(number * fps)) + (mode == "loop")  # of a loop the file is without the last frame


def _pairs(value: Any) -> list[tuple[int, Any]]:
    """Key frames as pairs of a number and what should be an image."""
    items = value.items() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    found = []
    for item in items:
        pair = item if isinstance(item, list | tuple) else ()
        frame = pair[0] if len(pair) == 2 else None
        if isinstance(frame, str) and frame.isdecimal() and frame.isascii() and len(frame) <= 7:
            frame = int(frame)
        if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < 10**7:
            raise ValueError(
                'keyframes should be pairs of a frame and an image, such as [[15, "data:image/png;base64,..."]]'
            )
        found.append((frame, pair[1]))
    return found


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} {short_text(value)} is not possible; use text")
    return value
