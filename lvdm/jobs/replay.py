"""A video made again from its record: are its files still those, and what is different this time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from lvdm.checkpoint import checkpoint_hash
from lvdm.content_hash import content_hash
from lvdm.jobs.model import ChosenModel
from lvdm.request.digest import InputFile
from lvdm.request.layers import DERIVED, MODEL_FILES, Values, all_parameters, file_inputs

logger = logging.getLogger(__name__)

Size = tuple[int, int]
"""Height and width."""
LABELS = {
    "keyframes": "image of frame {frame}",
    "keep_mask": "mask",
    "depth_model": "depth estimator",
    "start_statistics": "statistics",
    "carry_flow": "flow",
}
"""Inputs that messages do not call by their names."""


def check_files(record: Path, files: Sequence[InputFile], values: Values, model: ChosenModel) -> None:
    """Compare the `files` of a record with their hashes, where no other was given in their place.

    Raises `ValueError` for an image, a mask or statistics that changed; other weights are a warning.
    """
    inputs = ("video", *file_inputs(), *LABELS)
    for file in files:  # without them the video cannot be made again
        if values.layers.get(file.parameter) == "record":
            if file.parameter in inputs:
                _check_input(record, values, file)
            elif _hash_of_model_file(file, model) != file.sha256:
                logger.warning(
                    "%s is another %s than the one in %s: the video will differ", file.path, _called(file), record
                )


def _check_input(record: Path, values: Values, file: InputFile) -> None:
    value = values.values[file.parameter]
    path = Path(dict(value)[file.frame] if file.parameter == "keyframes" else value)
    what = LABELS.get(file.parameter, file.parameter.replace("_", " ")).format(frame=file.frame)
    try:
        same = content_hash(path) == file.sha256
    except OSError as error:
        raise ValueError(f"{path}, the {what} of {record}, cannot be read: {error.strerror or error}") from error
    if not same:
        raise ValueError(f"{path} is no longer the {what} that {record} was made with; put the old one back")


def _hash_of_model_file(file: InputFile, model: ChosenModel) -> str:
    if file.parameter == "config":
        return model.identity().config
    assert file.path is not None
    return checkpoint_hash(file.path)


def _called(file: InputFile) -> str:
    return {"config": "configuration", "checkpoint": "checkpoint", "loras": "LoRA"}.get(file.parameter, "checkpoint")


def changed_values(
    record: Path,
    before: Values,
    now: Values,
    resolved: Mapping[str, Any],
    same: Set[str],
    sizes: tuple[Size, Size] | None = None,
) -> tuple[str, ...]:
    """What a replay makes differently, such as "num_inference_steps 25 to 4"; it is logged, too.

    before    the values of the record, over which those of `now` lie
    resolved  what parameters come to that were derived, or are not given now
    same      parameters whose files have the content that is in the record, wherever they lie now
    sizes     before and now, where other images or models may have led to another one
    """
    changes = []
    for name, declared in all_parameters().items():
        given = now.layers.get(name) == "typed" or (name in before.values and name not in now.values)
        if given and name not in same and declared.parameter.changes != "nothing":
            value = resolved[name] if name in DERIVED and name in resolved else now.values.get(name, resolved.get(name))
            old, new = _text_of(before.values.get(name)), _text_of(value)
            if old != new:
                changes.append(f"{name} {_short(old)} to {_short(new)}")
    if sizes is not None and sizes[0] != sizes[1] and not {"height", "width"} & set(now.typed()):
        old, new = (f"{width}x{height}" for height, width in sizes)
        changes.append(f"size {old} to {new}")
    if changes:
        logger.info("changed against %s: %s", record, "; ".join(changes))
    return tuple(changes)


def same_files(before: Sequence[InputFile], now: Sequence[InputFile]) -> set[str]:
    """The parameters with the same files, by content. Those of the model are one."""
    contents = [{(file.parameter, file.sha256, file.frame) for file in files} for files in (before, now)]
    other = {parameter for parameter, *_ in contents[0] ^ contents[1]}
    same = {file.parameter for file in now} - other - {"loras"}  # which have a scale too
    return same | set(MODEL_FILES) if {"config", "checkpoint"} <= same else same


def _text_of(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return " ".join(f"{key}{':' if isinstance(key, Path) else '='}{item}" for key, item in value) or "nothing"
    return "nothing" if value in (None, "") else str(value)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
