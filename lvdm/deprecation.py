"""Names that changed: the old ones go on working for one version, with a `DeprecationWarning`."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def renamed_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of `module` that gives what `names` (old -> new) have become.

    A new name of another module is written with its module: `lvdm.media.images.load_image`.
    """

    def getattr_of_module(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, attribute = names[name].rpartition(".")
        warnings.warn(
            f"{module}.{name} is now {place or module}.{attribute}; the old name goes with the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(place or module), attribute)

    return getattr_of_module


def warn_of_former_name(former: str, name: str) -> None:
    """A `DeprecationWarning` for a parameter given as `former`, at the line outside of the library."""
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "lvdm":
        depth, frame = depth + 1, frame.f_back
    message = f"{former} is called {name} now; the old name goes with the next version"
    warnings.warn(message, DeprecationWarning, stacklevel=depth)
