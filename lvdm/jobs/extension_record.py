"""The record of a longer video, as it is read for a replay; `lvdm.jobs.extend` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lvdm.config import parse_dataclass
from lvdm.declaration.parameter import current_names
from lvdm.jobs.record_parts import (
    file_of,
    files_of_model,
    hashed_files,
    located,
    of_type,
    part,
    present_keys,
    read_as,
    require,
    threads_of,
    values_of_parts,
)
from lvdm.media.ownership import EXTENSION_FORMAT
from lvdm.pipeline.extension_request import Extension
from lvdm.plugins.registry import method_files
from lvdm.request.digest import InputFile
from lvdm.request.layers import DERIVED, Values, checked
from lvdm.request.settings import GenerationSettings


@dataclass(frozen=True)
class ExtensionRecord:
    """What the record of an extended video says: parameters, and files with their hashes."""

    path: Path
    video: str
    values: Values
    threads: int
    files: Sequence[InputFile]

    def located_values(self) -> Values:
        """`values` with the video where it lies now: it may have been moved with the record."""
        there = {"video": located(self.path, self.values.values["video"])}
        return replace(self.values, values={**self.values.values, **there})


def read_extension_record(path: Path) -> ExtensionRecord:
    """Read the record of an extended video. Raises `ValueError` for a file that is not one."""
    refusal = "{path} is not the record of an extended video ({reason}); give the .json beside one, of no older version"
    return read_as(path, [EXTENSION_FORMAT], _parse, refusal)


def _parse(path: Path, record: Mapping[str, Any]) -> ExtensionRecord:
    origin, model, runtime = part(record, "source"), present_keys(part(record, "model")), part(record, "runtime")
    extension = parse_dataclass(Extension, part(record, "extension"), "extension")
    settings = GenerationSettings(**current_names(GenerationSettings, part(record, "settings")))
    values = settings.as_dict() | asdict(extension)
    for name in ("mode", "num_videos_per_prompt"):
        del values[name]
    values |= {name: record[name] for name in ("prompt", "negative_prompt", "seed")}
    values |= values_of_parts(model, runtime)
    values["playback_fps"] = record["playback_fps"]
    values["reader"] = runtime.get("reader")  # older ones were made with the default
    values["video"] = file_of(origin["video"], "source.video")
    require(values, "prompt", "seed", "config", "checkpoint")
    found = checked(values)
    layer = Values().under(found, "record", [name for name in DERIVED if name in found])
    hashes = part({"files": {}, **record}, "files")  # older ones have none
    places: dict[str, tuple[Any, Any]] = {"video": (origin["video"], of_type(origin["sha256"], str, "source.sha256"))}
    places |= {name: (getattr(settings, name), hashes.get(f"{name}_sha256")) for name in method_files()}
    files = [*files_of_model(model), *hashed_files(places)]
    return ExtensionRecord(path, str(record["video"]), layer, threads_of(runtime), files)
