"""Names that become files or folders: a name is one step down, and never a way to another place."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

LONGEST_NAME = 240
"""Bytes; file systems take 255, and files that are being written have a few more in their names."""

_RESERVED = '<>:"/\\|?*'
"""Refused by some file system, or leads out of the folder."""


def check_name(name: str, what: str, error: type[ValueError] = ValueError) -> str:
    """`name`, if it can be that of a file or folder on every system. Raises `error`; `what` is what it names."""
    bad = next((letter for letter in name if letter in _RESERVED or ord(letter) < 32), None)
    if bad is not None:
        raise error(f"{what} is a name and not a path: {bad!r} cannot be in it")
    if not name.strip(" .") or name != name.strip():
        raise error(f"{what} {name[:40]!r} is no name of a folder; give letters or digits, without spaces at the ends")
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise error(f"{what} has {len(os.fsencode(name))} bytes; give at most {LONGEST_NAME}")
    return name


def natural_order(names: Sequence[str]) -> list[str]:
    """Names sorted so that numbers in them count as numbers: frame_2 before frame_10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", name)
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]

    return sorted(names, key=lambda name: (key(name), name))
