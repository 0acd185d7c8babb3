"""The options of every command and script as plain data, and whether a command takes a flag."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import typer
from golden_vectors import GOLDEN

from lvdm.cli.app import app
from lvdm.cli.inference import get_parser
from lvdm.cli.options import CommandWithFormerFlags, present_flags
from lvdm.fit.arguments import build_parser

OPTIONS = GOLDEN / "frozen" / "options.json"
HELP = GOLDEN / "frozen" / "help.txt"
Options = list[dict[str, Any]]


def commands() -> dict[str, Any]:
    """Every command that does something, by its words, such as `evaluate score`."""
    return dict(_leaves(typer.main.get_command(app), ""))


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    for word, child in (below or {}).items():
        yield from _leaves(child, f"{name} {word}".strip())


def options_of(command: Any) -> Options:
    """Flags, default as text and the number of values of each option; arguments by their names."""
    return [
        {
            "flags": [parameter.name] if parameter.param_type_name == "argument" else list(parameter.opts),
            "off": list(parameter.secondary_opts),
            "argument": parameter.param_type_name == "argument",
            "takes_value": not getattr(parameter, "is_flag", False),
            "often": bool(getattr(parameter, "multiple", False)),
            "default": str(parameter.default),
        }
        for parameter in command.params
    ]


def options_of_parser(parser: argparse.ArgumentParser) -> Options:
    """The same for argparse."""
    return [
        {
            "flags": list(action.option_strings) or [action.dest],
            "off": [],
            "argument": not action.option_strings,
            "takes_value": action.nargs != 0,
            "often": action.nargs in ("*", "+"),
            "default": str(action.default),
        }
        for action in parser._actions
        if action.dest != "help"
    ]


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The scripts whose flags are the original's."""
    return {"scripts/evaluation/inference.py": get_parser(), "main/trainer.py": build_parser()}


def accepts(command: Any, flag: str) -> dict[str, Any] | None:
    """The option of `command` that takes `flag`, visible or hidden, as `options_of` has it; None: no option does."""
    if isinstance(command, CommandWithFormerFlags):
        (flag,) = present_flags([flag], command.declared())
    for option in options_of(command):
        if flag in (*option["flags"], *option["off"]):
            return option
    return None


def accepts_in_script(script: str, flag: str) -> dict[str, Any] | None:
    """The same for a script of `parsers`."""
    for option in options_of_parser(parsers()[script]):
        if flag in option["flags"]:
            return option
    return None


def all_options() -> dict[str, dict[str, Options]]:
    """What is stored."""
    return {
        "commands": {name: options_of(command) for name, command in commands().items()},
        "scripts": {name: options_of_parser(parser) for name, parser in parsers().items()},
    }
