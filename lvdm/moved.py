"""Modules under the names of the version before: importable for this one, with a `DeprecationWarning`."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

MEDIA = (
    *("atomic", "codecs", "contact_sheet", "containers", "file_names", "geometry", "html_page", "images", "masks"),
    *("ownership", "reading_back", "video_backends", "video_reader", "video_writer"),
)
PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lvdm.checkpoint.errors": ("lvdm.errors",),
        "lvdm.data.procedural_pictures": ("lvdm.data.procedural_images",),
        "lvdm.evaluation.features.clip_towers": ("lvdm.evaluation.features.clip_encoders",),
        "lvdm.evaluation.flow": ("lvdm.quality.flow",),
        "lvdm.evaluation.quality": ("lvdm.quality.report", "lvdm.quality.generated", "lvdm.quality.ranking"),
        "lvdm.evaluation.warping": ("lvdm.quality.warping",),
        "lvdm.fit.callbacks.pictures": ("lvdm.fit.callbacks.media_logging",),
        "lvdm.generation": ("lvdm.request.settings", "lvdm.plugins.settings"),
        "lvdm.memory": ("lvdm.pipeline.memory",),
        "lvdm.model_loading": ("lvdm.pipeline.loading",),
        "lvdm.plugins.early_start": ("lvdm.plugins.truncated_start",),
        "lvdm.plugins.extension": ("lvdm.pipeline.extension",),
        "lvdm.plugins.late_weights": ("lvdm.plugins.second_stage",),
        "lvdm.plugins.ring": ("lvdm.plugins.cyclic",),
        "lvdm.plugins.seams": ("lvdm.plugins.hooks",),
        "lvdm.plugins.shelves": ("lvdm.plugins.activation_offload",),
        "lvdm.plugins.weak_guidance": ("lvdm.plugins.perturbed_guidance",),
        "lvdm.provenance": ("lvdm.jobs.record", "lvdm.versions"),
        "lvdm.request_checks": ("lvdm.pipeline.requests",),
        "lvdm.results": ("lvdm.pipeline.results", "lvdm.pipeline.requests"),
        "lvdm.runtime": ("lvdm.pipeline.runtime",),
        **{f"lvdm.data.{name}": (f"lvdm.media.{name}",) for name in MEDIA},
    }
)
"""By its former name, where what a module held is now."""


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules by former names, after everything else has found none."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module that hands on the names of the present ones; None for a name that was never one of ours."""
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in PLACES else None

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and look names up in the present modules."""
        name = module.__name__
        places = PLACES[name]
        now = " and ".join(places)
        warnings.warn(f"{name} is {now} now; the old name goes with the next version", DeprecationWarning, stacklevel=2)
        module.__doc__ = f"Moved to {now}."

        def look_up(attribute: str) -> Any:
            # others ask every module for its `__file__`, torch in the middle of its own import
            for place in () if attribute.startswith("__") else places:
                found = importlib.import_module(place)
                if hasattr(found, attribute):
                    return getattr(found, attribute)
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}; see {now}")

        module.__getattr__ = look_up  # type: ignore[method-assign]


def install() -> None:
    """Let imports of former names succeed. Done once, when `lvdm` is imported."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
