"""How a parameter of a generation is declared: one annotated field that everything else is made from.

The command line's options, the original script's flags, the columns of a list, the keyword arguments of the pipeline,
the record beside a video, the JSON schema and the reference page read these declarations and nothing else. pydantic
checks the values: it understands annotated types, and JSON schema and OpenAPI descriptions come with it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union

import annotated_types
import pydantic
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

from lvdm.declaration.options import FromText
from lvdm.deprecation import warn_of_former_name
from lvdm.documents import short_text
from lvdm.suggestions import suggest

if TYPE_CHECKING:
    from typing import dataclass_transform

ALL_MODES = ("animate", "interpolate", "loop", "keyframes", "text-to-video", "structure", "extend")
"""What can be asked for. `keyframes` is `animate` with images at later frames."""
IMAGELESS = ("text-to-video", "structure")
WITH_IMAGE = tuple(mode for mode in ALL_MODES if mode not in IMAGELESS)
GENERATED = tuple(mode for mode in ALL_MODES if mode != "extend")
FROM_IMAGE_OR_TEXT = tuple(mode for mode in GENERATED if mode != "structure")
"""Modes that make videos in windows."""
STILL = tuple(mode for mode in WITH_IMAGE if mode != "extend")
"""Modes whose image is a file or in memory, not the end of a video."""

Changes = Literal["pixels", "file", "nothing"]
"""pixels: other frames. file: the same frames in another file. nothing: how they are made, up to rounding, or where."""

GROUPS = ("Input", "Model", "Size and motion", "Sampling", "Plug-ins", "Output", "Machine")


@dataclass(frozen=True)
class Parameter:
    """What the type of a field does not say.

    help       what it does, in one line
    group      an entry of `GROUPS`
    unit       of a number: pixels, frames, seconds ...
    changes    see `Changes`; what changes nothing is not part of a request's digest
    modes      the modes that read it; given in another one it is refused
    flag       on the command line, where it is not the name with hyphens; "": not an option there
    aliases    further flags, of earlier versions or for one letter, which `--help` does not show
    original   the flag of the original's `inference.py` that gives it
    card       whether the card of a model has a value for it
    row        whether the videos of a list can differ in it
    former     names that it had in earlier versions, which are read as keyword, column, flag, in requests and records;
               digests have the first of them, so that a video stays finished when its parameters get other names
    later      it came when there were digests: at its default it is no part of them, so that they stay what they were
    former_values  what values were called in earlier versions, and the present ones; digests have the former ones
    """

    help: str
    group: str
    unit: str = ""
    changes: Changes = "pixels"
    modes: tuple[str, ...] = ALL_MODES
    flag: str | None = None
    aliases: tuple[str, ...] = ()
    original: str = ""
    card: bool = False
    row: bool = True
    former: tuple[str, ...] = ()
    later: bool = False
    former_values: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"group {self.group!r} is not one of {', '.join(GROUPS)}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """The values of the field, also as they were called in earlier versions."""
        schema: core_schema.CoreSchema = handler(source)
        present = dict(self.former_values)
        if not present:
            return schema
        return core_schema.no_info_before_validator_function(
            lambda value: present.get(value, value) if isinstance(value, str) else value, schema
        )

    def __get_pydantic_json_schema__(self, schema_of: Any, handler: Any) -> dict[str, Any]:
        """The JSON schema of the field, with what is declared here."""
        schema: dict[str, Any] = handler(schema_of)
        schema["description"] = self.help
        schema["x-group"], schema["x-changes"], schema["x-modes"] = self.group, self.changes, list(self.modes)
        if self.unit:
            schema["x-unit"] = self.unit
        return schema


@dataclass(frozen=True)
class Declared:
    """One parameter of a class: its name, what is declared of it, its type and its default."""

    name: str
    parameter: Parameter
    annotation: Any
    default: Any

    @property
    def flag(self) -> str:
        """The flag on the command line that `--help` shows; "" for none."""
        return flag_of(self.name) if self.parameter.flag is None else self.parameter.flag

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags, the shown one first."""
        return (self.flag, *self.parameter.aliases, *map(flag_of, self.parameter.former)) if self.flag else ()

    @property
    def fact(self) -> str:
        """Its name in digests: the first that it ever had."""
        return (*self.parameter.former, self.name)[0]

    def fact_of(self, value: Any) -> Any:
        """A value as digests have it: as it was called first."""
        first = {now: former for former, now in self.parameter.former_values}
        return first.get(value, value) if isinstance(value, str) else value

    @functools.cached_property
    def kind(self) -> Any:
        """The type without None and without what is annotated, such as int; of options that are typed as text, str."""
        return str if self._from_text else _bare(_without_none(_bare(self.annotation)))

    @property
    def _from_text(self) -> FromText | None:
        typed = (*_metadata(self.annotation), *_metadata(_without_none(_bare(self.annotation))))
        return next((item for item in typed if isinstance(item, FromText)), None)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a parameter that has few; empty for others."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else ()

    @property
    def allowed(self) -> str:
        """The values that are possible, in words such as "a whole number from 1 to 1000"."""
        if self.choices:
            return ", ".join(self.choices)
        limits = f" from {self.range}" if self.bounds[1] < math.inf else ""
        text = (f"text such as {self._from_text.example}" if self._from_text else _words_of(self.kind)) + limits
        return f"{text} {self.parameter.unit}".rstrip() if self.parameter.unit and limits else text

    @property
    def range(self) -> str:
        """The range of a number in words, such as "1 to 1000"."""
        low, high = self.bounds
        return f"{_plain(low)} to {_plain(high)}"

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value of a number."""
        low: float = -math.inf
        high: float = math.inf
        for item in _metadata(self.annotation):
            for part in getattr(item, "metadata", [item]):
                if isinstance(part, annotated_types.Ge):
                    low = part.ge  # type: ignore[assignment]
                if isinstance(part, annotated_types.Gt):
                    low = part.gt  # type: ignore[assignment]
                if isinstance(part, annotated_types.Le):
                    high = part.le  # type: ignore[assignment]
        return low, high

    def check(self, value: Any, where: str = "") -> Any:
        """`value` as the type of the parameter. Raises `ValueError` that names the parameter, and `where` before it."""
        try:
            return _adapter(self.annotation).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{where}{refusal(self, error.errors()[0])}") from None

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of the values, None among them where it is the default."""
        return copy.deepcopy(_json_schema(self.annotation))

    def read(self, text: str, where: str = "") -> Any:
        """The value that `text`, such as the cell of a table, stands for. Raises `ValueError`."""
        kind = self.kind
        value: Any = text
        try:
            if kind in (int, float):
                value = kind(text)
            elif kind is bool:
                value = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}[text.lower()]
        except (ValueError, KeyError):
            raise ValueError(f"{where}{self.name} {short_text(text)} is not possible; use {self.allowed}") from None
        return self.check(value, where)


