"""The layers a value comes from: defaults < preset, card < record (replay) < row of a list < what was typed.

Each layer is checked by the declaration when it is read. A layer on top replaces what lies below it: a parameter of the
same name, what sets the same thing, such as `motion` in the place of `fps`, and what was derived from it.
"""

from __future__ import annotations

import functools
import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lvdm.declaration.parameter import ALL_MODES, Declared, known_name, parameters_of, present_names
from lvdm.declaration.parameters import (
    InputParameters,
    ModelParameters,
    SamplingParameters,
    SeedParameters,
    SizeParameters,
    StructureParameters,
)
from lvdm.declaration.run_parameters import (
    BatchParameters,
    ExtendParameters,
    MachineParameters,
    MemoryParameters,
    OutputParameters,
    RunParameters,
)
from lvdm.plugins.all_parameters import MethodParameters

Layer = Literal["preset", "record", "row", "typed"]

CLASSES: tuple[type, ...] = (
    InputParameters,
    StructureParameters,
    RunParameters,
    ModelParameters,
    SizeParameters,
    ExtendParameters,
    SamplingParameters,
    SeedParameters,
    MethodParameters,
    OutputParameters,
    MachineParameters,
    MemoryParameters,
    BatchParameters,
)
"""Where parameters are declared, in the order that people read them."""

SPEED = ("fps", "frame_stride", "fs", "motion")
"""Parameters that set the model's `fs` input, one of which is enough."""
MODEL_FILES = ("preset", "config", "checkpoint")
"""Parameters that name the model, which belong together."""
SAME_THING = (SPEED, MODEL_FILES, ("depth", "driving_video"))
OF_ANOTHER = types.MappingProxyType({"depth": ("depth_model",)})
"""What a value of a lower layer was given for, and is no longer where this one takes its place."""

DERIVED = types.MappingProxyType(
    {
        "fs": ("preset", "config", "checkpoint"),
        "truncated_start": ("motion", "fps", "frame_stride", "fs"),
        "low_pass": ("motion", "fps", "frame_stride", "fs"),
        "eta": ("sampler",),
        "long_video": ("num_frames", "between"),
        "chunk_frames": ("num_frames", "long_video"),
        "scale": ("height", "width", "image"),
        "playback_fps": ("video",),
    }
)
"""What a record has of a parameter may have been derived from these: where one of them changes, it is derived anew."""


@functools.cache
def all_parameters() -> Mapping[str, Declared]:
    """Every parameter by name, in the order that people read them."""
    found: dict[str, Declared] = {}
    for cls in CLASSES:
        found |= parameters_of(cls)
    return types.MappingProxyType(found)


@functools.cache
def file_inputs() -> tuple[str, ...]:
    """The inputs that are one file each, such as the image; key frames are several."""
    return tuple(name for name, declared in parameters_of(InputParameters).items() if declared.kind is Path)


@dataclass(frozen=True)
class Values:
    """Values of parameters, those of higher layers in the place of lower ones.

    values   by name; what is not there has its default
    layers   the layer that each value comes from
    derived  names of a record's values that nobody gave
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Layer] = field(default_factory=dict)
    derived: frozenset[str] = frozenset()

    def under(self, upper: Mapping[str, Any], layer: Layer, derived: Iterable[str] = ()) -> Values:
        """These values under those of a further layer, which have been checked."""
        values, replaced = dict(self.values), set(upper)
        for group in SAME_THING:
            if replaced & set(group):
                replaced |= set(group)
        replaced |= {name for given in upper for name in OF_ANOTHER.get(given, ())}
        replaced |= {name for name in self.derived if set(DERIVED.get(name, ())) & set(upper)}
        for name in replaced:
            values.pop(name, None)
        layers = {name: self.layers[name] for name in values} | dict.fromkeys(upper, layer)
        left = (self.derived - replaced) | frozenset(derived)
        return Values(values | dict(upper), layers, left)

    def typed(self) -> dict[str, Any]:
        """The values of the highest layer."""
        return {name: value for name, value in self.values.items() if self.layers[name] == "typed"}

    def of(self, cls: type) -> dict[str, Any]:
        """The values of the parameters that `cls` declares."""
        names = parameters_of(cls)
        return {name: value for name, value in self.values.items() if name in names}

    def make(self, cls: type) -> Any:
        """An instance of a class of `CLASSES`, with defaults for what is not there."""
        return cls(**self.of(cls))


def checked(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """`values` as the types that are declared; None is left out. `where` begins the message of a `ValueError`.

    Names of earlier versions are read, with a `DeprecationWarning`.
    """
    declared = all_parameters()
    found = {}
    for name, value in present_names(declared, values, warn=True).items():
        known_name(name, declared, "parameter", where)
        if value is not None:
            found[name] = declared[name].check(value, where)
    return found


def check_mode(values: Iterable[str], mode: str) -> None:
    """Raise `ValueError` for a mode that there is not, and for a parameter that `mode` does not read."""
    known_name(mode, ALL_MODES, "mode")
    declared = all_parameters()
    for name in values:
        if mode not in declared[name].parameter.modes:
            command = "animate with key frames" if mode == "keyframes" else mode
            raise ValueError(f"{command} does not read {shown_name(name)}; leave it out")


def shown_name(name: str) -> str:
    """A parameter as messages call it: its name and, where it has one, its flag."""
    flag = all_parameters()[name].flag
    return f"{name} ({flag})" if flag else name


_FLAG = re.compile(r"--[a-z][a-z-]*")
_WITH_FLAG = re.compile(r"\b([a-z_]+)((?: [\w.]+)?)(?: \((--[a-z-]+)\2\)|, (--[a-z-]+)(?=\)))")


@functools.cache
def _names_of_flags() -> Mapping[str, str]:
    return {flag: name for name, declared in all_parameters().items() for flag in declared.flags}


def in_field_names(message: str) -> str:
    """A message of the command line for those who give fields: the name in the place of each flag, or of both."""
    names = _names_of_flags()

    def once(match: re.Match[str]) -> str:
        return match[1] + match[2] if names.get(match[3] or match[4]) == match[1] else match[0]

    return _FLAG.sub(lambda flag: names.get(flag[0], flag[0]), _WITH_FLAG.sub(once, message))


def help_with_range(declared: Declared, most: int | None = None) -> str:
    """The help of a parameter for those who give fields, with the range of a number unless it begins with that.

    most: the largest value that is allowed, where it is less than the declared one
    """
    text = in_field_names(declared.parameter.help)
    if declared.kind not in (int, float) or declared.bounds[1] == math.inf:
        return text
    low, _, high = declared.range.partition(" to ")
    if text.startswith(f"{low} "):
        return text
    return f"{text} {low} to {high if most is None else most} {declared.parameter.unit}".rstrip() + "."
