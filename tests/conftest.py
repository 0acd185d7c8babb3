"""What all test processes do once: objects of the imports are not searched again, and command lines are built once."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator

import pytest
import typer.testing


def pytest_configure() -> None:
    """Build the command line of an app once, not for each call of it: 24 commands with all their options."""
    gc.disable()  # imports make millions of objects and hardly any garbage
    typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    """Look for garbage again, more seldom than is usual."""
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _what_stays_is_not_searched_again() -> None:
    """Leave what imports made, millions of objects that stay, out of every later search for garbage.

    Commands import more as they run: a search took half a second at the end of the suite, and some readers ask for one
    at each file.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _files_are_not_forced_to_the_disk() -> Iterator[None]:
    """A file that is written safely waits for the disk, thousands of times; no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
