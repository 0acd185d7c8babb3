"""Options of plug-ins as one line of text, `name:key=value,key=value`: what a record holds and a user types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lvdm.config import parse_dataclass
from lvdm.documents import parse_yaml, shown
from lvdm.suggestions import suggest


def parse_spec(text: str, kinds: Mapping[str, type], where: str) -> Any:
    """The options that `text` gives to one of `kinds`: a frozen dataclass, found by the name before the colon.

    Values are YAML scalars: 2, 0.5, yes. Raises `ValueError` for unknown names, keys and values, with the known ones.
    """
    name, _, rest = text.strip().partition(":")
    if name not in kinds:
        raise ValueError(f"{where} {shown(name)} is not known; {suggest(name, kinds)}")
    return parse_options(rest, kinds[name], f"{where} {name}")


def parse_options(text: str, kind: type, where: str) -> Any:
    """The dataclass `kind` with the options of `text`, `key=value,key=value`. Raises `ValueError`."""
    values = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise ValueError(f"{where}: {shown(part)} should be key=value, such as {next(iter(_keys(kind)), 'key')}=1")
        values[key.strip()] = parse_yaml(value, f"{where}: {key.strip()}")
    return parse_dataclass(kind, values, where)


def write_options(options: Any) -> str:
    """The text that `parse_options` reads as `options`; what is None is left out."""
    given = {key: getattr(options, key) for key in _keys(type(options))}
    return ",".join(f"{key}={_scalar(value)}" for key, value in given.items() if value is not None)


def _scalar(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _keys(kind: type) -> tuple[str, ...]:
    return tuple(getattr(kind, "__dataclass_fields__", ()))
