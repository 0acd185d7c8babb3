"""Options of methods as one line of text, `name:key=value,key=value`: what a record holds and a user types.

Text is read once, into a `Spec`, when settings are made. What comes after that reads the typed options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError, core_schema

from lvdm.config import parse_dataclass
from lvdm.declaration.values import as_path
from lvdm.documents import parse_yaml, short_text
from lvdm.regular_files import real_path
from lvdm.suggestions import suggest

Options = TypeVar("Options", covariant=True)


@dataclass(frozen=True)
class Spec(Generic[Options]):
    """What one line of text says: a name and its options, a frozen dataclass.

    name  "" where there is only one kind of options
    text  as it was typed, which a record repeats; two that mean the same are equal. None: `str` writes every option
    """

    name: str
    options: Options
    text: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.text is not None:
            return self.text
        options = write_options(self.options)
        return f"{self.name}:{options}" if self.name and options else self.name or options


@dataclass(frozen=True)
class FromText:
    """For `Annotated`: the parameter is a `Spec`, which `parse` reads from text such as `example`."""

    parse: Callable[[str], Spec[Any]]
    example: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read, serialization=core_schema.to_string_ser_schema())

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "examples": [self.example]}

    def read(self, value: Any) -> Spec[Any]:
        """The `Spec` of a text; one that has been read stays. Raises `ValueError`."""
        if isinstance(value, Spec):
            return value
        if not isinstance(value, str):
            raise PydanticCustomError("no_text", "is no text")  # the parameter is named by who knows it
        return self.parse(value)


def _absolute(value: object) -> object:
    """A path as text, from the root on: it is to mean the same in a record."""
    return str(real_path(as_path(value))) if isinstance(value, str | Path) else value


FileName = Annotated[str, BeforeValidator(_absolute)]
"""For files that a method reads."""


def parse_spec(text: str, kinds: Mapping[str, type], where: str) -> Spec[Any]:
    """The name before the colon, and the options that `text` gives to the one of `kinds` that it names.

    Values are YAML scalars: 2, 0.5, yes. Raises `ValueError` for unknown names, keys and values, with the known ones.
    """
    name, _, rest = text.strip().partition(":")
    if name not in kinds:
        raise ValueError(f"{where} {short_text(name)} is not known; {suggest(name, kinds)}")
    return Spec(name, _parse(rest, kinds[name], f"{where} {name}"), text)


def parse_options(text: str, kind: type, where: str) -> Spec[Any]:
    """The dataclass `kind` with the options of `text`, `key=value,key=value`. Raises `ValueError`."""
    return Spec("", _parse(text, kind, where), text)


def _parse(text: str, kind: type, where: str) -> Any:
    values = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise ValueError(
                f"{where}: {short_text(part)} should be key=value, such as {next(iter(_keys(kind)), 'key')}=1"
            )
        values[key.strip()] = parse_yaml(value, f"{where}: {key.strip()}")
    return parse_dataclass(kind, values, where)


def write_options(options: Any) -> str:
    """The text that is read as `options`; what is None is left out."""
    given = {key: getattr(options, key) for key in _keys(type(options))}
    return ",".join(f"{key}={_scalar(value)}" for key, value in given.items() if value is not None)


def as_text(value: Any) -> Any:
    """The text of a `Spec`, as JSON holds it; anything else as it is."""
    return str(value) if isinstance(value, Spec) else value


def _scalar(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _keys(kind: type) -> tuple[str, ...]:
    return tuple(getattr(kind, "__dataclass_fields__", ()))
