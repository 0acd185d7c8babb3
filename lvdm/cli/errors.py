"""Expected errors as one red line and an exit code, instead of a traceback."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from lvdm.errors import UserError

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes: the request cannot be carried out as it is; it could, but something failed; Ctrl-C."""
FINISHED_WITH_FAILURES = 3
"""Exit code: everything was done that could be, and some clips or videos failed."""

TRACEBACK_VARIABLE = "DYNAMICRAFTER_TRACEBACK"
"""Set this environment variable to see where an error came from."""

EXPECTED = (UserError, ValueError, OSError)
"""ValueErrors without a class of their own are those of values that a function refuses; OSErrors those of files."""


def report_error(error: BaseException) -> int | None:
    """Print an expected error as one red line on stderr and return the exit code; None for a bug."""
    if isinstance(error, KeyboardInterrupt):
        message, code = "interrupted; files that were not finished have been removed", INTERRUPTED
    elif os.environ.get(TRACEBACK_VARIABLE) or not isinstance(error, EXPECTED):
        return None
    else:
        message, code = str(error), FAILED if isinstance(error, OSError | RuntimeError) else WRONG_INPUT
    from lvdm.documents import one_line  # yaml takes a moment to import

    line = Text(f"Error: {one_line(message)}", style="bold red")
    Console(stderr=True, soft_wrap=True, highlight=False).print(line)
    return code


def show_any_name() -> None:
    """Let a name that the console cannot show be written as its codes: it is no reason to fail after the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class OneLineErrors(TyperGroup):
    """A group of commands whose errors are for users, not for programmers."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn expected errors into an exit code."""
        show_any_name()
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, *EXPECTED) as error:
            code = report_error(error)
            if code is None:
                raise
            raise typer.Exit(code) from None
