"""Manifests: which frames of which files are the clips of a set, one line each, found again by their id.

A manifest is a .jsonl or .csv file beside which, or below which, the videos lie: its paths are relative to it. Two sets
are paired by id and by nothing else. What a clip is does not depend on the order of the lines.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.config import parse_dataclass
from lvdm.content_hash import hash_text
from lvdm.data.source_files import shorten_list
from lvdm.data.tables import csv_rows, jsonl_rows
from lvdm.documents import is_utf8, json_text, read_text, short_text
from lvdm.errors import UserError
from lvdm.evaluation.clip_files import ClipSpec, has_rate
from lvdm.media.atomic import OutputError, atomic_path
from lvdm.media.video_backends import Backend

_SAFE_ID = re.compile(r"[^\x00-\x1f<>:\"/\\|?*.\s][^\x00-\x1f<>:\"/\\|?*]{0,199}")
_WHOLE, _REAL = ("start", "stride", "frames", "seed"), ("fps",)


class ManifestError(UserError):
    """A manifest that cannot be used, or two that do not fit; the message says where and what to do."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One clip of a manifest.

    id          unique, and usable as a file name
    video       a video, a folder of frames or an array, relative to the manifest
    start, stride, frames   frames `start`, `start` + `stride`, ...; `frames` of them
    fps         frames per second of the file, where it holds none or a wrong one
    prompt, image, last_image   what it was generated from; images relative to the manifest
    seed        what it was generated with
    skip        why the protocol leaves the clip out; "" where it does not
    """

    id: str
    video: str
    start: int = 0
    stride: int = 1
    frames: int
    fps: float | None = None
    prompt: str = ""
    image: str = ""
    last_image: str = ""
    seed: int | None = None
    skip: str = ""

    def __post_init__(self) -> None:
        """Raise `ValueError` for an id that is no name, and for frames that cannot be."""
        if not _SAFE_ID.fullmatch(self.id):
            raise ManifestError(f"the id {self.id!r} cannot be the name of a file; use letters, digits, - and _")
        if not self.video:
            raise ManifestError(f"{self.id}: names no video")
        for name, minimum in (("start", 0), ("stride", 1), ("frames", 1)):
            if getattr(self, name) < minimum:
                raise ManifestError(f"{self.id}: {name} = {getattr(self, name)} should be at least {minimum}")
        if self.fps is not None and not 0 < self.fps < 1e4:
            raise ManifestError(f"{self.id}: fps = {self.fps} should be more than 0")


COLUMNS = tuple(field.name for field in dataclasses.fields(Entry))


@dataclass(frozen=True)
class Manifest:
    """The clips of a set in the order of their ids, with the folder that their paths are relative to.

    `reader` is what decodes the videos here, and `unreadable` names those that could not be opened when the manifest
    was made; neither is written.
    """

    name: str
    folder: Path
    entries: tuple[Entry, ...]
    reader: Backend = "pyav"
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `ManifestError` for no clips and for an id that is there twice."""
        if not self.entries:
            raise ManifestError(f"{self.name}: lists no clips")
        seen: set[str] = set()
        twice = [entry.id for entry in self.entries if entry.id in seen or seen.add(entry.id)]  # type: ignore[func-returns-value]
        if twice:
            raise ManifestError(f"{self.name}: {len(twice)} ids are there more than once: {shorten_list(twice)}")
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=lambda entry: entry.id)))

    @property
    def sha256(self) -> str:
        """Of the content: the same for the same clips in another order or format."""
        rows = [dataclasses.asdict(entry) for entry in self.entries]
        return hash_text(json.dumps(rows, sort_keys=True))

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return [entry.id for entry in self.entries]

    def with_rate(self, fps: float) -> Manifest:
        """The same clips, those of files without a rate at `fps` where their lines have none either."""

        def rated(entry: Entry) -> Entry:
            silent = entry.fps is None and not has_rate(self.folder / entry.video)
            return dataclasses.replace(entry, fps=fps) if silent else entry

        return dataclasses.replace(self, entries=tuple(rated(entry) for entry in self.entries))

    def spec(self, entry: Entry) -> ClipSpec:
        """Where to read a clip from."""
        image, last_image = (self.folder / name if name else None for name in (entry.image, entry.last_image))
        video = self.folder / entry.video
        return ClipSpec(
            *(entry.id, video, entry.start, entry.stride, entry.frames, entry.fps, entry.prompt, image, last_image),
            reader=self.reader,
        )