Class = TypeVar("Class", bound=type)


def _declared(cls: Class) -> Class:
    """A frozen dataclass whose fields are parameters, and whose errors are single lines for people."""
    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    made = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=config)(cls)
    plain = made.__init__

    @functools.wraps(plain)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        try:
            plain(self, *args, **values)
        except ValidationError as error:
            raise ValueError(explain(made, error)) from None

    made.__init__ = checked  # type: ignore[method-assign]
    return typing.cast(Class, made)


if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    def declared(cls: Class) -> Class: ...
else:
    declared = _declared


def parameters_of(cls: type) -> Mapping[str, Declared]:
    """The parameters that `cls` and its bases declare, by name, in their order."""
    return _parameters_of(cls)


@functools.cache
def _parameters_of(cls: Any) -> Mapping[str, Declared]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        parameter = next((item for item in _metadata(hints[field.name]) if isinstance(item, Parameter)), None)
        if parameter is not None:
            found[field.name] = Declared(field.name, parameter, hints[field.name], field.default)
    return types.MappingProxyType(found)


def flag_of(name: str) -> str:
    """The flag of a parameter that declares none."""
    return f"--{name.replace('_', '-')}"


def current_names(cls: type, values: Mapping[str, Any], *, warn: bool = False) -> dict[str, Any]:
    """`values` under the present names of the parameters, where they have those of earlier versions.

    warn: with a `DeprecationWarning`. Raises `ValueError` for a parameter under both names.
    """
    return present_names(parameters_of(cls), values, warn=warn)


def present_names(declared: Mapping[str, Declared], values: Mapping[str, Any], *, warn: bool = False) -> dict[str, Any]:
    """The same for parameters that several classes declare."""
    present = {former: name for name, found in declared.items() for former in found.parameter.former}
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        now = present.get(name, name) if name not in declared else name
        if now in renamed or (now != name and now in values):
            raise ValueError(f"{name} is the former name of {now}, and both were given; leave out {name}")
        if now != name and warn:
            warn_of_former_name(name, now)
        renamed[now] = value
    return renamed


def known_name(name: str, known: Iterable[str], what: str, where: str = "") -> str:
    """`name` if it is among `known`. Raises `ValueError` with the nearest one."""
    names = list(known)
    if name not in names:
        raise ValueError(f"{where}{what} {short_text(name)} is not known; {suggest(name, names)}")
    return name


def explain(cls: type, error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    declared = parameters_of(cls).get(name)
    if declared is None:
        return f"setting {short_text(name)} is not known; {suggest(name, list(parameters_of(cls)))}"
    return refusal(declared, first)


def refusal(declared: Declared, error: Any) -> str:
    """Why the value of a parameter is refused, and what is possible."""
    value = error["input"]
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if declared.choices:
        return f"{declared.name} {short_text(value)} is not known; {suggest(value, list(declared.choices))}"
    return f"{declared.name} {short_text(value)} is not possible; use {declared.allowed}"


def _words_of(kind: Any) -> str:
    """The values of a type in words, such as "a list of pairs of a whole number and text"."""
    words = {int: "a whole number", float: "a number", bool: "yes or no", str: "text", Path: "the name of a file"}
    if typing.get_origin(kind) is not tuple:
        return words.get(kind, "a value of its kind")
    pair = typing.get_args(typing.get_args(kind)[0])
    return f"a list of pairs of {' and '.join(_words_of(_bare(item)) for item in pair)}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


@functools.cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(strict=True, arbitrary_types_allowed=True))


@functools.cache
def _json_schema(annotation: Any) -> dict[str, Any]:
    """Making it takes a millisecond, and each server asks for that of every parameter in every mode."""
    return _adapter(annotation).json_schema()


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())


def _bare(annotation: Any) -> Any:
    return annotation.__origin__ if _metadata(annotation) else annotation


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (Union, types.UnionType):
        rest = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind
