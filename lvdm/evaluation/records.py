"""What lies in the cache of the clips of an evaluation, brought together by set and extractor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvdm.errors import UserError
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.extraction import PlannedRecord
from lvdm.evaluation.features.protocol import FeatureExtractor
from lvdm.evaluation.metrics.metric import Values
from lvdm.evaluation.results import ClipProblem


class MissingRecordsError(UserError):
    """An evaluation of clips that were not all extracted; the message says how many and what to do."""


@dataclass(frozen=True)
class SetRecords:
    """The records of one set by one extractor: `values` by id, in the order of the ids.

    `unique` counts the clips that are made of other files, frames or inputs than all others.
    """

    set: str
    extractor: FeatureExtractor
    values: Mapping[str, Values]
    unique: int

    def features(self, ids: Sequence[str] | None = None) -> NDArray[np.float64]:
        """(n, d): features of the clips, or of those called `ids`, of an extractor that gives one vector a clip."""
        return np.stack([self.values[name]["features"] for name in (self.values if ids is None else ids)])


@dataclass(frozen=True)
class Records:
    """All records of an evaluation. `devices` are those that made them; `failed` are the clips without one."""

    groups: tuple[SetRecords, ...]
    failed: tuple[ClipProblem, ...]
    devices: tuple[str, ...]

    def of(self, set_name: str) -> list[SetRecords]:
        """The records of a set, by extractor."""
        return [group for group in self.groups if group.set == set_name]


def load_records(cache: FeatureCache, planned: Sequence[PlannedRecord]) -> Records:
    """Read all records. A clip that failed has a reason in the cache; any other that is missing is an error.

    A set of which nothing could be read is one, too.

    Raises `MissingRecordsError`.
    """
    values_of: dict[tuple[str, str], dict[str, Values]] = {}
    extractors = {record.extractor.id: record.extractor for record in planned}
    missing: Counter[str] = Counter()
    failed: dict[tuple[str, str], ClipProblem] = {}
    keys: dict[tuple[str, str], set[str]] = {}
    devices: set[str] = set()
    for record in sorted(planned, key=lambda record: record.spec.id):
        group = values_of.setdefault((record.set, record.extractor.id), {})
        held = None if record.problem else cache.read(record.extractor.id, record.key)
        if held is not None:
            group[record.spec.id] = {name: value.double().numpy() for name, value in sorted(held.values.items())}
            keys.setdefault((record.set, record.extractor.id), set()).add(record.key)
            devices.add(held.device)
            continue
        reason = record.problem or cache.failure(record.extractor.id, record.key)
        if reason is None:
            missing[f"{record.set} by {record.extractor.id}"] += 1
        else:
            problem = ClipProblem(record.set, record.spec.id, "failed", _without_folder(reason, record))
            failed.setdefault((record.set, record.spec.id), problem)
    if missing:
        listed = ", ".join(f"{count} {name}" for name, count in missing.items())
        raise MissingRecordsError(
            f"{cache.folder}: {missing.total()} of {len(planned)} records are missing ({listed}); run `dynamicrafter "
            "evaluate extract` with the same options, or score with --extract"
        )
    for name in sorted({name for name, _ in values_of}):
        if not any(values for (place, _), values in values_of.items() if place == name):
            first = next(problem for (place, _), problem in sorted(failed.items()) if place == name)
            count = sum(place == name for place, _ in failed)
            raise MissingRecordsError(
                f"none of the {count} clips of the set {name} could be read; the first, {first.id}: {first.reason}"
            )
    groups = [
        SetRecords(place[0], extractors[place[1]], values, len(keys.get(place, ())))
        for place, values in values_of.items()
    ]
    return Records(tuple(groups), tuple(failed[place] for place in sorted(failed)), tuple(sorted(devices)))


def _without_folder(reason: str, record: PlannedRecord) -> str:
    """The reason with the file's name instead of its path, which differs from machine to machine."""
    for path in record.spec.files:
        reason = reason.replace(str(path), path.name)
    return reason
