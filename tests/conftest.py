"""What all test processes do once: objects of the imports are not searched again, and command lines are built once."""

from __future__ import annotations

import functools
import gc

import pytest
import typer.testing


def pytest_configure() -> None:
    """Build the command line of an app once, not for each call of it: 24 commands with all their options."""
    typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what the imports made, a million objects that stay, out of every later search for garbage."""
    gc.collect()
    gc.freeze()
