"""A video made again from its record: are its files still those, and what is different this time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lvdm.checkpoint import checkpoint_hash
from lvdm.content_hash import content_hash
from lvdm.declaration.options import as_text
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.record import Record
from lvdm.request.digest import InputFile
from lvdm.request.layers import Values, all_parameters, file_inputs
from lvdm.request.settings import GenerationSettings

logger = logging.getLogger(__name__)

LABELS = {
    "keyframes": "image of frame {frame}",
    "keep_mask": "mask",
    "depth_model": "depth estimator",
    "start_statistics": "statistics",
}
"""Inputs that messages do not call by their names."""


def check_files(record: Record, values: Values, model: ChosenModel) -> None:
    """Compare the files of a record with their hashes, where no other was given in their place.

    Raises `ValueError` for an image, a mask or statistics that changed; other weights are a warning.
    """
    inputs = (*file_inputs(), *LABELS)
    for file in record.files:  # without them the video cannot be made again
        if file.parameter in inputs and values.layers.get(file.parameter) == "record":
            _check_input(record, values, file)
    check_model_files(record.path, [file for file in record.files if file.parameter not in inputs], values, model)


def check_model_files(record: Path, files: Sequence[InputFile], values: Values, model: ChosenModel) -> None:
    """Warn of each of `files` that is another one now, where no other was given in its place."""
    for file in files:
        if values.layers.get(file.parameter) == "record" and _hash_of_model_file(file, model) != file.sha256:
            logger.warning(
                "%s is another %s than the one in %s: the video will differ", file.path, _called(file), record
            )


def _check_input(record: Record, values: Values, file: InputFile) -> None:
    value = values.values[file.parameter]
    path = Path(dict(value)[file.frame] if file.parameter == "keyframes" else value)
    what = LABELS.get(file.parameter, file.parameter.replace("_", " ")).format(frame=file.frame)
    try:
        same = content_hash(path) == file.sha256
    except OSError as error:
        raise ValueError(f"{path}, the {what} of {record.path}, cannot be read: {error.strerror or error}") from error
    if not same:
        raise ValueError(f"{path} is no longer the {what} that {record.path} was made with; put the old one back")


def _hash_of_model_file(file: InputFile, model: ChosenModel) -> str:
    if file.parameter == "config":
        return model.identity().config
    assert file.path is not None
    return checkpoint_hash(file.path)


def _called(file: InputFile) -> str:
    return {"config": "configuration", "checkpoint": "checkpoint", "loras": "LoRA"}.get(file.parameter, "checkpoint")


def changed_values(record: Path, earlier: Values, values: Values, settings: GenerationSettings) -> tuple[str, ...]:
    """What a replay makes differently, such as "num_inference_steps 25 to 4"; it is logged, too.

    earlier: what the record says; values, settings: those of the replay
    """
    before = earlier.values
    now = dict(values.values) | {name: value for name, value in settings.as_dict().items() if name not in values.values}
    names = [
        name for name in all_parameters() if name in values.typed() or (name in before and name not in values.values)
    ]
    changes = []
    for name in names:
        if all_parameters()[name].parameter.changes == "nothing":
            continue
        old, new = as_text(before.get(name)), as_text(now.get(name))
        if old != new:
            changes.append(f"{name} {_short(old)} to {_short(new)}")
    if changes:
        logger.info("changed against %s: %s", record, "; ".join(changes))
    return tuple(changes)


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
