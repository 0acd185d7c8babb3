"""What a scoring and a comparison found, as files: `results.json` and `per_video.csv`, `comparison.json`.

Nothing in them depends on the time, on the place of the files or on the order of the clips, so that the same cache
gives the same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lvdm.config import ConfigError, parse_dataclass
from lvdm.data.tables import csv_rows
from lvdm.documents import DocumentError, read_json, read_text, short_text
from lvdm.errors import UserError
from lvdm.media.atomic import atomic_path, write_json
from lvdm.media.ownership import check_replaceable

SCHEMA = "dynamicrafter-evaluation/1"
COMPARISON_SCHEMA = "dynamicrafter-comparison/1"
RESULTS_FILE, VIDEOS_FILE, COMPARISON_FILE = "results.json", "per_video.csv", "comparison.json"

FAKE, REAL, STILL = "fake", "real", "still"
"""Names of the sets: the clips that are evaluated; real clips; each input image repeated, as a static clip.

Where real clips are compared with real clips, as the least that a distance can be, the set is `real`: its two halves.
"""

Verdict = Literal["A is better", "B is better", "not separated", "separated"]
"""`separated`: the interval of the difference leaves out 0, of a measure that is neither good nor bad by itself."""

_CLIP_COLUMNS = ("set", "id", "video", "start", "stride", "frames", "prompt")


class ResultsError(UserError):
    """A results file that cannot be read; the message names it and the reason."""


@dataclass(frozen=True)
class ProtocolNote:
    """The protocol's name and all of its fields, in the order of its file."""

    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class SetNote:
    """One set of clips: its manifest's file name and the SHA-256 of its content, and how many clips became what.

    `listed` = `read` + `skipped` + `failed`. A set of stills has the manifest that it was made from. `reader` decoded
    the videos.
    """

    name: str
    manifest: str
    manifest_sha256: str
    listed: int
    read: int
    skipped: int
    failed: int
    reader: str = "pyav"


@dataclass(frozen=True)
class ClipProblem:
    """A clip that has no numbers: `kind` is failed (it could not be read) or skipped (the protocol leaves it out)."""

    set: str
    id: str
    kind: Literal["failed", "skipped"]
    reason: str


@dataclass(frozen=True)
class ExtractorNote:
    """Where features or measures come from. `weights_sha256` is None for what has no weights."""

    id: str
    dtype: str
    weights_sha256: str | None


@dataclass(frozen=True)
class MetricRow:
    """One number of one set, with everything that says how far it can be trusted.

    name              with extractor or unit, such as FD[stpyr-v1]
    set               `FAKE`, `STILL` or `REAL`
    value             None where it is not defined
    low, high         the bootstrap's 95 % interval; None where there is none
    n, unique         clips it is made of, and how many of them differ
    floor             what two samples of one distribution of this size give on average; None for means over clips
    extrapolated      the value at infinitely many clips, along 1/N; None for means over clips
    unreliable        why it should not be published; "" when nothing speaks against it
    higher_is_better  None where neither direction is better, as of motion
    """

    name: str
    set: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    unique: int
    floor: float | None = None
    extrapolated: float | None = None
    unreliable: str = ""
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class Curve:
    """A distance against the number of clips: `values[i]` of `sizes[i]` clips a side; `floors` as in `MetricRow`."""

    name: str
    set: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    floors: tuple[float, ...]


@dataclass(frozen=True)
class FrameCurve:
    """A mean over the clips for each frame, such as the similarity to the input image, with its 95 % interval."""

    name: str
    set: str
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class VideoRow:
    """The numbers of one clip, by metric name; None where one is not defined.

    `video` is written as in the manifest, relative to it. Frames are `start`, `start` + `stride`, ... of that file.
    """

    set: str
    id: str
    video: str
    start: int
    stride: int
    frames: int
    prompt: str
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Results:
    """Everything that a scoring found. `versions`: packages, and the commit where there is a checkout."""

    protocol: ProtocolNote
    sets: tuple[SetNote, ...]
    extractors: tuple[ExtractorNote, ...]
    metrics: tuple[MetricRow, ...]
    curves: tuple[Curve, ...]
    frame_curves: tuple[FrameCurve, ...]
    problems: tuple[ClipProblem, ...]
    devices: tuple[str, ...]
    seeds: Mapping[str, int]
    versions: Mapping[str, str | None]
    videos: tuple[VideoRow, ...] = field(default=(), repr=False)
    schema: str = SCHEMA

    def metric(self, name: str, set_name: str = FAKE) -> MetricRow | None:
        """The row of a metric for a set; None if there is none."""
        return next((row for row in self.metrics if (row.name, row.set) == (name, set_name)), None)


