"""What a training configuration must not leave open, checked before anything is built or loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lvdm.config import ConfigError

UNFILLED = re.compile(r"<[^<>]+>")


def check_filled(tree: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for the first value that is still a `<...>` to fill in, with its place and a hint."""
    for place, value in _strings(tree, ""):
        if UNFILLED.search(value):
            raise ConfigError(f"{place} is still {value!r}; fill it in there, or add {place}=... to the command")


def _strings(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a tree of mappings and lists, with its dotted place."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _strings(value, f"{place}.{key}".lstrip("."))
    elif isinstance(node, Sequence):
        for index, value in enumerate(node):
            yield from _strings(value, f"{place}[{index}]")
