"""What chance, and people who mean it, make of a valid file: bytes, text and trees that are wrong somewhere."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from random import Random
from typing import Any

LONG = "A" * 5000
"""Longer than anything that a message may repeat."""
DIGITS = "9" * 5000
"""More digits than Python turns into a number."""
DEEP = 100_000
"""Brackets: each reader of nested text that recurses ends the process at so many."""

WORDS = (
    *("", " ", "0", "-1", "1", "2", "1.5", "1e-400", "1e999", "nan", "inf", "-inf", "1_000", "0x10", "true", "None"),
    *("\u0661\u0662", "\u00e9\U0001f600", "\u202e", "%s%n%d", "{}", "{0}", "[", "{", "}", "a=b=c", "=", ":", ",", ";"),
    *("-", "--", "..", "../../canary", "/", "/dev/zero", "/dev/null", "/proc/self/mem", "file:///etc/passwd", "~"),
    *("http://127.0.0.1:9/x", "concat:a|b", "${oc.env:HOME}", "!!python/name:os.system", "[red]x[/red]", "[/]", "\\"),
    *("zoom_in:amount={", "zoom_in:amount=[", "stg:scale=nan", "0=cat.png", "0=", "x:9", "CON", "a\tb", "a\nb"),
    *(LONG, DIGITS, "-" + DIGITS, "[" * DEEP, "{a: " * 3000, "a," * 5000),
)
"""For options and cells: what breaks parsers, formats, paths and terminals."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, -0.0, 1e300, 2**63, -(2**63), 2**70, DIGITS, [], {}, [[]], [1, "a"], {"a": {}}),
    *("", "x", "\x00", "\ud800", "../../canary", LONG, "1", float("nan"), float("inf")),
)
"""For the leaves of trees."""

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(content: bytes, chance: Random) -> bytes:
    """`content` with one to four mistakes."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_OF_BYTES)(found, chance)
    return bytes(found)


def _place(content: bytearray, chance: Random) -> int:
    """A place in `content`, often near its beginning, where headers are."""
    limit = len(content) if chance.random() < 0.5 else min(len(content), 200)
    return chance.randrange(limit) if limit else 0


def _flip(content: bytearray, chance: Random) -> None:
    for _ in range(chance.choice((1, 1, 8))):
        if content:
            content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    size, order = chance.choice((1, 2, 4, 8)), chance.choice("<>")
    number = chance.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    content[at : at + size] = struct.pack(f"{order}{ {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}[size] }", number)


def _cut_off(content: bytearray, chance: Random) -> None:
    del content[_place(content, chance) :]


def _cut_out(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    del content[at : at + chance.choice((1, 4, 16, 256))]


def _repeat(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    content[at:at] = content[at : at + chance.choice((1, 8, 64, 1024))] * chance.choice((1, 2, 50))


def _insert(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    word = chance.choice(WORDS).encode("utf-8", "surrogatepass") if chance.random() < 0.5 else chance.randbytes(8)
    content[at:at] = word


def _blank(content: bytearray, chance: Random) -> None:
    at = _place(content, chance)
    size = min(chance.choice((4, 32, 512)), len(content) - at)
    content[at : at + size] = bytes(size)


_OF_BYTES: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_flip, _overwrite, _cut_off, _cut_out, _repeat, _insert, _blank),
)


def mutated_tree(tree: Any, chance: Random) -> Any:
    """A copy of a tree of dicts and lists, of which one or two parts are something else, missing, or too much."""
    found = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 2))):
        places = list(_containers(found))
        if not places:
            return chance.choice(VALUES)
        place = chance.choice(places)
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        what = chance.random()
        if not keys or what < 0.1:
            key = chance.choice(("unknown", "", "__class__", LONG, "\ud800", "target", "format"))
            if isinstance(place, dict):
                place[key] = chance.choice(VALUES)
            else:
                place.append(chance.choice(VALUES))
        elif what < 0.25:
            del place[chance.choice(keys)]
        elif what < 0.3:
            place[chance.choice(keys)] = copy.deepcopy(found)
        else:
            place[chance.choice(keys)] = copy.deepcopy(chance.choice(VALUES))
    return found


def _containers(tree: Any) -> Any:
    """The dicts and lists of a tree that hold something or could."""
    if isinstance(tree, dict | list):
        yield tree
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _containers(item)
