"""Scores: every metric of an evaluation out of the cached records, with the two baselines that give it a meaning.

Real clips against real clips show the least that a distance can be, and input images that are static show what
fidelity is worth without motion.
"""

from __future__ import annotations

import dataclasses
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import lvdm
from lvdm.content_hash import hash_text
from lvdm.errors import counted
from lvdm.evaluation.blas_threads import one_blas_thread
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import FrameScaling
from lvdm.evaluation.clip_sets import Evaluation, Reconstruction
from lvdm.evaluation.distances import (
    MIN_DISTANCE_CLIPS,
    Rows,
    distance_curve,
    distance_row,
    distances_of,
    halves,
    set_problems,
    subset_rows,
    why_unreliable,
)
from lvdm.evaluation.extraction import PlannedRecord, planned_records
from lvdm.evaluation.features.protocol import FeatureExtractor
from lvdm.evaluation.manifest import Entry, Manifest
from lvdm.evaluation.metrics.from_records import ClipNumbers, clip_numbers, similarities_to_image
from lvdm.evaluation.metrics.registry import higher_is_better
from lvdm.evaluation.metrics.similarity import IMAGE_SIMILARITY
from lvdm.evaluation.protocols import Protocol
from lvdm.evaluation.records import Records, SetRecords, load_records
from lvdm.evaluation.resampling import MIN_RANKED_CLIPS, Interval, percentile_interval, resampled_indices
from lvdm.evaluation.results import (
    FAKE,
    REAL,
    STILL,
    Curve,
    ExtractorNote,
    FrameCurve,
    MetricRow,
    ProtocolNote,
    Results,
    SetNote,
    VideoRow,
)
from lvdm.versions import installed_version

PACKAGES = ("dynamicrafter", "numpy", "torch", "av", "safetensors")


def score(
    cache: FeatureCache,
    evaluation: Evaluation,
    extractors: Sequence[FeatureExtractor],
    reconstruction: Reconstruction | None = None,
) -> Results:
    """Score what was extracted; reads no video, only hashes of files that are not known yet.

    Raises `MissingRecordsError` if something was not extracted, `ManifestError` for manifests that do not fit.
    """
    protocol = evaluation.protocol
    planned = planned_records(cache, evaluation.sets(extractors, reconstruction), FrameScaling.of(protocol))
    records = load_records(cache, planned)
    with one_blas_thread():
        numbers = {name: clip_numbers(records.of(name)) for name in (FAKE, REAL, STILL)}
        distances, curves = _distances(records, protocol)
        means = [row for name in numbers for row in _means(numbers[name], name, records, protocol)]
        frame_curves = tuple(_frame_curves(records, protocol))
    return Results(
        protocol=protocol_note(protocol),
        sets=tuple(_set_notes(evaluation, planned, records)),
        extractors=tuple(_notes(planned)),
        metrics=(*distances, *means),
        curves=tuple(curves),
        frame_curves=frame_curves,
        problems=(*records.failed, *evaluation.skipped()),
        devices=records.devices,
        seeds={"protocol": protocol.seed},
        versions=versions(),
        videos=tuple(_video_rows(evaluation, numbers)),
    )


def versions() -> dict[str, str | None]:
    """Versions of packages, and the commit where this package lies in a checkout of its own."""
    found = {name: installed_version(name) for name in PACKAGES}
    return {**found, "commit": _commit(Path(lvdm.__file__).parent.parent)}


def protocol_note(protocol: Protocol) -> ProtocolNote:
    """Name and fields, for a file."""
    return ProtocolNote(protocol.name, protocol.fields())


def set_note(name: str, manifest: Manifest, records: Records, listed: Sequence[str]) -> SetNote:
    """What became of the clips of a set, of which `listed` were to be read."""
    failed = {problem.id for problem in records.failed if problem.set == name}
    return SetNote(
        name=name,
        manifest=manifest.name,
        manifest_sha256=manifest.sha256,
        listed=len(manifest.entries),
        read=len(set(listed) - failed),
        skipped=len(manifest.entries) - len(set(listed)),
        failed=len(failed),
        reader=manifest.reader,
    )


def _set_notes(evaluation: Evaluation, planned: Sequence[PlannedRecord], records: Records) -> list[SetNote]:
    manifests = {FAKE: evaluation.fake, REAL: evaluation.real, STILL: evaluation.fake}
    return [
        set_note(name, manifest, records, [record.spec.id for record in planned if record.set == name])
        for name, manifest in manifests.items()
        if manifest is not None
    ]


def _notes(planned: Sequence[PlannedRecord]) -> list[ExtractorNote]:
    extractors = {record.extractor.id: record.extractor for record in planned}
    return [ExtractorNote(name, extractors[name].dtype, extractors[name].weights_sha256) for name in sorted(extractors)]


