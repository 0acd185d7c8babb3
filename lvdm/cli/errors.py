"""Expected errors as one red line and an exit code, instead of a traceback."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from lvdm.cli.options import CommandWithFormerFlags, former_flags
from lvdm.consoles import last_on_any_console
from lvdm.declaration.parameter import Declared
from lvdm.errors import UserError
from lvdm.suggestions import suggest

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes: the request cannot be carried out as it is; it could, but something failed; Ctrl-C."""
FINISHED_WITH_FAILURES = 3
"""Exit code: everything was done that could be, and some clips or videos failed."""

TRACEBACK_VARIABLE = "DYNAMICRAFTER_TRACEBACK"
"""Set this environment variable to see where an error came from."""

_KINDS = {"int": "a whole number", "float": "a number", "bool": "yes or no"}
"""Values in words, by how their errors begin."""

_BOUNDS = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}

_UsageError: Any = typer.BadParameter.__base__
"""What the parser raises for words that are no command, no option, or no value of one."""

EXPECTED = (UserError, ValueError, OSError, MemoryError)
"""ValueErrors without a class of their own are those of values that a function refuses; OSErrors those of files."""

NO_MEMORY = "there is not enough memory: close other programs, or ask for less; a damaged file may ask for anything"


def report_error(error: BaseException) -> int | None:
    """Print an expected error as one red line on stderr and return the exit code; None for a bug."""
    if isinstance(error, KeyboardInterrupt):
        message, code = "interrupted; files that were not finished have been removed", INTERRUPTED
    elif os.environ.get(TRACEBACK_VARIABLE) or not isinstance(error, EXPECTED):
        return None
    elif isinstance(error, MemoryError):
        message, code = f"{NO_MEMORY} ({str(error) or 'no more is said'})", FAILED
    else:
        message, code = str(error), FAILED if isinstance(error, OSError | RuntimeError) else WRONG_INPUT
    from lvdm.documents import one_line  # yaml takes a moment to import

    line = Text(f"Error: {one_line(message)}", style="bold red")
    Console(stderr=True, soft_wrap=True, highlight=False).print(line)
    return code


def _report_usage(error: Any) -> None:
    """Say in one line what the parser did not understand, and leave; that nothing was typed is answered by the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return
    code = report_error(UserError(_of_usage(error)))
    if code is not None:
        raise typer.Exit(code) from None


def _of_usage(error: Any) -> str:
    """What was typed and is not possible, and what may have been meant, or where all is listed."""
    words, context = str(error.format_message()).rstrip("."), error.ctx
    place = f"see `{context.command_path} --help`" if context else ""
    kind, _, name = words.partition(" '" if "'" in words else ": ")
    known: list[str] = []
    if hasattr(error, "option_name") and words.startswith("No such option"):
        shown = [parameter for parameter in context.command.params if not getattr(parameter, "hidden", False)]
        known = [flag for parameter in shown for flag in (*parameter.opts, *parameter.secondary_opts)]
        kind, name = "option", error.option_name
    elif words.startswith("No such command"):
        known, kind, name = list(context.command.commands), "command", name.partition("'")[0]
    elif hasattr(error.__cause__, "errors") and error.param is not None:
        first, flag = error.__cause__.errors()[0], error.param.opts[0]
        declared = _declared(context.command).get(error.param.name)
        allowed = declared.allowed if declared else _allowed(first)
        return f"{flag} {first['input']!r:.60} is not possible; {f'use {allowed}' if allowed else place}"
    if not known:
        return f"{words[:1].lower()}{words[1:]}; {place}".removesuffix("; ")
    near = suggest(name, [*known, *former_flags(_declared(context.command))] if kind == "option" else known)
    return f"{kind} {name[:60]!r} is not known; {near if near.startswith('did you mean') else place}"


def _allowed(error: Mapping[str, Any]) -> str:
    """What is possible in the place of a value that pydantic refused; "" where it does not say."""
    bounds = [words.format(error["ctx"][name]) for name, words in _BOUNDS.items() if name in error.get("ctx", {})]
    return bounds[0] if bounds else _KINDS.get(error["type"].partition("_")[0], "")


def _declared(command: Any) -> Mapping[str, Declared]:
    return command.declared() if isinstance(command, CommandWithFormerFlags) else {}


class OneLineErrors(TyperGroup):
    """A group of commands whose errors are for users, not for programmers."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Parse and run, on any console."""
        last_on_any_console()
        return super().main(*args, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the command."""
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            _report_usage(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn expected errors into an exit code."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            _report_usage(error)
            raise
        except (KeyboardInterrupt, *EXPECTED) as error:
            code = report_error(error)
            if code is None:
                raise
            raise typer.Exit(code) from None
