"""The page on the small model, once for all tests that look at it, and what they do with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lvdm.app.server import Access, serving
from lvdm.hosting.library import Library
from lvdm.hosting.limits import Limits

LIMITS = Limits(
    max_upload=0.3,
    max_image_megapixels=0.04,
    max_megapixels=0.02,
    max_frames=12,
    max_steps=60,
    max_videos=3,
    max_queue=4,
)
CHROMIUM = "/usr/bin/chromium-headless-shell"


@contextlib.contextmanager
def served_page(library: Library, limits: Limits = LIMITS) -> Iterator[str]:
    """Its address."""
    with serving(library, Access(port=0), limits, "cpu", measure=False) as address:
        yield address


def call(client: Any, mode: str, **values: Any) -> Any:
    """What an endpoint gives at its end."""
    return client.submit(**values, api_name=f"/{mode}").result(timeout=120)


def refused(client: Any, mode: str, **values: Any) -> str:
    """Why an endpoint refuses."""
    with pytest.raises(Exception) as caught:
        call(client, mode, **values)
    return str(caught.value)


def left_behind(folder: Path) -> list[str]:
    """The names of all files under `folder`."""
    return sorted(file for _, _, files in os.walk(folder) for file in files)