def read_manifest(path: str | Path) -> Manifest:
    """Read a .jsonl or .csv manifest. Raises `ManifestError`."""
    path = Path(path)
    rows = read_table(path)
    if any("frames" not in row for _, row in rows):
        raise ManifestError(
            f"{path}: has no `frames` for every clip, it is a list of videos; make a manifest of it with "
            "`dynamicrafter evaluate manifest`"
        )
    entries = tuple(parse_dataclass(Entry, row, f"{path}, {place}") for place, row in rows)
    return Manifest(path.name, path.parent, entries)


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write the clips to a .jsonl or .csv file, whose folder should be that of the manifest. Raises `OutputError`."""
    path = Path(path)
    rows = [dataclasses.asdict(entry) for entry in manifest.entries]
    if _kind(path) == ".csv":
        other = next((cell for row in rows for cell in row.values() if not is_utf8(str(cell))), None)
        if other is not None:
            raise OutputError(
                f"{path}: nothing was written: {short_text(other)} is no UTF-8; give a .jsonl, which can hold it"
            )
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    else:
        kept = [{name: value for name, value in row.items() if value not in (None, "")} for row in rows]
        text = "".join(json_text(row) + "\n" for row in kept)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def read_table(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Rows with their places in the file; cells of a .csv as the columns of `Entry` want them, empty ones left out."""
    kind = _kind(path)
    text = read_text(path, ManifestError)
    if kind == ".csv":
        rows = csv_rows(path, text, "prompts", ManifestError)
        return [(place, _from_cells(row, f"{path}, {place}")) for place, row in rows]
    return [
        (place, {key: value for key, value in row.items() if value is not None})
        for place, row in jsonl_rows(path, text, "id, video", ManifestError)
    ]


def check_pairing(real: Manifest, fake: Manifest) -> None:
    """Raise `ManifestError` unless both list the same ids; the message names those that either misses."""
    missing = [
        f"{other.name} lacks {len(lacking)} ids of {own.name}: {shorten_list(lacking)}"
        for own, other in ((real, fake), (fake, real))
        if (lacking := sorted(set(own.ids) - set(other.ids)))
    ]
    if missing:
        raise ManifestError("clips are paired by id: " + "; ".join(missing))


def stills_of(fake: Manifest, real: Manifest | None) -> list[ClipSpec]:
    """The input image of each generated clip, as a static clip.

    It is the image of the generated clip's line, else that of the real clip of this id, else the first frame of that
    real clip, else the generated clip's own first frame. Size and rate are those of the real clip where there is one,
    so that the stills of several models are the same.
    """
    partners: Mapping[str, Entry] = {entry.id: entry for entry in real.entries} if real else {}
    specs = []
    for entry in fake.entries:
        own = fake.spec(entry)
        base = real.spec(partners[entry.id]) if real and entry.id in partners else own
        image = own.image or base.image
        specs.append(dataclasses.replace(base, frames=own.frames, prompt=own.prompt, image=image, still=True))
    return specs


def with_inputs(entries: Iterable[Entry], like: Manifest, folder: Path, source: str) -> list[Entry]:
    """Generated clips with prompt, images and rate of the clips of the same ids in `like`.

    The rate is that of the other clip: both show the same time. Raises `ManifestError` if the ids are not the same.
    """
    entries = list(entries)
    check_pairing(like, Manifest(source, folder, tuple(entries)))
    known = {entry.id: entry for entry in like.entries}
    filled = []
    for entry in entries:
        other = known[entry.id]
        fps = entry.fps if other.fps is None else other.fps / other.stride * entry.stride
        image, last_image = (
            relative_path(like.folder / name, folder) if name else "" for name in (other.image, other.last_image)
        )
        prompt, seed = entry.prompt or other.prompt, entry.seed if entry.seed is not None else other.seed
        filled.append(
            dataclasses.replace(
                entry,
                prompt=prompt,
                image=entry.image or image,
                last_image=entry.last_image or last_image,
                fps=fps,
                seed=seed,
            )
        )
    return filled


def relative_path(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, with forward slashes; absolute where there is no way, as between Windows drives."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise ManifestError(f"{path}: a manifest is a .jsonl or .csv file")
    return kind


def _from_cells(row: Mapping[str, str | None], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, cell in row.items():
        if cell is None or cell == "":
            continue
        try:
            values[key.strip()] = int(cell) if key in _WHOLE else float(cell) if key in _REAL else cell
        except ValueError as error:
            raise ManifestError(f"{where}: {key} should be a number, it is {cell!r}") from error
    return values
