"""Clips of a folder of videos with a CSV of captions: the training set format of WebVid.

What differs from the original is said in `lvdm.data.clip_frames` (the stride does not grow with every retry) and
`lvdm.data.video_source` (broken videos are not tried for ever).
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvdm.data.clip_frames import ClipOptions
from lvdm.data.source_files import DiskFiles, Inventory, SourceError, check_folder
from lvdm.data.tables import check_columns
from lvdm.data.transforms import SpatialTransform
from lvdm.data.video_source import VideoSource, usable_files
from lvdm.declaration.ranges import Steps, with_ranges
from lvdm.regular_files import open_regular, unreadable_reason

COLUMNS = ("videoid", "page_dir", "name")

_LOOKED_FOR = 20
"""Videos whose presence is checked at the start: the list may name ten million."""


@with_ranges
@dataclass(frozen=True, kw_only=True)
class WebVidConfig(ClipOptions):
    """The original's options.

    Videos lie at `data_dir/videos/<page_dir>/<videoid>.mp4`; the CSV `meta_path` has the columns videoid, page_dir and
    name (the caption). `subsample` keeps that many videos, always the same ones. `index_file` keeps the sizes of all
    files, see `SizeIndex`.
    """

    meta_path: str
    data_dir: str
    subsample: Steps | None = None
    index_file: str | None = None
    load_raw_resolution: bool = False
    spatial_transform: SpatialTransform | None = None


class WebVid(VideoSource):
    """The videos of a CSV. Raises `SourceError` when it is missing or malformed, or when its videos are not there."""

    Config = WebVidConfig

    def __init__(self, config: WebVidConfig) -> None:
        self.config = config
        files = usable_files(self.inventory(config), config.meta_path)
        super().__init__(files, config, config.meta_path, config.index_file)
        step = max(len(files) // _LOOKED_FOR, 1)
        looked_for = [files.path(index) for index in range(0, len(files), step)]
        if not any(path.is_file() for path in looked_for):
            raise SourceError(
                f"data_dir: none of {len(looked_for)} videos looked for is there, the first is {looked_for[0]}; "
                f"data_dir should hold videos/<page_dir>/<videoid>.mp4"
            )

    @staticmethod
    def inventory(config: WebVidConfig) -> Inventory:
        """The videos of the list; whether they are there is not looked at."""
        rows = _read_meta(Path(config.meta_path))
        if config.subsample is not None and config.subsample < len(rows):
            rows = random.Random(0).sample(rows, config.subsample)
        folder = check_folder(config.data_dir, "data_dir") / "videos"
        return Inventory(DiskFiles(folder, (name for name, _ in rows), (caption for _, caption in rows)))


def _read_meta(meta_path: Path) -> Sequence[tuple[str, str]]:
    """Relative paths and captions."""
    if reason := unreadable_reason(meta_path):
        raise SourceError(f"meta_path: {meta_path}: {reason}; give a CSV with the columns {', '.join(COLUMNS)}")
    try:
        with io.TextIOWrapper(open_regular(meta_path), encoding="utf-8-sig", newline="") as file:
            entries = list(_meta_rows(meta_path, csv.DictReader(file, strict=True)))
    except UnicodeDecodeError as error:
        raise SourceError(f"{meta_path}: is not UTF-8 text, save it as UTF-8") from error
    except csv.Error as error:
        raise SourceError(f"{meta_path}: is not valid CSV ({error})") from error
    if not entries:
        raise SourceError(f"{meta_path}: lists no videos")
    return entries


def _meta_rows(meta_path: Path, rows: csv.DictReader[str]) -> Iterator[tuple[str, str]]:
    check_columns(meta_path, rows.fieldnames or (), SourceError)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise SourceError(f"{meta_path}: no column {', '.join(missing)}; it has {', '.join(rows.fieldnames or ())}")
    for row in rows:
        if any(row[column] is None for column in COLUMNS):
            raise SourceError(f"{meta_path}, line {rows.line_num}: has fewer cells than the header")
        yield f"{row['page_dir']}/{row['videoid']}.mp4".lstrip("/"), row["name"]
