"""Every option and argument of every command, each with something wrong in its place."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from typer.main import get_command

from lvdm.cli.app import app

BASES: Mapping[str, str] = {
    "animate": "CAT --prompt a --dry-run",
    "interpolate": "CAT CAT --prompt a --dry-run",
    "loop": "CAT --prompt a --dry-run",
    "text-to-video": "a --dry-run",
    "structure": "a --depth CLIP --dry-run",
    "extend": "CLIP --prompt a --dry-run",
    "batch": "LIST --dry-run",
    "info": "SMALL",
    "convert": "SMALL out.safetensors",
    "merge": "SMALL SMALL out.safetensors",
    "benchmark": "--compare LIST LIST",
    "serve": "",
    "data check": ". --workers 1",
    "data cache": "",
    "story plan": "STORY --output out",
    "story export": "STORY --output out",
    "story write": "an idea",
    "evaluate manifest": "out.jsonl --procedural --count 1",
    "evaluate compare": "CLIP CLIP --output out",
    "evaluate score": "--fake CLIP --output out",
    "stats motion": "",
    "stats analytic-init": "",
}
"""What each command needs besides; those that are not here, or end nowhere by themselves, are left out."""


@functools.cache
def command_line() -> Any:
    """`dynamicrafter`, with all its commands and options: making it takes longer than most cases."""
    return get_command(app)


@functools.cache
def places() -> tuple[tuple[str, str], ...]:
    """(command, option) of every option, and (command, number) of every argument."""
    return tuple(
        (name, place) for name, command in _commands(command_line()) if name in BASES for place in _places(command)
    )


def option_words(chance: Random, word: str) -> tuple[str, ...]:
    """A command with `word` in the place of one option or argument. Words in capitals stand for files."""
    name, place = chance.choice(places())
    base = BASES[name].split()
    if place.startswith("--"):
        return (*name.split(), *base, f"{place}={word}")
    number = int(place)
    base[number : number + 1] = [word]
    return (*name.split(), *base)


def _commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    inside = getattr(command, "commands", None)
    if inside is None:
        yield name, command
        return
    for word, each in inside.items():
        yield from _commands(each, f"{name} {word}".strip())


def _places(command: Any) -> Iterator[str]:
    arguments = 0
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield str(arguments)
            arguments += 1
        elif parameter.name != "help":
            yield next(flag for flag in parameter.opts if flag.startswith("--"))
