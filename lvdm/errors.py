"""Errors that a user can fix. The command line shows these as one line; every other exception is a bug of ours.

An error that one module raises is defined in that module; here are the base class and those that several raise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something that the user can fix; the message says in one line what is wrong, where, and what to do."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message says what is wrong, with which file, and what to do."""


class OutOfMemoryError(UserError, RuntimeError):
    """The device's memory does not hold the generation; the message says what makes it smaller."""


def counted(count: int, noun: str) -> str:
    """A number of things in words, such as "1 frame" or "16 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


MAX_PROBLEMS = 10
"""Problems that one message lists."""


class Problems:
    """What is wrong with the rows of a list, gathered so that all of it is said at once.

    Each row is read inside `with problems.of_row():`, which keeps a `ValueError`; `check` raises what was kept.
    """

    def __init__(self) -> None:
        self._errors: list[ValueError] = []

    @contextmanager
    def of_row(self, place: str = "") -> Iterator[None]:
        """Keep a `ValueError` of the block, with `place` before its message."""
        try:
            yield
        except ValueError as error:
            self._errors.append(
                type(error)(f"{place}{error}") if place and str(error)[: len(place)] != place else error
            )

    def check(self) -> None:
        """Raise the `ValueError` that was kept; of several one of the same class with all of them, up to a limit."""
        if len(self._errors) < 2:
            for error in self._errors:
                raise error
            return
        lines = [str(error) for error in self._errors[:MAX_PROBLEMS]]
        if len(self._errors) > MAX_PROBLEMS:
            lines.append(f"and {len(self._errors) - MAX_PROBLEMS} more")
        raise type(self._errors[0])(f"{len(self._errors)} problems:\n" + "\n".join(lines)) from self._errors[0]
