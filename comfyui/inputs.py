"""The inputs of nodes, made from the declaration of parameters, and back from their values.

A widget of ComfyUI always has a value. What leaves a parameter to the checkpoint's card, or to its default, is -1 of a
number that has no default of its own, "default" of a choice, and empty text.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import Declared, known_name
from lvdm.declaration.parameters import FRAMES_OF_FILES
from lvdm.plugins.registry import method_files
from lvdm.request.layers import all_parameters, help_with_range
from lvdm.request.schema import NEEDED

LEFT_OUT, DEFAULT, NO_FILE = -1, "default", "none"

OF_THE_MODEL = ("encoders", "schedule", "device", "dtype", "low_memory")
"""Parameters of the node that loads a model."""
OF_THE_FILE = ("format", "playback_fps")
"""Those of the node that saves."""
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("preset", "checkpoint", "config"), "the node that loads a model has a list of them"),
        **dict.fromkeys(OF_THE_MODEL, "the node that loads a model has it"),
        **dict.fromkeys(OF_THE_FILE, "the node that saves has it"),
        "loras": "each is a node of its own",
        "output": "the node that saves takes a prefix",
        "overwrite": "files are numbered",
        "contact_sheet": "the frames are there to be shown",
        "prompts": "a list is a queue of ComfyUI's",
        "replay": "a workflow is a record of its own; the command line replays those beside videos",
        "dry_run": "the queue says what is wrong before it begins",
        "num_videos_per_prompt": "the queue has a count, and seeds that change",
        "keep": "the queue makes one at a time",
    }
)
"""Parameters that no generating node has, and why."""
SOCKETS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("image", "end_image", "keyframes", "video", *FRAMES_OF_FILES), "IMAGE"),
        "keep_mask": "MASK",
    }
)
"""Parameters that come from other nodes, and their types there."""
KEYFRAME_NUMBERS, VIDEO_FPS = "keyframe_numbers", "video_fps"
"""Inputs that are no parameters: the frames that key images are shown at, and the speed of a video that goes on."""
FILES = ("encoders", *method_files(), "depth_model")

Inputs = dict[str, tuple[Any, ...]]


def read_by(mode: str) -> list[str]:
    """The names of the parameters of the node for `mode`, in the order of the declaration."""
    return [name for name, found in all_parameters().items() if mode in found.parameter.modes and name not in ELSEWHERE]


def inputs_for(names: Iterable[str], files: Sequence[str]) -> Inputs:
    """What `INPUT_TYPES` says of these parameters. files: names of weight files to choose from."""
    return {name: widget(all_parameters()[name], files) for name in names}


def inputs_of(mode: str, files: Sequence[str]) -> dict[str, Inputs]:
    """The inputs of the node for `mode`, without its model."""
    either = ("depth",) if mode == "structure" else ()  # or driving_video
    needed = [name for name in read_by(mode) if name in NEEDED[mode] and name not in either]
    rest = [name for name in read_by(mode) if name not in needed]
    required = inputs_for(needed, files)
    if "keyframes" in required:
        numbers = {"default": "", "tooltip": "The frames that show them, such as 5 10 15: one for each image."}
        required[KEYFRAME_NUMBERS] = ("STRING", numbers)
    if "video" in required:
        required[VIDEO_FPS] = ("FLOAT", {"default": 8.0, "min": 0.1, "max": 1000.0, "tooltip": "Speed of the video."})
    return {"required": required, "optional": inputs_for(rest, files)}


def widget(declared: Declared, files: Sequence[str] = ()) -> tuple[Any, ...]:
    """The type of an input in ComfyUI, and the options of its widget."""
    name, kind, extra = declared.name, declared.kind, {"tooltip": _tooltip(declared)}
    if name in SOCKETS:
        return SOCKETS[name], extra
    if name in FILES:
        return [NO_FILE, *files], extra
    if declared.choices:
        own = _own_default(declared)
        return list(declared.choices) if own else [DEFAULT, *declared.choices], extra | (
            {"default": own} if own else {}
        )
    if kind is bool:
        if _own_default(declared) is None:
            return [DEFAULT, "yes", "no"], extra
        return "BOOLEAN", extra | {"default": declared.default}
    if kind in (int, float):
        return _number(declared, extra)
    several = typing.get_origin(kind) is tuple
    text = "" if several else as_text(_own_default(declared) or "")
    return "STRING", extra | {"default": text, "multiline": several or name in ("prompt", "negative_prompt")}


def _number(declared: Declared, extra: dict[str, Any]) -> tuple[Any, ...]:
    low, high = declared.bounds
    own = _own_default(declared)
    kind = declared.kind
    extra |= {"default": kind(LEFT_OUT if own is None else own), "min": kind(LEFT_OUT if own is None else low)}
    if high < math.inf:
        extra["max"] = kind(high)
    if declared.name == "seed":
        extra["control_after_generate"] = True
    return ("INT", extra) if kind is int else ("FLOAT", extra | {"step": 0.01, "round": False})


def _own_default(declared: Declared) -> Any:
    """The default that is the same for every model; None for none."""
    return None if declared.parameter.card else declared.default


def _tooltip(declared: Declared) -> str:
    text = help_with_range(declared)
    if _own_default(declared) is None and declared.kind in (int, float):
        text += f" {LEFT_OUT}: {'as the checkpoint says' if declared.parameter.card else 'left out'}."
    return text


def parameter_values(values: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
    """The parameters that inputs stand for, as `lvdm.request` takes them; what is left out is not there.

    files: the weight files by their names. Raises `ValueError` for an input that is no parameter.
    """
    declared = all_parameters()
    found = {}
    for name, value in values.items():
        given = _value(declared[known_name(name, declared, "input")], value, files)
        if given is not None:
            found[name] = given
    return found


def _value(declared: Declared, value: Any, files: Mapping[str, Path]) -> Any:
    """The value of a parameter; None where it is left out, as by what is its default anyway."""
    kind = declared.kind
    if declared.name in FILES:
        return None if value == NO_FILE else files[known_name(value, files, declared.name)]
    if isinstance(value, str) and value.strip() in ("", DEFAULT):
        return None
    if typing.get_origin(kind) is tuple and isinstance(value, str):
        return [line for line in value.splitlines() if line.strip()]
    own = _own_default(declared)
    if kind in (int, float):
        if own is None and value == LEFT_OUT:
            return None
        value = kind(value) if kind is float or float(value).is_integer() else value
    elif kind is bool and isinstance(value, str):
        value = declared.read(value)
    return None if own is not None and value == (as_text(own) if isinstance(value, str) else own) else value
