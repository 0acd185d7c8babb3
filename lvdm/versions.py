"""Versions of what decides on the numbers of a video."""

from __future__ import annotations

import functools
import importlib.metadata
import platform

PACKAGES = ("dynamicrafter", "torch", "open_clip_torch", "pillow", "av")


def versions() -> dict[str, str | None]:
    """Those of Python and of the packages that decide on the numbers of a video."""
    return {"python": platform.python_version(), **{name: installed_version(name) for name in PACKAGES}}


@functools.cache
def installed_version(package: str) -> str | None:
    """Version of a package, None if it is not installed. It is looked up once: its description is read for it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
