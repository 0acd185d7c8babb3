"""The error of everything that reads or writes checkpoints."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what is wrong, with which file, and what to do."""
