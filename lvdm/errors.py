"""Errors that a user can fix. The command line shows these as one line; every other exception is a bug of ours.

An error that one module raises is defined in that module; here are the base class and those that several raise.
"""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user can fix; the message says in one line what is wrong, where, and what to do."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message says what is wrong, with which file, and what to do."""


class OutOfMemoryError(UserError, RuntimeError):
    """The device's memory does not hold the generation; the message says what makes it smaller."""
