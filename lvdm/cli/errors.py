"""Expected errors as one red line and an exit code, instead of a traceback."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from lvdm.consoles import last_on_any_console
from lvdm.errors import UserError

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes: the request cannot be carried out as it is; it could, but something failed; Ctrl-C."""
FINISHED_WITH_FAILURES = 3
"""Exit code: everything was done that could be, and some clips or videos failed."""

TRACEBACK_VARIABLE = "DYNAMICRAFTER_TRACEBACK"
"""Set this environment variable to see where an error came from."""

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


@contextlib.contextmanager
def _short_usage_errors() -> Iterator[None]:
    """Cut what errors of the parser repeat of the command line."""
    try:
        yield
    except _UsageError as error:
        from lvdm.documents import one_line

        error.message = one_line(error.message)
        raise


class OneLineErrors(TyperGroup):
    """A group of commands whose errors are for users, not for programmers."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Parse and run, on any console."""
        last_on_any_console()
        return super().main(*args, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the command."""
        with _short_usage_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn expected errors into an exit code."""
        try:
            with _short_usage_errors():
                return super().invoke(ctx)
        except (KeyboardInterrupt, *EXPECTED) as error:
            code = report_error(error)
            if code is None:
                raise
            raise typer.Exit(code) from None
