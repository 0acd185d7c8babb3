"""Records as others may see them: without the places of files on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lvdm.plugins.registry import method_files
from lvdm.request.layers import file_inputs

PATHS = (*file_inputs(), *method_files(), "video", "config", "checkpoint", "encoders", "file")
"""Keys of a record whose values are names of files."""


def public_record(record: Any, files: Mapping[str, Path] | None = None) -> Any:
    """A record in which files are called by their names alone, and those of `files` as it calls them."""
    return _public(record, {str(path): name for name, path in (files or {}).items()})


def _public(part: Any, names: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _called(value, names) if key in PATHS else _public(value, names) for key, value in part.items()}
    return [_public(item, names) for item in part] if isinstance(part, list) else part


def _called(value: Any, names: Mapping[str, str]) -> Any:
    return names.get(value, Path(value).name) if isinstance(value, str) else _public(value, names)
