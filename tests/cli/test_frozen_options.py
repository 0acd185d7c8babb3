"""Every flag that a command or a script once had is still taken, with a value or without as then."""

from __future__ import annotations

import json
from typing import Any

import pytest
from frozen_options import OPTIONS, accepts, accepts_in_script, all_options, commands

from lvdm.cli.options import present_flags
from lvdm.request.layers import all_parameters

FROZEN: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(OPTIONS.read_text(encoding="utf-8"))
GENERATING = ("animate", "interpolate", "loop", "text-to-video", "extend")
IN_THE_DECLARATION = ("--schedule", "--seed", "--num-videos", "--keep", "--device", "--dtype")
DEFAULTS_THAT_MAY_CHANGE = (
    {
        (command, flag): "left out, it has the default of its declaration, which is the same"
        for command in GENERATING
        for flag in IN_THE_DECLARATION
    }
    | {
        (command, option["flags"][0]): "serve and app have the same limits, the larger of the two"
        for command in ("serve", "app")
        for option in FROZEN["commands"][command]
        if option["flags"][0].startswith("--max-")
    }
    | {
        ("evaluate manifest", "--role"): "left out, it is real, which a list of procedural clips does not read",
        ("evaluate score", "--workers"): "left out, it is 0, which only --extract reads",
        ("evaluate compare", "--workers"): "left out, it is 0, which only --extract reads",
    }
)
"""(command, flag) -> why. That the library now fills in the same value, and not the option, is a reason."""
NOT_GIVEN = ("None", "False", "[]", "")
"""Defaults that all mean: not given."""


def faults(before: dict[str, Any], taken: dict[str, Any] | None, flag: str) -> list[str]:
    """How `flag`, once of the option `before`, is no longer what it was as one of `taken`."""
    if taken is None:
        return [f"{flag} is no longer accepted"]
    found = []
    if before["takes_value"] != taken["takes_value"]:
        found.append(f"{flag} {'takes a value' if taken['takes_value'] else 'takes no value'} now")
    if before["often"] and not taken["often"]:
        found.append(f"{flag} can be given only once now")
    return found


@pytest.mark.parametrize("name", FROZEN["commands"])
def test_every_flag_of_a_command_is_still_accepted(name: str) -> None:
    known = commands()
    assert name in known, f"the command {name} is gone"
    found = [
        line
        for option in FROZEN["commands"][name]
        if not option["argument"]
        for flag in (*option["flags"], *option["off"])
        for line in faults(option, accepts(known[name], flag), flag)
    ]
    assert not found, f"{name}: {'; '.join(found)}"


@pytest.mark.parametrize("name", FROZEN["commands"])
def test_a_command_still_takes_as_many_arguments(name: str) -> None:
    arguments = [parameter for parameter in commands()[name].params if parameter.param_type_name == "argument"]
    before = [option for option in FROZEN["commands"][name] if option["argument"]]
    assert len(arguments) >= len(before)


@pytest.mark.parametrize("name", FROZEN["scripts"])
def test_every_flag_of_a_script_is_still_accepted_with_its_default(name: str) -> None:
    found = []
    for option in FROZEN["scripts"][name]:
        for flag in option["flags"]:
            taken = accepts_in_script(name, flag)
            found += faults(option, taken, flag)
            if taken is not None and taken["default"] != option["default"]:
                found.append(f"{flag} is {taken['default']} when left out, was {option['default']}")
    assert not found, f"{name}: {'; '.join(found)}"


def test_defaults_of_commands_stay() -> None:
    known, found = commands(), []
    for name, options in FROZEN["commands"].items():
        for option in options:
            flag = option["flags"][0]
            taken = None if option["argument"] else accepts(known[name], flag)
            before, now = option["default"], taken["default"] if taken else option["default"]
            silent = before in NOT_GIVEN and now in NOT_GIVEN
            if before != now and not silent and (name, flag) not in DEFAULTS_THAT_MAY_CHANGE:
                found.append(f"{name} {flag} is {now} when left out, was {before}")
    assert not found, "; ".join(found)


def test_what_is_left_out_has_the_default_of_its_declaration() -> None:
    declared = {declared.flag: declared.default for declared in all_parameters().values()}
    for option in FROZEN["commands"]["animate"]:
        (flag,) = present_flags([option["flags"][0]], all_parameters())
        if option["flags"][0] in IN_THE_DECLARATION:
            assert str(declared[flag]) == option["default"], f"{flag} has another default"


def test_the_list_is_not_empty_and_a_missing_flag_is_seen() -> None:
    """What the other tests rest on."""
    assert sum(map(len, FROZEN["commands"].values())) > 300
    assert len(FROZEN["scripts"]["scripts/evaluation/inference.py"]) >= 28
    command = commands()["animate"]
    assert accepts(command, "--no-fix-final-step")
    assert accepts(command, "-p") == accepts(command, "--prompt")
    steps = next(option for option in FROZEN["commands"]["animate"] if option["flags"] == ["--steps"])
    assert faults(steps, accepts(command, "--stepps"), "--stepps") == ["--stepps is no longer accepted"]
    assert faults(steps, accepts(command, "--low-memory"), "--steps") == ["--steps takes no value now"]


def test_every_command_is_listed() -> None:
    """A new command, or a new option, is frozen too: by `python tests/freeze.py options`."""
    now = all_options()
    assert now["commands"].keys() == FROZEN["commands"].keys()
    assert now["scripts"].keys() == FROZEN["scripts"].keys()