@dataclass(frozen=True)
class MetricDifference:
    """A metric of two sets of videos of the same inputs: `difference` = `b` - `a`, with its paired 95 % interval.

    `n` counts the ids that both have. `low` and `high` are None where there is no interval: then nothing is separated.
    """

    name: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    n: int
    higher_is_better: bool | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two sets A and B by the same protocol, metric by metric."""

    protocol: ProtocolNote
    a: SetNote
    b: SetNote
    differences: tuple[MetricDifference, ...]
    seeds: Mapping[str, int]
    versions: Mapping[str, str | None]
    schema: str = COMPARISON_SCHEMA


def check_results_place(folder: str | Path, overwrite: bool = False) -> None:
    """Raise `OutputError` if `write_results` would replace what it did not write."""
    results = Path(folder) / RESULTS_FILE
    check_replaceable(results, overwrite)
    check_replaceable(Path(folder) / VIDEOS_FILE, overwrite, beside=results)


def check_comparison_place(folder: str | Path, overwrite: bool = False) -> None:
    """Raise `OutputError` if `write_comparison` would replace what it did not write."""
    check_replaceable(Path(folder) / COMPARISON_FILE, overwrite)


def write_results(results: Results, folder: str | Path) -> None:
    """Write `results.json` and `per_video.csv` into `folder`. Raises `OutputError`."""
    content = {name: value for name, value in _plain(results).items() if name != "videos"}
    write_json(Path(folder) / RESULTS_FILE, {"schema": content.pop("schema"), **content})
    with atomic_path(Path(folder) / VIDEOS_FILE) as temporary:
        temporary.write_text(_video_table(results.videos), encoding="utf-8", errors="backslashreplace", newline="")


def read_results(folder: str | Path) -> Results:
    """Read what `write_results` wrote. Raises `ResultsError`."""
    path = Path(folder) / RESULTS_FILE
    results: Results = _parsed(Results, path, SCHEMA, "score again")
    return dataclasses.replace(results, videos=_read_videos(Path(folder) / VIDEOS_FILE))


def write_comparison(comparison: Comparison, folder: str | Path) -> None:
    """Write `comparison.json` into `folder`. Raises `OutputError`."""
    content = _plain(comparison)
    write_json(Path(folder) / COMPARISON_FILE, {"schema": content.pop("schema"), **content})


def read_comparison(folder: str | Path) -> Comparison:
    """Read what `write_comparison` wrote. Raises `ResultsError`."""
    path = Path(folder) / COMPARISON_FILE
    comparison: Comparison = _parsed(Comparison, path, COMPARISON_SCHEMA, "compare again")
    return comparison


def _plain(record: Any) -> dict[str, Any]:
    """A dataclass for JSON. A number that is not finite, which JSON cannot hold, becomes None."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return {name: plain(value) for name, value in dataclasses.asdict(record).items()}


def _parsed(kind: type, path: Path, schema: str, hint: str) -> Any:
    """What `path` holds, with every value of its type. Raises `ResultsError`."""
    try:
        return parse_dataclass(kind, _read_json(path, schema), schema)
    except ConfigError as error:
        raise ResultsError(f"{path}: has not the content of {schema} ({error}); {hint}") from error


def _read_json(path: Path, schema: str) -> dict[str, Any]:
    try:
        tree = read_json(path)
    except FileNotFoundError as error:
        raise ResultsError(f"{path}: there is no such file") from error
    except DocumentError as error:
        raise ResultsError(str(error)) from error
    found = tree.get("schema") if isinstance(tree, dict) else None
    if found != schema:
        raise ResultsError(f"{path}: its schema is {short_text(found)}, this version reads {schema!r}")
    return tree


def _video_table(videos: Sequence[VideoRow]) -> str:
    """CSV, one clip a row; numbers with all digits, empty where there is none."""
    names = list(dict.fromkeys(name for video in videos for name in video.values))
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_CLIP_COLUMNS, *names])
    for video in videos:
        numbers = [video.values.get(name) for name in names]
        cells = ["" if number is None or not math.isfinite(number) else repr(float(number)) for number in numbers]
        writer.writerow([*(getattr(video, column) for column in _CLIP_COLUMNS), *cells])
    return file.getvalue()


def _read_videos(path: Path) -> tuple[VideoRow, ...]:
    try:
        text = read_text(path, ResultsError)
        return tuple(_video_row(row) for _, row in csv_rows(path, text, "prompts", ResultsError))
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, ResultsError):
            raise
        raise ResultsError(f"{path}: cannot be read ({error}); score again") from error


def _video_row(row: Mapping[str, str]) -> VideoRow:
    return VideoRow(
        set=row["set"],
        id=row["id"],
        video=row["video"],
        start=int(row["start"]),
        stride=int(row["stride"]),
        frames=int(row["frames"]),
        prompt=row["prompt"],
        values={name: float(cell) if cell else None for name, cell in row.items() if name not in _CLIP_COLUMNS},
    )
