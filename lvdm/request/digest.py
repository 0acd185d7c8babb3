"""What decides on the pixels and the file of a video, as plain data, and its digest.

Paths, devices, versions and what changes nothing but rounding are not part of it: a folder may be moved, and a video
is finished if and only if its record has the digest that is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.content_hash import content_hash
from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import parameters_of
from lvdm.plugins.registry import method_files
from lvdm.request.layers import SPEED, all_parameters

RESOLVED_ELSEWHERE = (*SPEED, "height", "width", "scale", *method_files())
"""Settings that facts have in another form: as `fs`, as a size, as a plan, as hashes of files."""


@dataclass(frozen=True)
class InputFile:
    """A file or an image in memory that a request was made with.

    parameter  whose value it is
    sha256     of the file; of an image in memory, of its size and pixels
    path       None for an image in memory
    frame      of a key frame
    """

    parameter: str
    sha256: str
    path: Path | None = None
    frame: int | None = None


@dataclass(frozen=True)
class FileSpec:
    """How a video is written.

    suffix        such as .mp4
    playback_fps  frames per second
    num_frames    frames in the file
    """

    suffix: str
    playback_fps: float
    num_frames: int


def setting_facts(settings: Any) -> dict[str, Any]:
    """The settings that change pixels, by name; those in `RESOLVED_ELSEWHERE` are left out.

    What a single other mode reads is left out too: a new mode does not change the digests of the others. So is a
    `later` parameter at its default.
    """
    return {
        declared.fact: declared.fact_of(as_text(getattr(settings, name)))
        for name, declared in parameters_of(type(settings)).items()
        if declared.parameter.changes != "nothing"
        and name not in RESOLVED_ELSEWHERE
        and (len(declared.parameter.modes) > 1 or settings.mode in declared.parameter.modes)
        and not (declared.parameter.later and getattr(settings, name) == declared.default)
    }


def files_of_methods(settings: Any) -> list[InputFile]:
    """The files that methods read, with hashes."""
    named = {name: getattr(settings, name) for name in method_files()}
    return [InputFile(name, content_hash(path), Path(path)) for name, path in named.items() if path is not None]


def file_facts(files: Sequence[InputFile]) -> list[list[Any]]:
    """Parameter, frame and hash of each, in an order of their own."""
    declared = all_parameters()
    return sorted(([declared[file.parameter].fact, file.frame, file.sha256] for file in files), key=str)


def digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of facts that JSON can hold, in hexadecimal; 3 and 3.0 are the same."""
    text = json.dumps(_plain(facts), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**53 else value
    return value
