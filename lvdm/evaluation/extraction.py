"""Features of all clips of an evaluation into the cache: what is there stays, what is missing is made.

Clips are read one at a time, in as many processes as wished; features are computed in batches. Nothing that is written
depends on the number of processes, the size of a batch, or which part of the work a process was given.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lvdm.deprecation import renamed_names
from lvdm.device import device_name
from lvdm.errors import UserError
from lvdm.evaluation.cache import FeatureCache, NotFiniteError
from lvdm.evaluation.clip_files import ClipSpec, FrameScaling, load_clip
from lvdm.evaluation.features.protocol import FeatureExtractor, LoadedClip, Record
from lvdm.progress import ProgressCallback, report_progress

logger = logging.getLogger(__name__)


class ExtractionError(UserError):
    """An extraction that cannot be done as it was asked for; the message says why."""


@dataclass(frozen=True)
class ClipSet:
    """Clips under the name of their set, and what is extracted from each."""

    name: str
    specs: tuple[ClipSpec, ...]
    extractors: tuple[FeatureExtractor, ...]


@dataclass(frozen=True)
class PlannedRecord:
    """One record: its place in the cache. `problem` says why it can have none, as the file is not there."""

    set: str
    spec: ClipSpec
    extractor: FeatureExtractor
    key: str
    problem: str = ""


@dataclass(frozen=True)
class ExtractionJob:
    """A clip that is read once, for all records that are missing of it."""

    spec: ClipSpec
    records: tuple[PlannedRecord, ...]

    @property
    def wanted(self) -> tuple[PlannedRecord, ...]:
        """The old name of `records`."""
        warnings.warn("`wanted` is now `records`; the old name goes with the next version", DeprecationWarning, 2)
        return self.records


@dataclass(frozen=True)
class Prepared:
    """The clip of job `index` was read: for each record what the extractor needs, or why there will be none."""

    index: int
    inputs: tuple[Record | str, ...]


@dataclass(frozen=True)
class ExtractionFailure:
    """A clip without a record, and the reason in one line."""

    set: str
    id: str
    video: str
    extractor: str
    reason: str


@dataclass(frozen=True)
class ExtractionReport:
    """How many records were made now, and were there; clips without one. `missing` are left to other parts."""

    made: int
    kept: int
    missing: int
    failures: tuple[ExtractionFailure, ...]


def planned_records(
    cache: FeatureCache,
    sets: Sequence[ClipSet],
    scaling: FrameScaling,
    workers: int = 1,
    on_progress: ProgressCallback | None = None,
) -> list[PlannedRecord]:
    """Every record of the sets, in their order. Reads the content of files that are not known yet."""
    files = [path for clips in sets for spec in clips.specs for path in spec.files]
    cache.hashes.hash_all(files, workers, on_progress)
    found = []
    for clips in sets:
        for spec in clips.specs:
            try:
                keys, problem = cache.keys(spec, scaling, clips.extractors), ""
            except OSError as error:
                keys = [""] * len(clips.extractors)
                problem = f"{error.filename or spec.video}: {error.strerror or error}"
            for extractor, key in zip(clips.extractors, keys, strict=True):
                found.append(PlannedRecord(clips.name, spec, extractor, key, problem))
    return found


def find_jobs(
    cache: FeatureCache, planned: Sequence[PlannedRecord], part: int = 0, parts: int = 1
) -> list[ExtractionJob]:
    """What is to do for part `part` of `parts` (from 0 on): clips with records that are missing or damaged.

    The parts do not overlap, and do not depend on what is there. Raises `ExtractionError` for a part that is none.
    """
    if not 0 <= part < parts:
        raise ExtractionError(f"there is no part {part} of {parts}; parts are counted from 0")
    by_clip: dict[tuple[str, ClipSpec], list[PlannedRecord]] = {}
    seen: set[tuple[str, str]] = set()
    for record in planned:
        place = (record.extractor.id, record.key)
        if not record.problem and place not in seen:  # one file may be in two sets
            seen.add(place)
            by_clip.setdefault((record.set, record.spec), []).append(record)
    jobs = []
    for records in list(by_clip.values())[part::parts]:
        missing = tuple(record for record in records if cache.read(record.extractor.id, record.key) is None)
        if missing:
            jobs.append(ExtractionJob(missing[0].spec, missing))
    return jobs


class ClipReader(Dataset[Prepared]):
    """Jobs by number, each with its clip read and prepared for the extractors."""

    def __init__(self, jobs: Sequence[ExtractionJob], scaling: FrameScaling) -> None:
        self.jobs = jobs
        self.scaling = scaling

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Prepared:
        job = self.jobs[index]
        with _one_thread():
            try:
                clip = load_clip(job.spec, self.scaling)
            except (ValueError, OSError) as error:
                return Prepared(index, (_one_line(error),) * len(job.records))
            return Prepared(index, tuple(_prepare(record, clip) for record in job.records))


class FeatureWriter:
    """Computes features of prepared clips in batches, and writes them. Ask for the last ones with `flush`."""

    def __init__(self, cache: FeatureCache, batch_size: int) -> None:
        if batch_size < 1:
            raise ExtractionError(f"a batch holds at least one clip, not {batch_size}")
        self.cache = cache
        self.batch_size = batch_size
        self._waiting: dict[str, list[tuple[PlannedRecord, Record]]] = {}

    def add(self, job: ExtractionJob, prepared: Prepared) -> None:
        """Take the clip of a job; computes what makes a full batch."""
        for reason in dict.fromkeys(inputs for inputs in prepared.inputs if isinstance(inputs, str)):
            logger.warning("%s %s: %s", job.records[0].set, job.spec.id, reason)
        for record, inputs in zip(job.records, prepared.inputs, strict=True):
            if isinstance(inputs, str):
                self.cache.write_failure(record.extractor.id, record.key, inputs)
                continue
            name = record.extractor.id
            waiting = self._waiting.setdefault(name, [])
            if waiting and _signature(waiting[0][1]) != _signature(inputs):
                self._finish(name)
            self._waiting[name].append((record, inputs))
            if len(self._waiting[name]) >= self.batch_size:
                self._finish(name)

    def flush(self) -> None:
        """Compute and write what is left."""
        for name in list(self._waiting):
            self._finish(name)

    def _finish(self, name: str) -> None:
        waiting, self._waiting[name] = self._waiting[name], []
        while waiting:
            part, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
            try:
                self._compute(part)
            except (RuntimeError, MemoryError) as error:
                if not _is_lack_of_memory(error) or self.batch_size == 1:
                    raise
                self.batch_size = max(1, min(len(part), self.batch_size) // 2)
                logger.warning("not enough memory for %d clips at once, going on with %d", len(part), self.batch_size)
                waiting = part + waiting

    def _compute(self, part: Sequence[tuple[PlannedRecord, Record]]) -> None:
        extractor = part[0][0].extractor
        batch = {name: torch.stack([inputs[name] for _, inputs in part]) for name in part[0][1]}
        with torch.inference_mode():
            features = extractor(batch)
        for number, (record, _) in enumerate(part):
            own = {name: value[number] for name, value in features.items()}
            try:
                self.cache.write(extractor.id, record.key, own, _device_of(extractor))
            except NotFiniteError as error:
                logger.warning("%s %s: %s", record.set, record.spec.id, error)
                self.cache.write_failure(extractor.id, record.key, str(error))


def run_jobs(
    jobs: Sequence[ExtractionJob],
    writer: FeatureWriter,
    scaling: FrameScaling,
    workers: int = 0,
    on_progress: ProgressCallback | None = None,
) -> None:
    """Do the jobs in this process, reading clips in `workers` others (0: in this one too).

    What was written stays when it is interrupted. Raises `OutputError` when the cache cannot be written.
    """
    if workers < 0:
        raise ExtractionError(f"there cannot be {workers} workers")
    loader: DataLoader[Any] = DataLoader(
        ClipReader(jobs, scaling), batch_size=None, num_workers=min(workers, len(jobs)), collate_fn=as_it_is
    )
    for done, prepared in enumerate(loader, start=1):
        writer.add(jobs[prepared.index], prepared)
        report_progress(on_progress, "clips", done, len(jobs))
    writer.flush()


def as_it_is(prepared: Any) -> Any:
    """Instead of the conversion of a `DataLoader`, which is for plain tensors."""
    return prepared


def report_on(cache: FeatureCache, planned: Sequence[PlannedRecord], jobs: Sequence[ExtractionJob]) -> ExtractionReport:
    """What became of `planned`, of which `jobs` were done now, by what lies in the cache."""
    doing = {(record.extractor.id, record.key) for job in jobs for record in job.records}
    made = kept = missing = 0
    failures = []
    for record in planned:
        if not record.problem and cache.has(record.extractor.id, record.key):
            is_new = (record.extractor.id, record.key) in doing
            made, kept = made + is_new, kept + (not is_new)
            continue
        reason = record.problem or cache.failure(record.extractor.id, record.key)
        if reason is None:
            missing += 1
        else:
            failures.append(
                ExtractionFailure(record.set, record.spec.id, record.spec.video.name, record.extractor.id, reason)
            )
    return ExtractionReport(made, kept, missing, tuple(failures))


def _prepare(record: PlannedRecord, clip: LoadedClip) -> Record | str:
    extractor = record.extractor
    if len(clip.frames) < extractor.min_frames:
        return f"{record.spec.video}: {extractor.id} needs {extractor.min_frames} frames, it has {len(clip.frames)}"
    try:
        return extractor.preprocess(clip)
    except ValueError as error:
        return f"{record.spec.video}: {_one_line(error)}"


def _signature(record: Record) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    """What records must have in common to be one batch."""
    return [(name, tuple(value.shape), value.dtype) for name, value in record.items()]


def _is_lack_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help; on the CPU torch has no error of its own for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _device_of(extractor: FeatureExtractor) -> str:
    """What the extractor says that it runs on; the CPU for those that need no device."""
    device = getattr(extractor, "device", None)
    return device_name(device) if isinstance(device, torch.device) else "cpu"


@contextmanager
def _one_thread() -> Iterator[None]:
    """The sums of a clip are made in one order, in reading processes (which have one thread) and in this one."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


__getattr__ = renamed_names(
    __name__,
    {
        "Job": "ExtractionJob",
        "Report": "ExtractionReport",
        "Failure": "ExtractionFailure",
        "find_wanted": "planned_records",
    },
)
