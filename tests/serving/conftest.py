"""Where the server is tested: the small model, a folder of jobs, and a client in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from serving_client import Server, running
from shared_models import models_are_loaded_once as models_are_loaded_once
from small_model import write_small_model

from lvdm.hosting.library import ListedModel, read_library
from lvdm.hosting.limits import Limits
from lvdm.serving.settings import Settings


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ListedModel]:
    """The small model, which can do every mode but text-to-video, under the name tiny."""
    folder = write_small_model(tmp_path_factory.mktemp("models") / "tiny")
    return read_library([f"tiny={folder}"]).models


@pytest.fixture
def start(tmp_path: Path, models: Mapping[str, ListedModel]) -> Iterator[Callable[..., Server]]:
    """Start a server with other settings than the usual ones; it ends with the test."""
    with ExitStack() as stack:

        def started(jobs: Path = tmp_path / "jobs", limits: Limits | None = None, **changes: Any) -> Server:
            settings = Settings(jobs, changes.pop("models", models), limits=limits or Limits(), **changes)
            return stack.enter_context(running(settings))

        yield started


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    """A server with the usual settings."""
    return start()