def _distances(records: Records, protocol: Protocol) -> tuple[list[MetricRow], list[Curve]]:
    rows: list[MetricRow] = []
    curves: list[Curve] = []
    by_set = {name: {group.extractor.id: group for group in records.of(name)} for name in (FAKE, REAL, STILL)}
    for extractor, real in by_set[REAL].items():
        if not _has_features(real):
            continue
        for name in (FAKE, STILL):
            group = by_set[name].get(extractor)
            if group is None or not _has_features(group):
                continue
            failed = sum(problem.set in (name, REAL) for problem in records.failed)
            found = _compare(group.features(), real.features(), extractor, name, protocol, protocol.clips, failed)
            rows, curves = rows + found[0], curves + found[1]
        first, second = halves(list(real.values), _rank)
        if len(first) >= MIN_DISTANCE_CLIPS:
            found = _compare(real.features(first), real.features(second), extractor, REAL, protocol, None, 0)
            rows, curves = rows + found[0], curves + found[1]
    return rows, curves


def _compare(
    x: Rows, real: Rows, extractor: str, name: str, protocol: Protocol, required: int | None, failed: int
) -> tuple[list[MetricRow], list[Curve]]:
    """Every distance of the rows x of set `name` from real ones, and its curve; `asked` as in `why_unreliable`."""
    rows, curves = [], []
    for distance in distances_of(protocol, extractor):
        curve = distance_curve(distance, name, x, real, protocol.seed)
        rows.append(distance_row(distance, name, x, real, protocol, curve))
        curves.append(curve)
    if "kernel_subsets" in protocol.metrics:
        rows += subset_rows(protocol, extractor, name, x, real)
    reasons = [why_unreliable(row, x.shape[1], required, failed) for row in rows]
    return [dataclasses.replace(row, unreliable=why) for row, why in zip(rows, reasons, strict=True)], curves


def _means(numbers: Sequence[ClipNumbers], name: str, records: Records, protocol: Protocol) -> list[MetricRow]:
    failed = sum(problem.set == name for problem in records.failed)
    intervals = _intervals([list(metric.values.values()) for metric in numbers], protocol)
    rows = []
    for metric, interval in zip(numbers, intervals, strict=True):
        row = MetricRow(
            name=metric.name,
            set=name,
            value=math.fsum(metric.values.values()) / len(metric.values),
            low=None if interval is None else interval.low,
            high=None if interval is None else interval.high,
            n=len(metric.values),
            unique=min(metric.unique, len(metric.values)),
            higher_is_better=higher_is_better(metric.name),
        )
        reasons = set_problems(row, protocol.clips, failed)
        if row.n < MIN_RANKED_CLIPS:
            reasons.append(f"{counted(row.n, 'clip')}: too few for an interval of 95 %, it takes {MIN_RANKED_CLIPS}")
        rows.append(dataclasses.replace(row, unreliable="; ".join(reasons)))
    return rows


def _intervals(columns: Sequence[Sequence[float]], protocol: Protocol) -> list[Interval | None]:
    """The interval of the mean of each column, as `bootstrap_mean` has it; columns of one length are drawn together."""
    found: list[Interval | None] = [None] * len(columns)
    for length in {len(column) for column in columns if len(column) > 1}:
        places = [place for place, column in enumerate(columns) if len(column) == length]
        table = np.array([columns[place] for place in places]).T  # (n, columns)
        draws = resampled_indices([length], protocol.seed, protocol.resamples)
        means = np.array([table[index].mean(axis=0) for (index,) in draws])  # (resamples, columns)
        for place, values in zip(places, means.T, strict=True):
            found[place] = percentile_interval(values)
    return found


def _frame_curves(records: Records, protocol: Protocol) -> list[FrameCurve]:
    curves = []
    for name in (FAKE, REAL, STILL):
        for group in records.of(name):
            courses = list(similarities_to_image(group).values())
            if len(courses) < 2 or len({len(course) for course in courses}) > 1:
                continue
            frames = np.stack(courses).T  # (t, n)
            intervals = [interval for interval in _intervals(frames.tolist(), protocol) if interval is not None]
            curve = FrameCurve(
                IMAGE_SIMILARITY.title_of(group.extractor.id),
                name,
                tuple(float(values.mean()) for values in frames),
                tuple(interval.low for interval in intervals),
                tuple(interval.high for interval in intervals),
            )
            curves.append(curve)
    return curves


def _video_rows(evaluation: Evaluation, numbers: dict[str, list[ClipNumbers]]) -> list[VideoRow]:
    manifests = {FAKE: evaluation.fake, REAL: evaluation.real, STILL: evaluation.fake}
    rows = []
    for name, manifest in manifests.items():
        for entry in manifest.entries if manifest is not None else ():
            values = {metric.name: metric.values.get(entry.id) for metric in numbers[name]}
            if any(value is not None for value in values.values()):
                rows.append(_video_row(name, entry, values))
    return rows


def _video_row(name: str, entry: Entry, values: dict[str, float | None]) -> VideoRow:
    video = entry.image or entry.video if name == STILL else entry.video
    return VideoRow(name, entry.id, video, entry.start, entry.stride, entry.frames, entry.prompt, values)


def _has_features(group: SetRecords) -> bool:
    """Whether the extractor gives one vector a clip, and there are enough of them."""
    return len(group.values) >= MIN_DISTANCE_CLIPS and all("features" in values for values in group.values.values())


def _rank(clip: str) -> str:
    return hash_text(f"{clip}/half")


def _commit(folder: Path) -> str | None:
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
