"""An earlier video made again: from its record, which somebody uploads, to the controls of the page.

Files that a record names are those of another machine, or of somebody else: none is opened. Models and weight files are
found by their content among those that visitors may choose; images are to be given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lvdm.app import showing
from lvdm.app.controls import FILES, read_by
from lvdm.app.endpoints import Desk
from lvdm.checkpoint import checkpoint_hash
from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import parameters_of
from lvdm.documents import one_line
from lvdm.hosting.library import Library, ListedModel
from lvdm.hosting.replays import SentRecord, read_sent_record
from lvdm.request.digest import InputFile
from lvdm.request.layers import DERIVED, all_parameters
from lvdm.request.settings import GenerationSettings

TO_BE_GIVEN = ("keep_mask", "num_videos_per_prompt")
"""Controls that a record says nothing of: each video has its own."""

OF_EXTENSIONS = ("num_frames", "overlap", "color_lock", "playback_fps")
"""Controls whose values in a record are those of an extension, and not of its segments."""


@dataclass(frozen=True)
class EarlierRequest:
    """What made an earlier video, for the controls.

    mode      of its tab
    at        the frames of its key images
    controls  values by parameter, as text, lists of text for LoRAs; what is not there is left out
    files     the images and videos that have to be given again, in words
    """

    mode: str
    model: str
    prompt: str
    at: str
    controls: Mapping[str, Any]
    files: tuple[str, ...]


def read_request(path: Path, library: Library, device: str) -> EarlierRequest:
    """The request of the record at `path`. Raises `ValueError` for what is none, and for a model that is not listed."""
    record = read_sent_record(path, str(path))
    model = record.model(library.models, device)
    if model is None:
        raise ValueError(record.no_such_model(str(path)))
    mode = "interpolate" if record.mode == "keyframes" else record.mode
    values = {**record.values, "format": Path(record.video).suffix[1:]}
    names = [name for name in read_by(mode) if name not in TO_BE_GIVEN]
    files = {name: _listed_file(record, name, values[name], library) for name in FILES if values.get(name)}
    values |= {name: str(library.files[file]) for name, file in files.items()}  # nothing else is opened from here on
    controls = {
        name: files.get(name) or _control(name, values[name], record, library) for name in _chosen(values, names, model)
    }
    if record.index:  # the last of so many
        controls["num_videos_per_prompt"] = str(record.index + 1)
    inputs = [_called(file) for file in record.inputs if file.parameter not in FILES]
    at = " ".join(str(file.frame) for file in record.inputs if file.frame is not None)
    return EarlierRequest(mode, model.name, str(values["prompt"]), at, controls, tuple(inputs))


def _called(file: InputFile) -> str:
    """An image or a video in words, with the name of its file."""
    what = file.parameter.replace("_", " ") if file.frame is None else f"image of frame {file.frame}"
    return f"{what}: {'' if file.path is None else file.path.name}"


def _chosen(values: Mapping[str, Any], names: Sequence[str], model: ListedModel) -> list[str]:
    """Those of `names` whose values have to be given so that they are those; of others they are derived, or usual."""
    known, mode = parameters_of(GenerationSettings), values.get("mode", "extend")
    derivable = [name for name in names if name in DERIVED and name in known]
    given = [name for name in names if name not in derivable and values.get(name) not in (None, _usual(name, model))]
    if mode == "extend":  # whose own defaults are others
        given += [name for name in OF_EXTENSIONS if name not in given]
    made = {name: values[name] for name in given if name in known and (mode != "extend" or name not in OF_EXTENSIONS)}
    made["mode"] = "animate" if mode == "extend" else mode
    derived = GenerationSettings.from_card(model.card, **made)
    return given + [name for name in derivable if name in values and getattr(derived, name) != values[name]]


def _usual(name: str, model: ListedModel) -> Any:
    """The value of a parameter that is left out."""
    declared = all_parameters()[name]
    usual = "mp4" if name == "format" else declared.default
    return getattr(model.card, name) if declared.parameter.card else usual


def _control(name: str, value: Any, record: SentRecord, library: Library) -> Any:
    """A value as the control of the parameter has it. Raises `ValueError` for a weight file that is not listed."""
    if name == "loras":
        return [f"{_listed_file(record, name, path, library)}:{scale}" for path, scale in value]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "\n".join("=".join(str(part) for part in pair) for pair in value)
    return str(as_text(value))


def _listed_file(record: SentRecord, parameter: str, path: str | Path, library: Library) -> str:
    """The name of the weight file of the list that has the name and content of a record's. Raises `ValueError`."""
    path = Path(path)
    wanted = {file.sha256 for file in record.files if file.parameter == parameter and file.path == path}
    for name, file in library.files.items():
        if file.name == path.name and checkpoint_hash(file) in wanted:
            return name
    raise ValueError(f"{parameter} {path.name} is not among the weight files that can be chosen here")


def taken_over(desk: Desk, modes: Sequence[str], names: Sequence[str], uploads: Sequence[Path]) -> list[Any]:
    """A record that was uploaded, as the page shows it: words, tab, model, frames of key images, prompts, controls.

    modes: whose prompts; names: of the controls. A record that is refused changes nothing; its file is removed anyway.
    """
    (upload,) = uploads
    try:
        found = read_request(upload, desk.library, desk.device)
    except (ValueError, OSError) as error:
        refusal = showing.failed(one_line(str(error)).replace(str(upload), upload.name))
        return [refusal, *[gr.skip()] * (3 + len(modes) + len(names))]
    finally:
        upload.unlink(missing_ok=True)
    again = f" To be given again: {', '.join(found.files)}." if found.files else ""
    words = showing.said(f"The controls are set as in {upload.name}.{again}")
    prompts = [found.prompt if mode == found.mode else gr.skip() for mode in modes]
    controls = [
        found.controls.get(name, [] if name == "loras" else None if name == "keep_mask" else "") for name in names
    ]
    return [words, gr.update(selected=found.mode), found.model, found.at, *prompts, *controls]
