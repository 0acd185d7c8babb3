"""The options of the generating commands, made from the declaration of parameters (`lvdm.request`)."""

from __future__ import annotations

import functools
import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from lvdm.declaration.parameter import ALL_MODES, Declared, parameters_of
from lvdm.hosting.limits import Limits
from lvdm.request.layers import all_parameters

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A model that may be chosen: NAME=PATH, or the name of a released one; the first is the usual one. May be "
        "given often; left out, the embedded one and the released ones that are here.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files there that were not made here.")]
"""Of every command that writes: what was not made here is replaced only when it is given."""
Device = Annotated[str, typer.Option(help="auto, cpu, or what `doctor` lists.")]

PLACES = ("image", "end_image")
"""Parameters that commands take by their place, without a flag."""
FRAME_AND_VALUE = re.compile(r"\d+=.+")


def with_parameters(
    mode: str, *also: str, without: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, whose last parameter is `typed: Mapping[str, Any]`, every parameter as an option.

    `typed` holds what was typed, by name. Parameters that neither `mode` nor the modes `also` read are hidden from
    `--help`; typed all the same, they are refused by name. So are those in `without`.
    """

    options = [declared for name, declared in all_parameters().items() if declared.flag and name not in PLACES]
    return with_options(options, {mode, *also}, without=without)


def with_options(
    options: Sequence[Declared], modes: set[str], panel: str = "", without: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same with these parameters, of which those in `without`, and those that none of `modes` reads, are hidden.

    panel: what `--help` shows them under; left out, their groups
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "typed"
        ]
        added = [
            _option(declared, set() if declared.name in without else modes, panel or declared.parameter.group)
            for declared in options
        ]

        @functools.wraps(command)
        def wrapped(*args: Any, **values: Any) -> None:
            given = {declared.name: values.pop(declared.name) for declared in options}
            command(*args, **values, typed={name: value for name, value in given.items() if value not in (None, [])})

        wrapped.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
        return wrapped

    return decorate


def _option(declared: Declared, modes: set[str], panel: str) -> inspect.Parameter:
    kind: Any = _cli_type(declared)
    flag = declared.flag
    short = [alias for alias in declared.parameter.aliases if not alias.startswith("--")]
    shown = f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag
    option = typer.Option(
        shown,
        *short,
        help=_help(declared),
        rich_help_panel=panel,
        hidden=modes.isdisjoint(declared.parameter.modes),
        show_default=False,
    )
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(declared.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _cli_type(declared: Declared) -> Any:
    """What the command line reads; ranges and choices are checked by the declaration, for all sources alike."""
    if declared.kind in (int, float, bool, Path):
        return declared.kind
    return list[str] if _is_repeated(declared) else str


def _is_repeated(declared: Declared) -> bool:
    return typing.get_origin(declared.kind) is tuple


def _help(declared: Declared) -> str:
    """The help of a parameter with its range and its default."""
    parameter, remarks = declared.parameter, list[str]()
    if declared.kind in (int, float) and declared.bounds[1] < math.inf:
        remarks.append(f"{declared.range} {parameter.unit}".rstrip())
    if parameter.card:
        remarks.append("default: as the checkpoint's card says")
    elif declared.default not in (None, "", (), False):
        remarks.append(f"default: {declared.default}")
    return parameter.help + (escape(f" [{'; '.join(remarks)}]") if remarks else "")


def former_flags(parameters: Mapping[str, Declared]) -> Mapping[str, str]:
    """Long flags of earlier versions, and those that `--help` shows in their place."""
    found: dict[str, str] = {}
    for declared in parameters.values():
        found |= {flag: declared.flag for flag in declared.flags[1:] if flag.startswith("--")}
    return MappingProxyType(found)


class CommandWithFormerFlags(TyperCommand):
    """A command that also takes the flags of earlier versions."""

    def declared(self) -> Mapping[str, Declared]:
        """The parameters that it has as options."""
        raise NotImplementedError

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args` under the present flags."""
        return super().parse_args(ctx, present_flags(args, self.declared()))


class GeneratingCommand(CommandWithFormerFlags):
    """One that makes videos, and takes several values after `--keyframe`."""

    def declared(self) -> Mapping[str, Declared]:
        """See `CommandWithFormerFlags`."""
        return all_parameters()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `CommandWithFormerFlags`."""
        return super().parse_args(ctx, repeated_flags(present_flags(args, self.declared())))


class HostingCommand(CommandWithFormerFlags):
    """One that lets others make videos, within limits."""

    def declared(self) -> Mapping[str, Declared]:
        """See `CommandWithFormerFlags`."""
        return parameters_of(Limits)


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose last parameter is `typed: Mapping[str, Any]`, every limit as an option."""
    return with_options(list(parameters_of(Limits).values()), set(ALL_MODES), "Limits")(command)


def present_flags(args: Sequence[str], parameters: Mapping[str, Declared]) -> list[str]:
    """`args` with the present flags in the place of those of earlier versions."""
    former, found = former_flags(parameters), list[str]()
    for word in args:
        flag, equals, value = word.partition("=")
        found.append(f"{former[flag]}{equals}{value}" if flag in former else word)
    return found


def repeated_flags(args: Sequence[str]) -> list[str]:
    """`args` with `--keyframe` before every FRAME=FILE that follows a value of it: 0=a.png 15=b.png."""
    repeated: list[str] = []
    for word in args:
        if len(repeated) > 1 and repeated[-2] == "--keyframe" and FRAME_AND_VALUE.fullmatch(word):
            repeated.append("--keyframe")
        repeated.append(word)
    return repeated
